/** Bytes made to hurt: whatever they are, a record or RECORD_UNDECODABLE comes back, soon and in little memory. */
import avsc from 'avsc';
import type { Schema } from 'avsc';
import fc from 'fast-check';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { FreshetError } from '../src/base/errors.ts';
import { createLogger } from '../src/base/logger.ts';
import { boundedType } from '../src/serde/bounded-type.ts';
import { Codec } from '../src/serde/codec.ts';
import { Registry } from '../src/serde/registry.ts';
import { SUBJECTS } from '../topics/index.ts';
import { FakeRegistry } from './support/fake-registry.ts';

let codec: Codec;
beforeAll(async () => {
  codec = await Codec.open(await Registry.open({ dataDir: null }));
});

const long = (value: number): Buffer => avsc.Type.forSchema('long').toBuffer(value);
const NESTED: Schema = { type: 'array', items: { type: 'array', items: 'string' } };
const HUGE = long(2 ** 40);
const ARRAY: Schema = { type: 'array', items: 'string' };
const MAP: Schema = { type: 'map', values: 'string' };

/** The outcome of decoding; an error that is not ours fails the test. */
function outcome(decode: () => unknown): string {
  try {
    decode();
    return 'decoded';
  } catch (error) {
    if (error instanceof FreshetError) return error.code;
    throw error;
  }
}

describe('a container that announces more items than bytes', () => {
  it.each([
    ['array', ARRAY, HUGE],
    ['array whose block has a size', ARRAY, Buffer.concat([long(-(2 ** 40)), long(3)])],
    ['array after a good block', ARRAY, Buffer.concat([long(1), long(0), HUGE])],
    ['map', MAP, HUGE],
    ['array of arrays', NESTED, Buffer.concat([long(1), HUGE])],
  ])('is refused when read: %s', (_, schema, bytes) => {
    const padded = Buffer.concat([bytes, Buffer.alloc(64, 2)]);
    expect(() => boundedType(schema).decode(padded)).toThrow(/announces 1099511627776 items/);
  });

  it.each([
    ['array', ARRAY, HUGE],
    ['map', MAP, HUGE],
    // avsc itself jumps back by this size and meets the same block for ever.
    ['array whose block has a negative size', ARRAY, Buffer.concat([long(-1), long(-2), long(0), long(0)])],
  ])('does not hold up a reader that skips it: %s', (_, skipped, bytes) => {
    const fields = [{ name: 'skipped', type: skipped }];
    const writer = boundedType({
      type: 'record',
      name: 'R',
      fields: [...fields, { name: 'kept', type: 'int' }],
    });
    const reader = boundedType({ type: 'record', name: 'R', fields: [{ name: 'kept', type: 'int' }] });
    const value = Buffer.concat([bytes, long(7)]);
    const read = (): unknown => reader.decode(value, 0, reader.createResolver(writer)).value;
    if (bytes === HUGE) expect(read).toThrow(/announces/);
    else expect(read()).toEqual({ kept: 7 });
  });

  it('makes the record undecodable', () => {
    const text = avsc.Type.forSchema('string').toBuffer('u');
    const body = Buffer.concat([text, text, long(0), text, HUGE]);
    const decode = (): unknown => codec.decode('user-embeddings-value', codec.frame('user-embeddings-value', body));
    expect(outcome(decode)).toBe('RECORD_UNDECODABLE');
  });
});

describe('containers as others may write them', () => {
  it('in several blocks, with sizes, are read', () => {
    const item = avsc.Type.forSchema('string').toBuffer('ab');
    const value = Buffer.concat([long(1), item, long(-2), long(6), item, item, long(0)]);
    expect(boundedType(ARRAY).fromBuffer(value)).toEqual(['ab', 'ab', 'ab']);
    const entry = Buffer.concat([avsc.Type.forSchema('string').toBuffer('__proto__'), item]);
    const map = boundedType(MAP).fromBuffer(Buffer.concat([long(-1), long(13), entry, long(0)])) as object;
    expect(Object.entries(map)).toEqual([['__proto__', 'ab']]);
  });
});

describe.each(SUBJECTS)('%s', (subject) => {
  it('survives any body', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const result = outcome(() => codec.decode(subject, codec.frame(subject, Buffer.from(bytes))));
        expect(['decoded', 'RECORD_UNDECODABLE']).toContain(result);
      }),
      { numRuns: 2000 },
    );
  });
});

it('survives any value and any schema header', () => {
  const bytes = fc.uint8Array({ maxLength: 40 }).map((list) => Buffer.from(list));
  fc.assert(
    fc.property(bytes, fc.option(bytes), (value, header) => {
      const result = outcome(() =>
        codec.decode('user-actions-value', value, header === null ? {} : { __value_schema_id: header }),
      );
      expect(['decoded', 'RECORD_UNDECODABLE', 'SCHEMA_UNKNOWN']).toContain(result);
    }),
    { numRuns: 2000 },
  );
});

it('a schema of the registry that is no Avro makes its records undecodable', async () => {
  const fake = await FakeRegistry.start();
  onTestFinished(() => fake.stop());
  const logger = createLogger('silent');
  const hostile = await Codec.open(await Registry.connect({ url: fake.url, mode: 'register', waitMs: 0, logger }));
  for (const schema of ['{"type":"object"}', 'syntax = "proto3";', '{"type":"record","name":"A"}', '"int"']) {
    const id = fake.register('other-value', schema);
    const value = Buffer.from([0, 0, 0, 0, id, 2]);
    await hostile.learn([{ value }]);
    expect(outcome(() => hostile.decode('user-actions-value', value))).toBe('RECORD_UNDECODABLE');
  }
});
