/** Requests that are completed where they stand: the bytes that kafkajs would send, and each buffer used by one at a time. */
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { recordBytesMax } from '../src/log/kafka-batch-encoder.ts';
import { EncoderClass, type EncoderLike, type KafkaRequest } from '../src/log/kafka-internals.ts';
import { MAX_SLICE_BYTES, ProduceRequest } from '../src/log/kafka-produce-request.ts';
import type { NewRecord } from '../src/log/log.ts';
import { FC_OPTIONS } from './support/seed.ts';

type CreateRequest = (sent: {
  correlationId: number;
  clientId: string;
  request: KafkaRequest;
}) => Promise<EncoderLike & { readonly buffer: Buffer }>;

const createRequest = createRequire(import.meta.url)('kafkajs/src/protocol/request.js') as CreateRequest;
const producer = { producerId: '7', producerEpoch: 1, firstSequence: 3, isTransactional: true };

const sent = async (payload: EncoderLike, correlationId: number, clientId: string): Promise<Buffer> => {
  const request = { apiKey: 0, apiVersion: 7, apiName: 'Produce', encode: async () => payload };
  return (await createRequest({ correlationId, clientId, request })).buffer;
};

const produce = (records: readonly NewRecord[], transactionalId: string | null = 'app-user-actions-3') =>
  new ProduceRequest({ transactionalId, timeoutMs: 30_000, topic: 'features', partition: 3 }, records, producer);

const recordOf = (bytes: number): NewRecord => ({
  ...{ topic: 'features', partition: 3, timestampMs: 1_700_000_000_000 },
  ...{ key: Buffer.from('user'), value: Buffer.alloc(bytes, 'v') },
});

/** The same bytes in an encoder that leaves no room before them. */
function plain(payload: EncoderLike): EncoderLike {
  return new EncoderClass(1).writeBuffer(Buffer.from(payload.buf.subarray(payload.start, payload.offset)));
}

describe('a request that writes records', () => {
  test('is what kafkajs would send, each time, also where the header has no room', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(2_000), { minLength: 1, maxLength: 30 }),
        fc.string({ maxLength: 900 }),
        fc.option(fc.string({ unit: 'binary', maxLength: 3_000 })),
        async (sizes, clientId, transactionalId) => {
          const request = produce(sizes.map(recordOf), transactionalId);
          const payload = request.encode();
          const isWithRoom = 14 + Buffer.byteLength(clientId) <= payload.start!;
          for (const correlationId of [5, 6]) {
            const bytes = await sent(payload, correlationId, clientId);
            expect(bytes.equals(await sent(plain(payload), correlationId, clientId))).toBe(true);
            expect(bytes.buffer === payload.buf.buffer).toBe(isWithRoom);
          }
          request.release();
        },
      ),
      { ...FC_OPTIONS, numRuns: 200 },
    );
  });

  test('has a buffer of its own until it is released', () => {
    const first = produce([recordOf(100)]);
    const second = produce([recordOf(100)]);
    expect(second.encode().buf).not.toBe(first.encode().buf);
    second.release();
    expect(produce([recordOf(100)]).encode().buf).toBe(second.encode().buf);
  });

  test('takes a slice, and a single record of any size', async () => {
    const large = recordOf(3 * MAX_SLICE_BYTES);
    for (const records of [[large], Array.from({ length: 20 }, () => recordOf(MAX_SLICE_BYTES / 20 - 40))]) {
      expect(
        records.length === 1 || records.reduce((sum, each) => sum + recordBytesMax(each), 0) <= MAX_SLICE_BYTES,
      ).toBe(true);
      const request = produce(records);
      expect((await sent(request.encode(), 1, 'client')).length).toBeGreaterThan(
        records.length * records[0]!.value!.length,
      );
      request.release();
    }
  });
});
