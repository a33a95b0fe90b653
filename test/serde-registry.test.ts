/** Schema ids: stable over restarts and over new versions of Freshet, never guessed, never lost. */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RestError } from '@confluentinc/schemaregistry/dist/rest-error.js';
import { SchemaRegistryClient } from '@confluentinc/schemaregistry/dist/schemaregistry-client.js';
import { describe, expect, it, vi } from 'vitest';
import { Codec } from '../src/serde/codec.ts';
import { Registry, shippedSchemas } from '../src/serde/registry.ts';
import type { SchemaEntry } from '../src/serde/schema-table.ts';
import { SUBJECTS } from '../topics/index.ts';
import { codeOf } from './support/error-code.ts';

const SUBJECT = 'user-actions-value';
const ACTION = { userId: 'u', itemId: 'i', actionType: 'view', eventTimeMs: 1, surface: 'web' };

const newFolder = (): string => mkdtempSync(join(tmpdir(), 'freshet-registry-'));
const tablePath = (dataDir: string): string => join(dataDir, 'schemas.json');
const tableOf = (dataDir: string): SchemaEntry[] =>
  JSON.parse(readFileSync(tablePath(dataDir), 'utf8')) as SchemaEntry[];
const newClient = (): ReturnType<typeof SchemaRegistryClient.newClient> =>
  SchemaRegistryClient.newClient({ baseURLs: ['mock://test'] });
const ids = (registry: Registry): number[] => SUBJECTS.map((subject) => registry.id(subject));

/** The shipped schemas with one field more in user-actions: what a later version of Freshet may ship. */
function laterSchemas(field: object): ReturnType<typeof shippedSchemas> {
  const schemas = shippedSchemas();
  const action = JSON.parse(schemas[SUBJECT]) as { fields: object[] };
  action.fields.push(field);
  return { ...schemas, [SUBJECT]: JSON.stringify(action) };
}
const OPTIONAL_FIELD = { name: 'device', type: 'string', default: '', doc: 'Device.' };

