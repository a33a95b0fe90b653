/** Schema ids: stable over restarts and over new versions of Freshet, never guessed, never lost. */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
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
    await expect(opening).rejects.toThrow('schemas.json');
    expect(await codeOf(opening)).toBe('SCHEMA_TABLE_INVALID');
  });

  it('is made with its folder', async () => {
    const dataDir = join(newFolder(), 'deep', 'er');
    await Registry.open({ dataDir });
    expect(tableOf(dataDir)).toHaveLength(SUBJECTS.length);
  });
});

describe('an id that is not in the table', () => {
  it('is unknown at once: nobody else registers anything', async () => {
    const codec = await Codec.open(await Registry.open({ dataDir: null }));
    const value = Buffer.from([0, 0, 0, 0, 9, 2]);
    await codec.learn([{ value: codec.encode(SUBJECT, ACTION) }, { value }]);
    expect(await codeOf(Promise.resolve().then(() => codec.decode(SUBJECT, value)))).toBe('SCHEMA_UNKNOWN');
  });
});
