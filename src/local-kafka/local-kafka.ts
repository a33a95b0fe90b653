/**
 * A real Kafka (one node, KRaft) and a real schema registry on this machine's loopback address, from Maven Central, without
 * containers: for the tests, for `npm run kafka` and for the demo. It ends with the process that started it.
 */
import { randomBytes } from 'node:crypto';
import { join, resolve } from 'node:path';
import { FreshetError } from '../base/errors.ts';
import { Broker } from './broker.ts';
import { createCertificates, type TlsFiles } from './certificates.ts';
import { DataFolder } from './data-folder.ts';
import { defaultCacheDir } from './distribution.ts';
import { install, type Installation } from './installation.ts';
import type { JavaProgram } from './java-process.ts';
import { address, chooseListeners } from './listeners.ts';
import type { Credentials, Listener, ListenerKind, Security } from './listeners.ts';
import { assertFree, freePort } from './ports.ts';
import { Registry } from './registry.ts';
import type { Service } from './service.ts';

export const DEFAULT_KAFKA_VERSION = '4.1.0';
/** Between the choice of a free port and its use another process may take it. */
const START_TRIES = 2;

export interface LocalKafkaOptions {
  readonly kafkaVersion?: string;
  /** Kept at the end; without it, a temporary folder that is removed. */
  readonly dataDir?: string | undefined;
  /** Where downloads are kept; by default `defaultCacheDir()`. */
  readonly cacheDir?: string | undefined;
  /** Of the first listener; by default a free one. */
  readonly port?: number | undefined;
  readonly registryPort?: number | undefined;
  /** Whether a registry is wanted too; it is. */
  readonly registry?: boolean;
  /** More properties of the broker; they win over the ones set here. */
  readonly properties?: Readonly<Record<string, string>>;
  readonly security?: Security | undefined;
  /** Starts faster and works slower: right for tests, wrong for benchmarks. */
  readonly quick?: boolean;
  /** Gives up the start. */
  readonly signal?: AbortSignal | undefined;
  /** Called when something takes long: a download. */
  readonly onProgress?: (line: string) => void;
}

export class LocalKafka {
  /** `host:port` of the first listener, as clients take a list of brokers. */
  readonly brokers: readonly string[];
  /** Where the registry answers (Confluent's interface), also while it is stopped; null without one. */
  readonly registry: string | null;
  readonly dataDir: string;
  /** `host:port` of each listener that was asked for. */
  readonly listeners: Readonly<Partial<Record<ListenerKind, string>>>;
  /** The certificates, when there is a listener with TLS. */
  readonly tls: TlsFiles | null;
  /** Who may do everything, and where; SASL PLAIN when the broker is secured. */
  readonly admin: { readonly brokers: readonly string[]; readonly credentials: Credentials | null };
  /** Resolves when broker or registry has ended and nobody asked it to. */
  readonly failed: Promise<FreshetError>;
  readonly #broker: Broker;
  readonly #registry: Registry | undefined;
  readonly #folder: DataFolder;

  private constructor(parts: Parts) {
    const { listeners, security, registry, admin } = parts;
    const at = (kind: Listener['kind']): string => address(listeners.find((each) => each.kind === kind)!.port);
    const kinds = security?.listeners ?? (['plain'] as const);
    this.brokers = [at(kinds[0])];
    this.registry = registry?.url ?? null;
    this.dataDir = parts.folder.path;
    this.listeners = Object.fromEntries(kinds.map((kind) => [kind, at(kind)]));
    this.tls = parts.tls ?? null;
    this.admin = {
      brokers: [at(security === undefined ? 'plain' : 'internal')],
      credentials: security === undefined ? null : admin,
    };
    this.#broker = parts.broker;
    this.#registry = registry;
    this.#folder = parts.folder;
    this.failed = new Promise((resolveFailed) => {
      parts.broker.onFailure = resolveFailed;
      if (registry !== undefined) registry.onFailure = resolveFailed;
    });
  }

