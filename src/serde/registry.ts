/**
 * The schema registry: which schema an id means. `@confluentinc/schemaregistry` owns registration and ids; this wrapper
 * keeps what it has learned, tells an unknown id from a registry that does not answer, and in the embedded run
 * (`mock://`) supplies what the mock client lacks: a memory (schemas.json) and the check of compatibility.
 */
// The package's index loads every key-management SDK it can use, 1.7 s of start-up; this module is the client alone.
import { Compatibility, SchemaRegistryClient } from '@confluentinc/schemaregistry/dist/schemaregistry-client.js';
import type { Client } from '@confluentinc/schemaregistry/dist/schemaregistry-client.js';
import { LRUCache } from 'lru-cache';
import { FreshetError, invariant } from '../base/errors.ts';
import { shippedSchema, SUBJECTS } from '../../topics/index.ts';
import type { Subject } from '../../topics/index.ts';
import { checkCompatibility } from './compatibility.ts';
import type { SchemaRef } from './frame.ts';
import { MAX_SCHEMAS, readSchemaTable, schemaTablePath, writeSchemaTable } from './schema-table.ts';
import type { SchemaEntry } from './schema-table.ts';

/** What is used of the client. */
export type SchemaClient = Pick<
  Client,
  'registerFullResponse' | 'updateCompatibility' | 'getBySubjectAndId' | 'getByGuid'
>;

export interface RegistryOptions {
  /** Folder of schemas.json, made if absent; null keeps nothing (tests). */
  readonly dataDir: string | null;
  readonly client?: SchemaClient;
  /** The schema of each subject as JSON; by default those shipped in topics/schemas. */
  readonly schemas?: Readonly<Record<Subject, string>>;
  /** Milliseconds since any moment; by default the process clock. */
  readonly clock?: { now(): number };
}

/** How long, and for how many ids, a registry's "no such schema" is believed. */
const UNKNOWN_TTL_MS = 10_000;
const MAX_UNKNOWN = 10_000;

export class Registry {
  readonly #client: SchemaClient;
  /** By id and by GUID; never evicted, since a decoder between `learn` and `decode` relies on it: limited instead. */
  readonly #known = new Map<SchemaRef, string>();
  readonly #unknown: LRUCache<SchemaRef, true>;
  readonly #ids = new Map<Subject, number>();
  readonly #table: SchemaEntry[] = [];

  private constructor(client: SchemaClient, clock: { now(): number }) {
    this.#client = client;
    this.#unknown = new LRUCache({ max: MAX_UNKNOWN, ttl: UNKNOWN_TTL_MS, ttlResolution: 0, perf: clock });
  }

