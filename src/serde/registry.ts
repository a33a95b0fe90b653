/**
 * The schema registry: which schema an id means. `@confluentinc/schemaregistry` owns registration and ids; here is kept
 * what was learned of it, and an id that is unknown is told from a registry that does not answer.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { FreshetError, invariant } from '../base/errors.ts';
import { SUBJECTS } from '../../topics/index.ts';
import type { Subject } from '../../topics/index.ts';
import type { SchemaRef } from './frame.ts';
import { openEmbeddedSchemas } from './registry-embedded.ts';
import { failureOf } from './registry-failure.ts';
import type { RegistryAuth } from './registry-http.ts';
import { lookUp } from './schema-client.ts';
import type { Call } from './schema-client.ts';
import type { RegistryMode } from './schema-subjects.ts';
import { MAX_SCHEMAS } from './schema-table.ts';
import { shippedSchemas } from './shipped-schemas.ts';
import { UnknownSchemas } from './unknown-schemas.ts';
import type { Clock } from './unknown-schemas.ts';

export { shippedSchemas };
export type { RegistryAuth, RegistryMode };

interface CommonOptions {
  /** The schema of each subject as JSON; by default those shipped in topics/schemas. */
  readonly schemas?: Readonly<Record<Subject, string>>;
  /** By default the process clock. */
  readonly clock?: Clock;
}

export interface EmbeddedOptions extends CommonOptions {
  /** Folder of schemas.json, made if absent; null keeps nothing (tests). */
  readonly dataDir: string | null;
}

export interface ConnectOptions extends CommonOptions {
  readonly url: string;
  readonly mode: RegistryMode;
  readonly auth?: RegistryAuth;
  /** What stands before each topic's name, and so before each subject's. */
  readonly subjectPrefix?: string;
  /** How long a registry that does not answer at the start is waited for; Infinity: until it does. */
  readonly waitMs: number;
  /** Ends the wait. */
  readonly signal?: AbortSignal;
  /** For how long the registry must have said that it does not know an id until that is believed. */
  readonly unknownAfterMs?: number;
  readonly callTimeoutMs?: number;
  readonly logger: Logger;
}

const UNKNOWN_AFTER_MS = 60_000;
const CALL_TIMEOUT_MS = 5_000;
const FIRST_PAUSE_MS = 500;
const MAX_PAUSE_MS = 10_000;
/** Of all schemas together, characters. */
const MAX_SCHEMA_CHARS = 64 * 1024 * 1024;

/** `pending`: the registry does not know it so far, which may change. */
export type Knowledge = 'known' | 'unknown' | 'pending';

/** The schema that an id or GUID names; undefined: there is none. */
type LookUp = (ref: SchemaRef) => Promise<string | undefined>;

export class Registry {
  readonly #lookUp: LookUp;
  readonly #unknown: UnknownSchemas;
  /** By id and by GUID; never evicted, since a decoder between `learn` and `decode` relies on it: limited instead. */
  readonly #known = new Map<SchemaRef, string>();
  #knownChars = 0;
  readonly #ids = new Map<Subject, number>();
  readonly #asked = new Map<SchemaRef, Promise<string | undefined>>();

  private constructor(lookUp: LookUp, unknown: UnknownSchemas) {
    this.#lookUp = lookUp;
    this.#unknown = unknown;
  }

  /**
   * The registry inside a data folder, for one process. Once it returns, every id is durable: records may be written.
   * Throws SCHEMA_INCOMPATIBLE, SCHEMA_TABLE_INVALID, DISK_FULL.
   */
  static async open(options: EmbeddedOptions): Promise<Registry> {
    const embedded = await openEmbeddedSchemas(options.dataDir, options.schemas ?? shippedSchemas());
    const nothingElse = (): Promise<undefined> => Promise.resolve(undefined);
    const registry = new Registry(nothingElse, new UnknownSchemas(0, options.clock ?? performance));
    for (const { id, guid, schema } of embedded.table) registry.#add(id, guid, schema);
    for (const [subject, id] of embedded.ids) registry.#ids.set(subject, id);
    return registry;
  }