describe('the table in the data folder', () => {
  it('keeps ids and GUIDs over a restart', async () => {
    const dataDir = newFolder();
    const first = await Registry.open({ dataDir });
    const before = readFileSync(tablePath(dataDir));
    expect(ids(first)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const again = await Registry.open({ dataDir });
    expect(ids(again)).toEqual(ids(first));
    expect(readFileSync(tablePath(dataDir))).toEqual(before);
    for (const { guid, schema } of tableOf(dataDir)) expect(again.schema(guid!)).toBe(schema);
  });

  it('gives a changed schema a new id; the old ids keep theirs, there and back', async () => {
    const dataDir = newFolder();
    const written = (await Codec.open(await Registry.open({ dataDir }))).encode(SUBJECT, ACTION);
    const later = await Registry.open({ dataDir, schemas: laterSchemas(OPTIONAL_FIELD) });
    expect(ids(later)).toEqual([9, 2, 3, 4, 5, 6, 7, 8]);
    const codec = await Codec.open(later);
    expect(codec.decode(SUBJECT, written)).toEqual({ ...ACTION, device: '' });

    const newer = codec.encode(SUBJECT, { ...ACTION, device: 'phone' });
    const downgraded = await Registry.open({ dataDir });
    expect(ids(downgraded)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect((await Codec.open(downgraded)).decode(SUBJECT, newer)).toEqual(ACTION);
    expect(tableOf(dataDir).map((entry) => entry.id)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('refuses a schema that is not compatible with every earlier one, and stays as it was', async () => {
    const dataDir = newFolder();
    await Registry.open({ dataDir });
    await Registry.open({ dataDir, schemas: laterSchemas(OPTIONAL_FIELD) });
    const before = readFileSync(tablePath(dataDir));
    // Compatible with the newest, where the field has a default, but not with the first, which lacks it.
    const incompatible = laterSchemas({ ...OPTIONAL_FIELD, default: undefined });
    expect(await codeOf(Registry.open({ dataDir, schemas: incompatible }))).toBe('SCHEMA_INCOMPATIBLE');
    expect(readFileSync(tablePath(dataDir))).toEqual(before);
  });

  it('is replaced whole: what a crash left half written is not read', async () => {
    const dataDir = newFolder();
    writeFileSync(`${tablePath(dataDir)}.tmp`, '[{"id":');
    expect(ids(await Registry.open({ dataDir }))[0]).toBe(1);
    expect(readdirSync(dataDir)).toEqual(['schemas.json']);
  });

  it.each([
    ['no JSON', () => '[{"id":'],
    ['another shape', () => '{"format":2}'],
    ['an id twice', (table: SchemaEntry[]) => JSON.stringify([...table, table[0]])],
    ['an id left out', (table: SchemaEntry[]) => JSON.stringify(table.slice(1))],
    ['a schema left out', (table: SchemaEntry[]) => JSON.stringify(table.map((entry) => ({ ...entry, schema: '' })))],
  ])('that is damaged stops with the remedy: %s', async (_, damage) => {
    const dataDir = newFolder();
    await Registry.open({ dataDir });
    writeFileSync(tablePath(dataDir), damage(tableOf(dataDir)));
    const opening = Registry.open({ dataDir });
    await expect(opening).rejects.toThrow(/schemas?\.json|was registered as/);
    expect(await codeOf(opening)).toBe('SCHEMA_TABLE_INVALID');
  });

  it('is made with its folder', async () => {
    const dataDir = join(newFolder(), 'deep', 'er');
    await Registry.open({ dataDir });
    expect(tableOf(dataDir)).toHaveLength(SUBJECTS.length);
  });
});

describe('the registry behind it', () => {
  it('is asked for FULL_TRANSITIVE compatibility of every subject', async () => {
    const client = newClient();
    await Registry.open({ dataDir: null, client });
    for (const subject of SUBJECTS) expect(await client.getCompatibility(subject)).toBe('FULL_TRANSITIVE');
  });
});

describe('learning schemas before a batch is decoded', () => {
  const framed = (id: number): Buffer => {
    const prefix = Buffer.alloc(5);
    prefix.writeInt32BE(id, 1);
    return Buffer.concat([prefix, Buffer.from('0275026908766965770200', 'hex')]);
  };
  const decoded = { userId: 'u', itemId: 'i', actionType: 'view', eventTimeMs: 1, surface: null };

  async function openWithClient(clock?: {
    now(): number;
  }): Promise<{ client: ReturnType<typeof newClient>; codec: Codec }> {
    const client = newClient();
    const registry = await Registry.open({ dataDir: null, client, ...(clock === undefined ? {} : { clock }) });
    return { client, codec: await Codec.open(registry) };
  }

  it('finds a schema that a producer registered later, by id and by GUID', async () => {
    const { client, codec } = await openWithClient();
    const schema = laterSchemas(OPTIONAL_FIELD)[SUBJECT];
    const { id, guid } = await client.registerFullResponse('elsewhere-value', { schemaType: 'AVRO', schema }, true);
    const value = Buffer.concat([framed(id!), Buffer.from([2, 0x78])]);
    const headers = { __value_schema_id: Buffer.from(`01${guid!.replaceAll('-', '')}`, 'hex') };
    expect(() => codec.decode(SUBJECT, value)).toThrow(/does not know the schema id: .*schema 9/);
    await codec.learn([{ value: null }, { value: Buffer.alloc(0) }, { value }, { value: codec.body(value), headers }]);
    expect(codec.decode(SUBJECT, value)).toEqual(decoded);
    expect(codec.decode(SUBJECT, codec.body(value), headers)).toEqual(decoded);
  });

  it('asks once for an unknown id, and again after a while', async () => {
    let nowMs = 1;
    const { client, codec } = await openWithClient({ now: () => nowMs });
    const lookUps = vi.spyOn(client, 'getBySubjectAndId');
    const batch = [{ value: framed(9) }, { value: codec.encode(SUBJECT, ACTION) }, { value: framed(9) }];
    await codec.learn(batch);
    await codec.learn(batch);
    expect(lookUps).toHaveBeenCalledTimes(1);
    const code = await codeOf(Promise.resolve().then(() => codec.decode(SUBJECT, framed(9))));
    expect(code).toBe('SCHEMA_UNKNOWN');

    nowMs += 10_001;
    await client.register(SUBJECT, { schemaType: 'AVRO', schema: `${shippedSchemas()[SUBJECT]} ` }, true);
    await codec.learn(batch);
    expect(lookUps).toHaveBeenCalledTimes(2);
    expect(codec.decode(SUBJECT, framed(9))).toEqual(decoded);
  });

  it('does not ask for what is known', async () => {
    const { client, codec } = await openWithClient();
    const lookUps = vi.spyOn(client, 'getBySubjectAndId');
    await codec.learn([{ value: codec.encode(SUBJECT, ACTION) }]);
    expect(lookUps).not.toHaveBeenCalled();
  });

  it.each([
    ['no answer', new Error('ETIMEDOUT')],
    ['an error of its own', new RestError('down', 500, 50001)],
    ['a 404 of a proxy, without the registry’s code', new RestError('Not Found', 404, 404)],
  ])('with %s is REGISTRY_UNAVAILABLE, and nothing is taken for unknown', async (_, error) => {
    const { client, codec } = await openWithClient();
    const lookUp = vi.spyOn(client, 'getBySubjectAndId').mockRejectedValueOnce(error);
    expect(await codeOf(codec.learn([{ value: framed(9) }]))).toBe('REGISTRY_UNAVAILABLE');
    await client.register(SUBJECT, { schemaType: 'AVRO', schema: `${shippedSchemas()[SUBJECT]} ` }, true);
    await codec.learn([{ value: framed(9) }]);
    expect(lookUp).toHaveBeenCalledTimes(2);
    expect(codec.decode(SUBJECT, framed(9))).toEqual(decoded);
  });

  it('has an end: a producer that registers a schema a record is stopped', async () => {
    const { client, codec } = await openWithClient();
    vi.spyOn(client, 'getBySubjectAndId').mockResolvedValue({ schema: '"int"' });
    const values = Array.from({ length: 20_001 }, (_, index) => ({ value: framed(100 + index) }));
    expect(await codeOf(codec.learn(values))).toBe('SCHEMA_LIMIT');
  });
});