  /**
   * Registers the shipped schemas under their subjects. Once it returns, every id is durable: records may be written.
   * Throws SCHEMA_INCOMPATIBLE, SCHEMA_TABLE_INVALID, REGISTRY_UNAVAILABLE, DISK_FULL.
   */
  static async open(options: RegistryOptions): Promise<Registry> {
    const client = options.client ?? SchemaRegistryClient.newClient({ baseURLs: ['mock://freshet'] });
    const registry = new Registry(client, options.clock ?? performance);
    const file = options.dataDir === null ? null : schemaTablePath(options.dataDir);
    const stored = file === null ? [] : await readSchemaTable(file);
    for (const entry of stored) await registry.#restore(entry);
    const schemas = options.schemas ?? shippedSchemas();
    for (const subject of SUBJECTS) await registry.#registerShipped(subject, schemas[subject]);
    if (file !== null && registry.#table.length > stored.length) await writeSchemaTable(file, registry.#table);
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
   * Asks the registry for a schema not known yet; that there is none is remembered for a while. Throws
   * REGISTRY_UNAVAILABLE when it gives no answer: the records that wait for it are not at fault.
   */
  async learn(ref: SchemaRef): Promise<void> {
    if (this.#known.has(ref) || this.#unknown.has(ref)) return;
    const schema = await this.#lookUp(ref);
    if (schema === undefined) this.#unknown.set(ref, true);
    else this.#remember(ref, schema);
  }

  async #lookUp(ref: SchemaRef): Promise<string | undefined> {
    try {
      // The client searches all subjects for the empty one: a record may be read from another topic than its own.
      const found =
        typeof ref === 'number' ? await this.#client.getBySubjectAndId('', ref) : await this.#client.getByGuid(ref);
      return found.schema;
    } catch (error) {
      if (saysNotFound(error)) return undefined;
      throw new FreshetError('REGISTRY_UNAVAILABLE', `schema ${ref}`, { cause: error });
    }
  }

  /**
   * Gives the mock client an entry of the table back. It has no way to set an id: it counts up from 1 with each new
   * schema of a subject, so registering in order of the ids gives the same ones. Its GUIDs are random; ours stay.
   */
  async #restore(entry: SchemaEntry): Promise<void> {
    const { id } = await this.#register(entry.subject, entry.schema);
    if (id !== entry.id) {
      throw new FreshetError('SCHEMA_TABLE_INVALID', `the schema of id ${entry.id} was registered as ${id}`);
    }
    this.#add(entry);
  }

  async #registerShipped(subject: Subject, schema: string): Promise<void> {
    const versions = this.#table.filter((entry) => entry.subject === subject);
    checkCompatibility(subject, schema, versions);
    await this.#setCompatibility(subject);
    const { id, guid } = await this.#register(subject, schema);
    this.#ids.set(subject, id);
    if (versions.every((entry) => entry.id !== id)) this.#add({ id, guid, subject, schema });
  }

  async #setCompatibility(subject: Subject): Promise<void> {
    try {
      await this.#client.updateCompatibility(subject, Compatibility.FULL_TRANSITIVE);
    } catch (error) {
      throw new FreshetError('REGISTRY_UNAVAILABLE', `compatibility of subject ${subject}`, { cause: error });
    }
  }

  async #register(subject: string, schema: string): Promise<{ id: number; guid: string | undefined }> {
    let answer: Awaited<ReturnType<SchemaClient['registerFullResponse']>>;
    try {
      answer = await this.#client.registerFullResponse(subject, { schemaType: 'AVRO', schema }, true);
    } catch (error) {
      const code = (error as { status?: unknown }).status === 409 ? 'SCHEMA_INCOMPATIBLE' : 'REGISTRY_UNAVAILABLE';
      throw new FreshetError(code, `registering subject ${subject}`, { cause: error });
    }
    if (answer.id === undefined) throw new FreshetError('REGISTRY_UNAVAILABLE', `no id for subject ${subject}`);
    return { id: answer.id, guid: answer.guid };
  }

  #add(entry: SchemaEntry): void {
    this.#table.push(entry);
    this.#remember(entry.id, entry.schema);
    if (entry.guid !== undefined) this.#remember(entry.guid, entry.schema);
  }

  #remember(ref: SchemaRef, schema: string): void {
    // Twice: an id and a GUID may name the same schema.
    if (this.#known.size >= 2 * MAX_SCHEMAS) {
      throw new FreshetError('SCHEMA_TABLE_INVALID', `more than ${MAX_SCHEMAS} schemas are in use`, {
        remedy: 'A producer registers a schema a record, or nearly so: let it reuse its schemas.',
      });
    }
    this.#known.set(ref, schema);
  }
}

export const shippedSchemas = (): Record<Subject, string> =>
  Object.fromEntries(SUBJECTS.map((subject) => [subject, JSON.stringify(shippedSchema(subject))])) as Record<
    Subject,
    string
  >;

/** The registry's own codes for "no such subject" and "no such schema": a proxy's or a wrong path's 404 has none. */
function saysNotFound(error: unknown): boolean {
  const { status, errorCode } = error as { status?: unknown; errorCode?: unknown };
  return status === 404 && [40400, 40401, 40403].includes(errorCode as number);
}
