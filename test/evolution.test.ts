/** Schemas change, topics stay: what an older version of Freshet wrote is read by this one, and the other way round. */
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import avsc from 'avsc';
import type { Schema } from 'avsc';
import { describe, expect, it } from 'vitest';
import { Codec } from '../src/serde/codec.ts';
import { checkCompatibility } from '../src/serde/compatibility.ts';
import { Registry, shippedSchemas } from '../src/serde/registry.ts';
import { shippedSchema, SUBJECTS } from '../topics/index.ts';
import type { Subject } from '../topics/index.ts';

interface Field {
  name: string;
  type: unknown;
  doc?: string;
  default?: unknown;
}
interface RecordSchema {
  type: 'record';
  name: string;
  doc?: string;
  fields: Field[];
}

const fixture = (subject: Subject, extension: string): string =>
  readFileSync(new URL(`fixtures/schemas/${subject.replace(/-value$/, '')}.v0.${extension}`, import.meta.url), 'utf8');
const oldSchema = (subject: Subject): string => JSON.stringify(JSON.parse(fixture(subject, 'avsc')));
const oldSchemas = Object.fromEntries(SUBJECTS.map((subject) => [subject, oldSchema(subject)])) as Record<
  Subject,
  string
>;
const checkAgainstOld = (subject: Subject, schema: unknown): void => {
  checkCompatibility(subject, JSON.stringify(schema), [{ id: 1, schema: oldSchema(subject) }]);
};

/** Every record inside a schema, itself included. */
function recordsIn(schema: unknown): RecordSchema[] {
  if (Array.isArray(schema)) return schema.flatMap(recordsIn);
  if (typeof schema !== 'object' || schema === null) return [];
  const { type, items, values, fields } = schema as Record<string, unknown>;
  const own = type === 'record' ? [schema as RecordSchema] : [];
  const inner = (fields as Field[] | undefined)?.flatMap((field) => recordsIn(field.type)) ?? [];
  return [...own, ...inner, ...recordsIn(items), ...recordsIn(values), ...(own.length > 0 ? [] : recordsIn(type))];
}

/** Each schema that `change` makes of one field of the shipped one, wherever in it the field is. */
function variants(subject: Subject, change: (record: RecordSchema, at: number) => boolean): [string, unknown][] {
  const found: [string, unknown][] = [];
  const count = recordsIn(shippedSchema(subject)).length;
  for (let index = 0; index < count; index += 1) {
    const fields = recordsIn(shippedSchema(subject))[index]!.fields.length;
    for (let at = 0; at < fields; at += 1) {
      const schema: unknown = structuredClone(shippedSchema(subject));
      const record = recordsIn(schema)[index]!;
      const path = `${record.name}.${record.fields[at]!.name}`;
      if (change(record, at)) found.push([path, schema]);
    }
  }
  return found;
}

describe.each(SUBJECTS)('%s', (subject) => {
  it('reads a record written under an older schema', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'freshet-evolution-'));
    await Registry.open({ dataDir, schemas: oldSchemas });
    const codec = await Codec.open(await Registry.open({ dataDir }));
    const { framed, expected } = JSON.parse(fixture(subject, 'json')) as { framed: string; expected: unknown };
    const record = codec.decode(subject, Buffer.from(framed, 'hex'));
    expect(JSON.parse(JSON.stringify(record))).toEqual(expected);
  });

  it('has an older schema that differs in the fields, and both read each other', () => {
    const names = (schema: unknown): string[] =>
      recordsIn(schema).flatMap((record) => record.fields.map((field) => `${record.name}.${field.name}`));
    expect(names(JSON.parse(oldSchema(subject)))).not.toEqual(names(shippedSchema(subject)));
    checkAgainstOld(subject, shippedSchema(subject));
  });

  it('refuses a required field that is removed', () => {
    const old = new Set(recordsIn(JSON.parse(oldSchema(subject))).map((record) => record.name));
    const removals = variants(subject, (record, at) => {
      if ('default' in record.fields[at]! || !old.has(record.name)) return false;
      record.fields.splice(at, 1);
      return true;
    });
    // All fields of user-actions-control itself have a default; those of its members have none.
    expect(removals.length).toBeGreaterThan(0);
    for (const [path, schema] of removals) expect(() => checkAgainstOld(subject, schema), path).toThrow('cannot read');
  });

  it('refuses a field whose type changes', () => {
    const old = new Set(recordsIn(JSON.parse(oldSchema(subject))).map((record) => record.name));
    const changes = variants(subject, (record, at) => {
      const field = record.fields[at]!;
      // What the older schema lacks may still change its type: nothing was written with it.
      if ('default' in field || !old.has(record.name)) return false;
      field.type = { type: 'fixed', name: 'Changed', size: 3 };
      return true;
    });
    expect(changes.length).toBeGreaterThan(0);
    for (const [path, schema] of changes) expect(() => checkAgainstOld(subject, schema), path).toThrow('cannot read');
  });

  it('refuses a new field without a default', () => {
    const schema = structuredClone(shippedSchema(subject)) as unknown as RecordSchema;
    schema.fields.push({ name: 'fresh', type: 'string' });
    expect(() => checkAgainstOld(subject, schema)).toThrow('the new schema cannot read the earlier one');
    schema.fields.at(-1)!.default = '';
    checkAgainstOld(subject, schema);
  });

  it('says of each record and each field what it is', () => {
    const undocumented = recordsIn(shippedSchema(subject)).flatMap((record) => [
      ...((record.doc ?? '') === '' ? [record.name] : []),
      ...record.fields.filter((field) => (field.doc ?? '') === '').map((field) => `${record.name}.${field.name}`),
    ]);
    expect(undocumented).toEqual([]);
  });

  it('is read by any Avro reader', async () => {
    const codec = await Codec.open(await Registry.open({ dataDir: null }));
    const generic = avsc.Type.forSchema(JSON.parse(shippedSchemas()[subject]) as Schema);
    const { expected } = JSON.parse(fixture(subject, 'json')) as { expected: object };
    const record = codec.type(subject).clone(expected, { coerceBuffers: true, wrapUnions: true }) as object;
    const read: unknown = generic.fromBuffer(codec.body(codec.encode(subject, record)));
    expect(JSON.parse(JSON.stringify(read))).toEqual(expected);
  });
});

describe('a default that is removed', () => {
  // The older schemas lack these fields: without the default, their records could no longer be read.
  it.each([
    ['user-actions-value', 'UserAction.surface'],
    ['user-actions-control', 'Control.expire'],
    ['item-embeddings-value', 'ItemEmbedding.scale'],
    ['item-embeddings-value', 'Manifest.base'],
    ['sequence-features-value', 'SequenceFeatures.itemVersion'],
    ['sequence-features-value', 'SequenceState.leftEdge'],
    ['rejected-actions-value', 'RejectedAction.key'],
    ['rejected-actions-value', 'RejectedAction.value'],
    ['ranking-features-value', 'RankingFeatures.longTerm'],
    ['ranking-features-value', 'Realtime.itemVersion'],
  ] as const)('is refused in %s: %s', (subject, path) => {
    const schemas = new Map(
      variants(subject, (record, at) => {
        delete record.fields[at]!.default;
        return true;
      }),
    );
    expect(() => checkAgainstOld(subject, schemas.get(path))).toThrow('the new schema cannot read the earlier one');
  });
});
