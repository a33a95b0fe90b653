/**
 * The registry of the embedded run: the client on `mock://`, with what the mock lacks: a memory (schemas.json) and the
 * check of compatibility.
 */
// The package's index loads every key-management SDK it can use, 1.7 s of start-up; this module is the client alone.
import { Compatibility, SchemaRegistryClient } from '@confluentinc/schemaregistry/dist/schemaregistry-client.js';
import { FreshetError } from '../base/errors.ts';
import { SUBJECTS } from '../../topics/index.ts';
import type { Subject } from '../../topics/index.ts';
import { checkCompatibility } from './compatibility.ts';
import { failureOf } from './registry-failure.ts';
import type { Call, SchemaClient } from './schema-client.ts';
import { readSchemaTable, schemaTablePath, writeSchemaTable } from './schema-table.ts';
import type { SchemaEntry } from './schema-table.ts';
import type { Registered } from './shipped-schemas.ts';

export class EmbeddedSchemas {
  readonly #client: SchemaClient;
  /** In order of the ids. */
  readonly table: SchemaEntry[] = [];
  readonly ids = new Map<Subject, number>();

  private constructor(client: SchemaClient) {
    this.#client = client;
  }

  static async open(
    dataDir: string | null,
    schemas: Readonly<Record<Subject, string>>,
    client: SchemaClient = SchemaRegistryClient.newClient({ baseURLs: ['mock://freshet'] }),
  ): Promise<EmbeddedSchemas> {
    const embedded = new EmbeddedSchemas(client);
    const file = dataDir === null ? null : schemaTablePath(dataDir);
    const stored = file === null ? [] : await readSchemaTable(file);
    for (const entry of stored) await embedded.#restore(entry);
    for (const subject of SUBJECTS) await embedded.#registerShipped(subject, schemas[subject]);
    if (file !== null && embedded.table.length > stored.length) await writeSchemaTable(file, embedded.table);
    return embedded;
  }

  readonly call: Call = async (use) => {
    try {
      return await use(this.#client);
    } catch (error) {
      throw failureOf(error);
    }
  };

  /**
   * Gives the mock client an entry of the table back. It has no way to set an id: it counts up from 1 with each new
   * schema of a subject, so registering in order of the ids gives the same ones. Its GUIDs are random; ours stay.
   */
  async #restore(entry: SchemaEntry): Promise<void> {
    const { id } = await this.#register(entry.subject, entry.schema);
    if (id !== entry.id) {
      throw new FreshetError('SCHEMA_TABLE_INVALID', `the schema of id ${entry.id} was registered as ${id}`);
    }
    this.table.push(entry);
  }

  async #registerShipped(subject: Subject, schema: string): Promise<void> {
    const versions = this.table.filter((entry) => entry.subject === subject);
    checkCompatibility(subject, schema, versions);
    await this.call((client) => client.updateCompatibility(subject, Compatibility.FULL_TRANSITIVE));
    const { id, guid } = await this.#register(subject, schema);
    this.ids.set(subject, id);
    if (versions.every((entry) => entry.id !== id)) this.table.push({ id, guid, subject, schema });
  }

  async #register(subject: string, schema: string): Promise<Registered> {
    const { id, guid } = await this.call((client) =>
      client.registerFullResponse(subject, { schemaType: 'AVRO', schema }, false),
    );
    return { id: id!, guid };
  }
}
