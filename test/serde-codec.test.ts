/** The codec: what goes in comes out, in every form of the wire format, and what cannot be read is told apart. */
import { SchemaRegistryClient } from '@confluentinc/schemaregistry/dist/schemaregistry-client.js';
import { AvroDeserializer, AvroSerializer } from '@confluentinc/schemaregistry/dist/serde/avro.js';
import { HeaderSchemaIdSerializer, SchemaId, SerdeType } from '@confluentinc/schemaregistry/dist/serde/serde.js';
import avsc from 'avsc';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { FreshetError } from '../src/base/errors.ts';
import type { ErrorCode } from '../src/base/errors.ts';
import { Codec } from '../src/serde/codec.ts';
import { Registry } from '../src/serde/registry.ts';
import { readSchemaTable, schemaTablePath } from '../src/serde/schema-table.ts';
import { shippedSchema, SUBJECTS } from '../topics/index.ts';
import type { UserActionRecord } from '../topics/records.ts';
import { arbitraryOf } from './arbitrary-avro.ts';
import { tempDir } from './support/temp-dir.ts';

const SUBJECT = 'user-actions-value';
const ACTION: UserActionRecord = {
  userId: 'user-1',
  itemId: 'item-ü',
  actionType: 'view',
  eventTimeMs: 1_480_000_000_000,
  surface: 'web',
};

/** The client's own registry in memory; it counts ids as Freshet's does. */
const client = SchemaRegistryClient.newClient({ baseURLs: ['mock://test'] });
const dataDir = tempDir();
let registry: Registry;
let codec: Codec;
beforeAll(async () => {
  registry = await Registry.open({ dataDir });
  for (const subject of SUBJECTS) {
    const schema = registry.schema(registry.id(subject))!;
    expect(await client.register(subject, { schemaType: 'AVRO', schema }, false)).toBe(registry.id(subject));
  }
  codec = await Codec.open(registry);
});

function failure(action: () => unknown): FreshetError {
  try {
    action();
  } catch (error) {
    if (error instanceof FreshetError) return error;
    throw error;
  }
  throw new Error('nothing failed');
}
const codeOf = (action: () => unknown): ErrorCode => failure(action).code;

async function guidOf(subject: typeof SUBJECT): Promise<string> {
  return (await readSchemaTable(schemaTablePath(dataDir))).find((entry) => entry.subject === subject)!.guid!;
}