  /**
   * A registry over HTTP, with each shipped schema found or registered in it. Throws REGISTRY_UNAVAILABLE after
   * `waitMs`, and what a person must act on at once: REGISTRY_DENIED, SCHEMA_MISSING, SCHEMA_INCOMPATIBLE,
   * SCHEMA_REFUSED, COMPATIBILITY_WEAK, FILE_NOT_FOUND.
   */
  static async connect(options: ConnectOptions): Promise<Registry> {
    const { url, mode, auth, subjectPrefix = '', callTimeoutMs = CALL_TIMEOUT_MS, logger } = options;
    // The client takes longer to load than most of Freshet together: whoever needs none does not wait for it.
    const [{ HttpRegistry }, { SchemaSubjects }] = await Promise.all([
      import('./registry-http.ts'),
      import('./schema-subjects.ts'),
    ]);
    const http = await HttpRegistry.connect({ url, auth: auth ?? null, callTimeoutMs });
    const call: Call = (use) => http.call(use);
    const unknown = new UnknownSchemas(options.unknownAfterMs ?? UNKNOWN_AFTER_MS, options.clock ?? performance);
    const registry = new Registry((ref) => lookUp(call, ref, `${subjectPrefix}${SUBJECTS[0]}`), unknown);
    const subjects = new SchemaSubjects(call, mode, logger);
    const schemas = options.schemas ?? shippedSchemas();
    const settle = async (subject: Subject): Promise<void> => {
      const { id, guid } = await subjects.settle(`${subjectPrefix}${subject}`, schemas[subject]);
      registry.#ids.set(subject, id);
      registry.#add(id, guid, schemas[subject]);
    };
    await whenAvailable(() => settleAll(settle, http.name), options);
    return registry;
  }

  /** The id that records of this subject are written with. */
  id(subject: Subject): number {
    const id = this.#ids.get(subject);
    invariant(id !== undefined, `subject ${subject} is registered`);
    return id;
  }

  /** The schema that an id or GUID names, as JSON; undefined: not known here (see `learn`). */
  schema(ref: SchemaRef): string | undefined {
    return this.#known.get(ref);
  }

  /**
   * Asks the registry for a schema not known yet. Throws REGISTRY_UNAVAILABLE when it gives no answer: the records
   * that wait for it are not at fault.
   */
  async learn(ref: SchemaRef): Promise<Knowledge> {
    if (this.#known.has(ref)) return 'known';
    if (!this.#unknown.isFresh(ref)) await this.#ask(ref);
    if (this.#known.has(ref)) return 'known';
    return this.#unknown.isCertain(ref) ? 'unknown' : 'pending';
  }

  /** Once, also where several tasks meet the same id at the same time. */
  async #ask(ref: SchemaRef): Promise<void> {
    let asking = this.#asked.get(ref);
    if (asking === undefined) {
      asking = this.#lookUp(ref).finally(() => this.#asked.delete(ref));
      this.#asked.set(ref, asking);
    }
    let schema: string | undefined;
    try {
      schema = await asking;
    } catch (error) {
      this.#unknown.clear();
      // Credentials that are refused only now are like a registry that is away: a person can mend both while we wait.
      throw new FreshetError('REGISTRY_UNAVAILABLE', `schema ${ref}: ${failureOf(error).message}`);
    }
    if (schema === undefined) {
      this.#unknown.add(ref);
    } else {
      this.#unknown.delete(ref);
      this.#remember(ref, schema);
    }
  }

  #add(id: number, guid: string | undefined, schema: string): void {
    this.#remember(id, schema);
    if (guid !== undefined) this.#remember(guid, schema);
  }

  #remember(ref: SchemaRef, schema: string): void {
    if (this.#known.has(ref)) return;
    this.#knownChars += schema.length;
    // Twice: an id and a GUID may name the same schema.
    if (this.#known.size >= 2 * MAX_SCHEMAS || this.#knownChars > MAX_SCHEMA_CHARS) {
      throw new FreshetError('SCHEMA_LIMIT', `more than ${MAX_SCHEMAS} schemas, or ${MAX_SCHEMA_CHARS} characters`);
    }
    this.#known.set(ref, schema);
  }
}

/** Failures of the registry as errors with a code; those that have one pass. */
async function settleAll(settle: (subject: Subject) => Promise<void>, name: string): Promise<void> {
  try {
    for (const subject of SUBJECTS) await settle(subject);
  } catch (error) {
    if (error instanceof FreshetError) throw error;
    const failure = failureOf(error);
    const code = failure.kind === 'denied' ? 'REGISTRY_DENIED' : 'REGISTRY_UNAVAILABLE';
    throw new FreshetError(code, `${name}: ${failure.message}`, { cause: failure });
  }
}

/** Tries until it succeeds, fails for another reason than REGISTRY_UNAVAILABLE, or the time is over. */
async function whenAvailable(attempt: () => Promise<void>, options: ConnectOptions): Promise<void> {
  const endMs = performance.now() + options.waitMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
    try {
      return await attempt();
    } catch (error) {
      const waits = error instanceof FreshetError && error.code === 'REGISTRY_UNAVAILABLE';
      const leftMs = endMs - performance.now();
      if (!waits || leftMs <= 0 || options.signal?.aborted === true) throw error;
      options.logger.warn({ err: error, pauseMs }, 'waiting for the schema registry');
      await sleep(Math.min(pauseMs, leftMs), undefined, options.signal && { signal: options.signal }).catch(
        () => undefined,
      );
    }
  }
}
