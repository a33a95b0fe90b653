/** Kafka's record batches: what is encoded comes back, and damage is found. */
import { gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { crc32c } from '../src/base/crc32c.ts';
import { BATCH_HEADER_BYTES, openBatch, readBatchHeader } from '../src/log/kafka-batch-decoder.ts';
import { recordBytesMax, writeBatch } from '../src/log/kafka-batch-encoder.ts';
import { FetchedRecords } from '../src/log/kafka-fetched.ts';
import type { LogRecord, NewRecord, ReadLimits } from '../src/log/log.ts';
import { FC_OPTIONS } from './support/seed.ts';

const at = { topic: 'user-actions', partition: 3 };
const AMPLE = { maxRecords: 10_000, maxBytes: 64 * 1024 * 1024 };
const producer = { producerId: '4611686018427387904', producerEpoch: 32_767, firstSequence: 2_147_483_600 };

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const newRecord: fc.Arbitrary<NewRecord> = fc.record({
  topic: fc.constant(at.topic),
  partition: fc.constant(at.partition),
  timestampMs: fc.oneof(fc.integer({ min: 0, max: 2 ** 43 }), fc.constantFrom(0, 1_700_000_000_000)),
  key: fc.option(bytes),
  value: fc.option(bytes),
  headers: fc.dictionary(fc.oneof(fc.string({ unit: 'binary', maxLength: 9 }), fc.constant('__proto__')), bytes, {
    maxKeys: 3,
  }),
});
const records = fc.array(newRecord, { minLength: 1, maxLength: 40 });

/** Not at the start of its buffer, in the room that is reckoned for it. */
function encode(batch: readonly NewRecord[], isTransactional = false): Buffer {
  const start = 7;
  const bytes = batch.reduce((sum, record) => sum + recordBytesMax(record), start + BATCH_HEADER_BYTES);
  const target = Buffer.alloc(bytes, 0xff);
  return target.subarray(start, writeBatch(target, start, batch, { ...producer, isTransactional }));
}

/** As a broker changes it. */
function changed(batch: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(batch);
  change(copy);
  copy.writeUInt32BE(crc32c(copy, 21), 17);
  return copy;
}

function compressed(batch: Buffer, codec: number, compress: (body: Buffer) => Buffer): Buffer {
  const body = compress(batch.subarray(BATCH_HEADER_BYTES));
  return changed(Buffer.concat([batch.subarray(0, BATCH_HEADER_BYTES), body]), (copy) => {
    copy.writeInt32BE(copy.length - 12, 8);
    copy.writeInt16BE(copy.readInt16BE(21) | codec, 21);
  });
}

const fetched = (batches: Buffer, offset = 0): FetchedRecords =>
  new FetchedRecords(at, offset, { ...at, errorCode: 0, lastStableOffset: 1_000, aborted: [], batches });

async function takeAll(batches: Buffer, limits: ReadLimits): Promise<LogRecord[]> {
  const taken: LogRecord[] = [];
  await fetched(batches).take(taken, 0, limits);
  return taken;
}

async function readBatches(batches: Buffer, maxRecords: number, offset = 0): Promise<LogRecord[]> {
  const source = fetched(batches, offset);
  const all: LogRecord[] = [];
  for (let left = true; left;) {
    const taken: LogRecord[] = [];
    ({ left } = await source.take(taken, 0, { ...AMPLE, maxRecords }));
    all.push(...taken);
  }
  return all;
}

const plain = ({ offset, timestampMs, key, value, headers }: LogRecord): unknown => ({
  ...{ offset, timestampMs, key: key?.toString('latin1'), value: value?.toString('latin1') },
  headers: Object.fromEntries(Object.entries(headers).map(([name, header]) => [name, header.toString('latin1')])),
});

const expected = (batch: readonly NewRecord[], baseOffset = 0): unknown[] =>
  batch.map(({ headers = {}, ...record }, index) => plain({ ...record, headers, offset: baseOffset + index }));

describe('a record batch', () => {
  test('comes back as it was, plain and compressed, in any steps and from any of its offsets', async () => {
    await fc.assert(
      fc.asyncProperty(records, fc.nat(50), fc.integer({ min: 1, max: 9 }), async (batch, from, maxRecords) => {
        const encoded = encode(batch);
        for (const form of [encoded, compressed(encoded, 1, gzipSync), compressed(encoded, 4, zstdCompressSync)]) {
          const read = await readBatches(form, maxRecords, from);
          expect(read.map(plain)).toEqual(expected(batch).slice(from));
        }
      }),
      { ...FC_OPTIONS, numRuns: 300 },
    );
  });

  test('says who wrote it, and where it ends', () => {
    const batch = encode([{ ...at, timestampMs: 5, key: null, value: null }], true);
    expect(readBatchHeader(batch, at)).toMatchObject({
      producerId: 4611686018427387904n,
      isTransactional: true,
      isControl: false,
      nextOffset: 1,
      count: 1,
      bytes: batch.length,
    });
  });

  test('has the time of the broker where the topic says so', async () => {
    const batch = [1, 2].map((timestampMs) => ({ ...at, timestampMs, key: null, value: Buffer.from('v') }));
    const stamped = changed(encode(batch), (copy) => {
      copy.writeInt16BE(0x08, 21);
      copy.writeBigInt64BE(1_700_000_000_000n, 35);
    });
    const read = await readBatches(stamped, 10);
    expect(read.map(({ timestampMs }) => timestampMs)).toEqual([1_700_000_000_000, 1_700_000_000_000]);
  });

  test('may hold nothing any more, and is passed', async () => {
    const value = Buffer.from('v');
    const compacted = changed(encode([1, 2, 3].map(() => ({ ...at, timestampMs: 1, key: null, value }))), (copy) => {
      copy.writeInt32BE(0, 57);
    }).subarray(0, BATCH_HEADER_BYTES);
    const empty = changed(compacted, (copy) => copy.writeInt32BE(BATCH_HEADER_BYTES - 12, 8));
    const source = fetched(empty);
    expect(await source.take([], 0, AMPLE)).toEqual({ left: false, bytes: 0 });
    expect(source.nextOffset).toBe(3);
  });

  test('has values that share the memory of the fetch only where views are asked for', async () => {
    const value = Buffer.alloc(5_000, 'v');
    const batch = encode([{ ...at, timestampMs: 1, key: Buffer.from('k'), value }]);
    for (const views of [false, true]) {
      const [record] = await takeAll(batch, { ...AMPLE, views });
      expect(record!.value).toEqual(value);
      expect(record!.value!.buffer === batch.buffer).toBe(views);
      expect(record!.key!.buffer).not.toBe(batch.buffer);
    }
  });

  test('a byte flipped anywhere is found', async () => {
    await fc.assert(
      fc.asyncProperty(records, fc.nat(), fc.integer({ min: 1, max: 255 }), async (batch, where, flip) => {
        const encoded = encode(batch);
        // Offset, length, leader epoch and format stand before the checksum, since brokers change them.
        const position = 17 + (where % (encoded.length - 17));
        encoded[position]! ^= flip;
        await expect(readBatches(encoded, 10)).rejects.toMatchObject({
          code: 'LOG_CORRUPT',
          position: { ...at, offset: 0 },
        });
      }),
      { ...FC_OPTIONS, numRuns: 300 },
    );
  });

  test('cut off at the end of a fetch it is left to the next one', async () => {
    await fc.assert(
      fc.asyncProperty(records, fc.nat(), async (batch, cut) => {
        const encoded = encode(batch);
        const second = Buffer.from(encoded.subarray(0, cut % encoded.length));
        if (second.length >= 8) second.writeBigInt64BE(BigInt(batch.length), 0);
        const source = fetched(Buffer.concat([encoded, second]));
        const read: LogRecord[] = [];
        expect((await source.take(read, 0, AMPLE)).left).toBe(false);
        expect(read.map(plain)).toEqual(expected(batch));
        expect(source.nextOffset).toBe(batch.length);
      }),
      { ...FC_OPTIONS, numRuns: 300 },
    );
  });

  test('that decompresses without end, or not at all, or is older than Kafka 0.11, is refused', async () => {
    const batch = encode([{ ...at, timestampMs: 1, key: null, value: Buffer.from('v') }]);
    const bomb = compressed(batch, 1, () => gzipSync(Buffer.alloc(80 * 1024 * 1024)));
    const garbage = compressed(batch, 4, () => Buffer.from('no zstd'));
    for (const damaged of [bomb, garbage]) {
      await expect(readBatches(damaged, 10)).rejects.toMatchObject({ code: 'LOG_CORRUPT' });
    }
    const old = Buffer.from(batch);
    old[16] = 1;
    await expect(readBatches(old, 10)).rejects.toMatchObject({ code: 'KAFKA_UNSUPPORTED' });
    const header = readBatchHeader(
      compressed(batch, 5, (body) => body),
      at,
    )!;
    await expect(openBatch(batch, header, at)).rejects.toMatchObject({ code: 'KAFKA_COMPRESSION_UNSUPPORTED' });
  });
});