describe.each(SUBJECTS)('a record of %s', (subject) => {
  it('is the prefix with the id and then the body that plain avsc writes, and decodes to itself', () => {
    const plain = avsc.Type.forSchema(shippedSchema(subject));
    const prefix = Buffer.alloc(5);
    prefix.writeInt32BE(registry.id(subject), 1);
    fc.assert(
      fc.property(arbitraryOf(plain), (record) => {
        const value = codec.encode(subject, record as object);
        expect(value.equals(Buffer.concat([prefix, plain.toBuffer(record)]))).toBe(true);
        expect(codec.decode(subject, value)).toEqual(record);
        expect(codec.frame(subject, codec.body(value)).equals(value)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('encoding', () => {
  it('does not depend on the size of the record', () => {
    for (const length of [1, 65_400, 65_530, 65_531, 65_532, 70_000, 1_000_000]) {
      const vector = new Array<number>(Math.ceil(length / 4)).fill(0.5);
      const record = { userId: 'u', version: 'v'.repeat(length % 4), asOfMs: 0, space: 's', vector };
      expect(codec.decode('user-embeddings-value', codec.encode('user-embeddings-value', record))).toEqual(record);
    }
  });

  it('gives buffers that later encoding leaves alone', () => {
    const first = codec.encode(SUBJECT, ACTION);
    codec.encode(SUBJECT, { ...ACTION, userId: 'another' });
    expect(codec.decode(SUBJECT, first)).toEqual(ACTION);
  });

  it('of a record that does not fit tells the place, never the value', () => {
    const error = failure(() => codec.encode(SUBJECT, { ...ACTION, userId: ['secret-id'] }));
    expect(error.code).toBe('INTERNAL');
    expect(error.message).toContain('user-actions-value does not fit its schema at userId');
    expect(`${error.message} ${String(error.cause)}`).not.toContain('secret-id');
  });

  it.each([2 ** 52, -(2 ** 52), 1.5, NaN, '1', null])('of a long that is %j is refused', (eventTimeMs) => {
    expect(failure(() => codec.encode(SUBJECT, { ...ACTION, eventTimeMs })).message).toContain('eventTimeMs');
  });
});

describe('the forms of the wire format', () => {
  it('with a GUID in the prefix is read', async () => {
    const prefix = new SchemaId('AVRO', undefined, await guidOf(SUBJECT)).guidToBytes();
    const value = Buffer.concat([prefix, codec.body(codec.encode(SUBJECT, ACTION))]);
    expect(codec.decode(SUBJECT, value)).toEqual(ACTION);
    expect(codec.body(value).equals(codec.body(codec.encode(SUBJECT, ACTION)))).toBe(true);
  });

  it('with the header that HeaderSchemaIdSerializer writes is read, the value being the body alone', async () => {
    const headers: Record<string, Buffer> = {};
    const id = new SchemaId('AVRO', undefined, await guidOf(SUBJECT));
    const body = codec.body(codec.encode(SUBJECT, ACTION));
    const value = HeaderSchemaIdSerializer('user-actions', SerdeType.VALUE, body, id, headers);
    expect(codec.decode(SUBJECT, value, headers)).toEqual(ACTION);
    expect(codec.body(value, headers)).toEqual(value);
  });

  it('with an id in the header is read', () => {
    const value = codec.encode(SUBJECT, ACTION);
    const headers = { __value_schema_id: value.subarray(0, 5), other: Buffer.from('x') };
    expect(codec.decode(SUBJECT, value.subarray(5), headers)).toEqual(ACTION);
  });

  it('are those of the registry’s own serializer and deserializer', async () => {
    const serializer = new AvroSerializer(client, SerdeType.VALUE, { useLatestVersion: true });
    const theirs = await serializer.serialize('user-actions', ACTION);
    expect(codec.decode(SUBJECT, theirs)).toEqual(ACTION);
    expect(theirs.equals(codec.encode(SUBJECT, ACTION))).toBe(true);
    const deserializer = new AvroDeserializer(client, SerdeType.VALUE, {});
    expect(await deserializer.deserialize('user-actions', codec.encode(SUBJECT, ACTION))).toEqual(ACTION);
  });
});

describe('bytes that no reader can read are RECORD_UNDECODABLE', () => {
  it('cut anywhere', () => {
    const value = codec.encode(SUBJECT, ACTION);
    for (let length = 0; length < value.length; length += 1) {
      expect(codeOf(() => codec.decode(SUBJECT, value.subarray(0, length)))).toBe('RECORD_UNDECODABLE');
    }
    expect(failure(() => codec.decode(SUBJECT, value.subarray(0, 9))).message).toContain('ends inside the record');
    expect(failure(() => codec.decode(SUBJECT, value.subarray(0, 3))).message).toContain('ends inside the schema id');
    expect(failure(() => codec.decode(SUBJECT, Buffer.alloc(0))).message).toContain('the value is empty');
  });

  it('with more bytes behind the record', () => {
    const value = Buffer.concat([codec.encode(SUBJECT, ACTION), Buffer.from([0, 0])]);
    const error = failure(() => codec.decode(SUBJECT, value));
    expect([error.code, error.detail]).toEqual(['RECORD_UNDECODABLE', `${SUBJECT}: 2 bytes follow the record`]);
  });

  it('with another magic byte', () => {
    const error = failure(() => codec.decode(SUBJECT, Buffer.from('{"userId":"secret-id"}')));
    expect([error.code, error.detail]).toEqual([
      'RECORD_UNDECODABLE',
      `${SUBJECT}: the value starts with byte 123, no magic byte of a schema id`,
    ]);
  });

  it('with a header that is no schema id', () => {
    const headers = { __value_schema_id: Buffer.from('7') };
    expect(failure(() => codec.decode(SUBJECT, codec.encode(SUBJECT, ACTION), headers)).detail).toContain('header __v');
  });

  it.each([
    ['2^63 - 1', 'feffffffffffffffff01'],
    ['-2^63', 'ffffffffffffffffff01'],
    ['2^53', '80808080808080' + '8020'],
    ['-2^52 - 1, which avsc alone reads as 2^52', '8180808080808010'],
    ['2^52', '8080808080808010'],
    ['a varint without an end', 'ff'.repeat(400)],
  ])('with a long of %s', (_, int64) => {
    const plain = avsc.Type.forSchema('string');
    const texts = ['u', 'i', 'view'].map((text) => plain.toBuffer(text));
    const body = Buffer.concat([...texts, Buffer.from(int64, 'hex'), Buffer.from([0])]);
    const error = failure(() => codec.decode(SUBJECT, codec.frame(SUBJECT, body)));
    expect([error.code, error.detail]).toEqual(['RECORD_UNDECODABLE', `${SUBJECT}: a long is not below 2^52 in size`]);
  });

  it('written under a schema that is not the subject’s', () => {
    const value = codec.encode('user-embeddings-value', {
      userId: 'u',
      version: 'v',
      asOfMs: 0,
      space: 's',
      vector: [],
    });
    const error = failure(() => codec.decode(SUBJECT, value));
    expect(error.code).toBe('RECORD_UNDECODABLE');
    expect(error.detail).toContain('cannot be read as the shipped one: no alias found for freshet.UserEmbedding');
  });

  it('and say where, when the caller does', () => {
    const position = { topic: 'user-actions', partition: 3, offset: 7 };
    const error = failure(() => codec.decode(SUBJECT, Buffer.from([9]), {}, position));
    expect(error.position).toEqual(position);
    expect(error.message).toContain('(topic user-actions, partition 3, offset 7)');
  });
});