  /** Resolves when broker and registry answer; when one fails to, nothing is left behind. */
  static async start(options: LocalKafkaOptions = {}): Promise<LocalKafka> {
    for (const port of [options.port, options.registryPort]) if (port !== undefined) await assertFree(port);
    const installation = await install({
      kafkaVersion: options.kafkaVersion ?? DEFAULT_KAFKA_VERSION,
      registry: options.registry ?? true,
      cacheDir: resolve(options.cacheDir ?? defaultCacheDir()),
      signal: options.signal,
      onProgress: options.onProgress,
    });
    for (let tries = 1; ; tries += 1) {
      try {
        return new LocalKafka(await startOnce(options, installation));
      } catch (error) {
        if (tries === START_TRIES || !lostItsPort(error)) throw error;
        options.onProgress?.('a port was taken meanwhile, starting again on others');
      }
    }
  }

  get brokerPid(): number | undefined {
    return this.#broker.pid;
  }

  /** Starts the broker again after `stopBroker` or `kill9`: same ports, same data. */
  async startBroker(): Promise<void> {
    await this.#broker.start();
  }

  async stopBroker(): Promise<void> {
    await this.#broker.stop();
  }

  /** SIGKILL to the broker. */
  async kill9(): Promise<void> {
    await this.#broker.kill();
  }

  pauseBroker(): void {
    this.#broker.pause();
  }

  resumeBroker(): void {
    this.#broker.resume();
  }

  /** Starts the registry again after `stopRegistry`: same port, same schemas and ids. */
  async startRegistry(): Promise<void> {
    await this.#registry?.start();
  }

  async stopRegistry(): Promise<void> {
    await this.#registry?.stop();
  }

  pauseRegistry(): void {
    this.#registry?.pause();
  }

  resumeRegistry(): void {
    this.#registry?.resume();
  }

  /** Stops both in order; a temporary folder goes with them. */
  async stop(): Promise<void> {
    await Promise.all([this.#broker.stop(), this.#registry?.stop()]);
    await this.#folder.close();
  }
}

interface Parts {
  readonly folder: DataFolder;
  readonly listeners: readonly Listener[];
  readonly security: Security | undefined;
  readonly admin: Credentials;
  readonly tls: TlsFiles | undefined;
  readonly broker: Broker;
  readonly registry: Registry | undefined;
}

async function startOnce(options: LocalKafkaOptions, installation: Installation): Promise<Parts> {
  const { security, signal, properties = {}, quick = false } = options;
  const folder = await DataFolder.open(options.dataDir);
  const dataDir = folder.path;
  const place = { dataDir, removedWithParent: folder.temporary ? dataDir : undefined };
  const services: Service[] = [];
  try {
    const listeners = await chooseListeners(security, options.port);
    const registry = await createRegistry(options, installation, place, listeners);
    if (registry !== undefined) services.push(registry);
    const registryStarted = registry?.start(signal);
    registryStarted?.catch(() => undefined); // Awaited below, when the broker's folder has been formatted.
    const admin = { username: 'admin', password: randomBytes(16).toString('hex') };
    const withTls = security?.listeners.some((kind) => kind.endsWith('tls')) ?? false;
    const tls = withTls ? await createCertificates(join(dataDir, 'tls')) : undefined;
    const broker = await Broker.create({
      jarsDir: installation.kafka.jarsDir,
      program: { ...installation.kafka, ...place, quick },
      ...{ listeners, security, admin, tls, properties },
    });
    services.push(broker);
    await Promise.all([broker.start(signal), registryStarted]);
    return { folder, listeners, security, admin, tls, broker, registry };
  } catch (error) {
    await Promise.all(services.map((service) => service.stop()));
    await folder.discard();
    throw error;
  }
}

async function createRegistry(
  options: LocalKafkaOptions,
  { registry }: Installation,
  place: Pick<JavaProgram, 'dataDir' | 'removedWithParent'>,
  listeners: readonly Listener[],
): Promise<Registry | undefined> {
  if (registry === undefined) return undefined;
  return new Registry({
    jarsDir: registry.jarsDir,
    program: { ...registry, ...place, quick: true },
    port: options.registryPort ?? (await freePort(listeners.map(({ port }) => port))),
  });
}

const lostItsPort = (error: unknown): boolean =>
  error instanceof FreshetError &&
  error.code === 'LOCAL_KAFKA_FAILED' &&
  /Address already in use|BindException|Port \d+ seems to be in use/i.test(error.detail);
