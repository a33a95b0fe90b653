/** One Kafka node, broker and controller at once (KRaft), fit for tests on a small machine. */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FreshetError } from '../base/errors.ts';
import type { TlsFiles } from './certificates.ts';
import { formatFolder } from './format.ts';
import type { GuardedProcess } from './guarded-process.ts';
import { startJava, type JavaProgram } from './java-process.ts';
import { SCRAM_MECHANISMS, address, listenerProperties } from './listeners.ts';
import type { Credentials, Listener, Security } from './listeners.ts';
import { brokerAnswers } from './readiness.ts';
import { Service } from './service.ts';

const FORMAT_HEAP_MB = 256;

export interface BrokerOptions {
  readonly jarsDir: string;
  readonly program: Omit<JavaProgram, 'args' | 'logName'>;
  readonly listeners: readonly Listener[];
  readonly security: Security | undefined;
  readonly admin: Credentials;
  readonly tls: TlsFiles | undefined;
  /** Of the server; they win over what is set here. */
  readonly properties: Readonly<Record<string, string>>;
}

export class Broker extends Service {
  protected override readonly name = 'the broker';
  readonly #options: BrokerOptions;

  private constructor(options: BrokerOptions) {
    super();
    this.#options = options;
  }

  /** Not yet started; its folder is formatted if it is new. */
  static async create(options: BrokerOptions): Promise<Broker> {
    const broker = new Broker(options);
    await mkdir(broker.#folder, { recursive: true });
    await writeFile(broker.#propertiesFile, propertiesText({ ...broker.#properties(), ...options.properties }), {
      mode: 0o600,
    });
    if (!existsSync(join(broker.#folder, 'meta.properties'))) await broker.#format();
    return broker;
  }

  protected override launch(): GuardedProcess {
    return this.#java(['kafka.Kafka', this.#propertiesFile], this.#options.program);
  }

  /** Asked where no TLS handshake comes first. */
  protected override answers(): Promise<boolean> {
    const kind = this.#options.security === undefined ? 'plain' : 'internal';
    return brokerAnswers(this.#port(kind));
  }

  get #folder(): string {
    return join(this.#options.program.dataDir, 'kafka');
  }

  get #propertiesFile(): string {
    return join(this.#options.program.dataDir, 'server.properties');
  }

  async #format(): Promise<void> {
    const { jarsDir, security, properties } = this.#options;
    const users = (security?.users ?? []).flatMap(({ username, password }) =>
      SCRAM_MECHANISMS.flatMap((mechanism) => ['--add-scram', `${mechanism}=[name=${username},password=${password}]`]),
    );
    const isLikeOthers = users.length === 0 && Object.keys(properties).length === 0;
    await formatFolder(this.#folder, isLikeOthers ? `${jarsDir}.checkpoint` : undefined, (clusterId) =>
      this.#runFormat(clusterId, users),
    );
  }

  async #runFormat(clusterId: string, users: readonly string[]): Promise<void> {
    const args = ['format', '--cluster-id', clusterId, '--config', this.#propertiesFile, ...users];
    const format = this.#java(['kafka.tools.StorageTool', ...args], {
      ...this.#options.program,
      ...{ heapMb: FORMAT_HEAP_MB, quick: true, writeClassArchive: undefined },
    });
    const { exitCode } = await format.exited;
    if (exitCode !== 0) {
      throw new FreshetError('LOCAL_KAFKA_FAILED', `the broker's folder cannot be formatted:\n${format.logTail()}`);
    }
  }

  #java(args: readonly string[], program: BrokerOptions['program']): GuardedProcess {
    return startJava({
      ...program,
      args: ['-cp', join(this.#options.jarsDir, '*'), ...args],
      properties: {
        'org.slf4j.simpleLogger.defaultLogLevel': 'warn',
        'org.slf4j.simpleLogger.showDateTime': 'true',
        'org.slf4j.simpleLogger.dateTimeFormat': 'HH:mm:ss.SSS',
      },
      logName: 'broker',
    });
  }

  #port(kind: Listener['kind']): number {
    return this.#options.listeners.find((listener) => listener.kind === kind)!.port;
  }

  #properties(): Record<string, string> {
    const { listeners, security, admin, tls } = this.#options;
    return {
      'process.roles': 'broker,controller',
      'node.id': '1',
      'controller.quorum.voters': `1@${address(this.#port('controller'))}`,
      ...listenerProperties(listeners, security, admin, tls),
      'log.dirs': this.#folder,
      // A topic that nobody declared is a mistake to be seen.
      'auto.create.topics.enable': 'false',
      'offsets.topic.replication.factor': '1',
      'offsets.topic.num.partitions': '4',
      'transaction.state.log.replication.factor': '1',
      'transaction.state.log.min.isr': '1',
      'transaction.state.log.num.partitions': '4',
      'share.coordinator.state.topic.replication.factor': '1',
      'share.coordinator.state.topic.min.isr': '1',
      // A killed broker may not come back before its session has ended: 9 seconds by default.
      'broker.session.timeout.ms': '3000',
      'broker.heartbeat.interval.ms': '500',
      // What tests wait for: a first rebalance, a member's time-out, a transaction's, compaction, retention.
      'group.initial.rebalance.delay.ms': '0',
      'group.min.session.timeout.ms': '1000',
      'transaction.abort.timed.out.transaction.cleanup.interval.ms': '500',
      'log.initial.task.delay.ms': '1000',
      'log.cleaner.backoff.ms': '500',
      'log.retention.check.interval.ms': '2000',
      // Two cores and half a gigabyte of heap, of which the cleaner would take a quarter.
      'log.cleaner.dedupe.buffer.size': String(16 * 1024 * 1024),
      'num.network.threads': '2',
      'num.io.threads': '4',
      'background.threads': '4',
    };
  }
}

/** Java's properties: a backslash is an escape. */
const propertiesText = (properties: Readonly<Record<string, string>>): string =>
  Object.entries(properties)
    .map(([name, value]) => `${name}=${value.replaceAll('\\', '\\\\')}\n`)
    .join('');
