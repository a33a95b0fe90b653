/** Records as one record batch of Kafka, uncompressed: computed once, so that a batch sent again is the same bytes. */
import { crc32c } from '../base/crc32c.ts';
import { invariant } from '../base/errors.ts';
import type { NewRecord } from './log.ts';

const HEADER_BYTES = 61;
/** The length counts what stands behind it, the checksum what stands behind that. */
const LENGTH_END = 12;
const CHECKED_FROM = 21;
const MAGIC_VERSION = 2;
const TRANSACTIONAL = 0x10;
const NO_HEADERS = Object.freeze({});

export interface BatchProducer {
  readonly producerId: string;
  readonly producerEpoch: number;
  readonly firstSequence: number;
  readonly isTransactional: boolean;
}

interface SizedRecord {
  readonly record: NewRecord;
  readonly headers: readonly { name: Buffer; value: Buffer }[];
  /** What stands behind the record's own length. */
  readonly bytes: number;
}

export function encodeBatch(records: readonly NewRecord[], producer: BatchProducer): Buffer {
  const baseTimestampMs = records[0]!.timestampMs;
  const sized = records.map((record, index) => sizeOf(record, record.timestampMs - baseTimestampMs, index));
  const total = sized.reduce((sum, { bytes }) => sum + varintBytes(bytes) + bytes, HEADER_BYTES);
  const batch = Buffer.allocUnsafeSlow(total);
  batch.writeBigInt64BE(0n, 0);
  batch.writeInt32BE(total - LENGTH_END, 8);
  batch.writeInt32BE(-1, 12);
  batch[16] = MAGIC_VERSION;
  batch.writeInt16BE(producer.isTransactional ? TRANSACTIONAL : 0, CHECKED_FROM);
  batch.writeInt32BE(records.length - 1, 23);
  batch.writeBigInt64BE(BigInt(baseTimestampMs), 27);
  batch.writeBigInt64BE(BigInt(records.reduce((max, { timestampMs }) => Math.max(max, timestampMs), 0)), 35);
  batch.writeBigInt64BE(BigInt(producer.producerId), 43);
  batch.writeInt16BE(producer.producerEpoch, 51);
  batch.writeInt32BE(producer.firstSequence, 53);
  batch.writeInt32BE(records.length, 57);
  let at = HEADER_BYTES;
  for (const [index, each] of sized.entries()) at = writeRecord(batch, at, each, baseTimestampMs, index);
  invariant(at === total, `a record batch of ${at} bytes was reckoned to have ${total}`);
  batch.writeUInt32BE(crc32c(batch, CHECKED_FROM), 17);
  return batch;
}

function sizeOf(record: NewRecord, timestampDelta: number, offsetDelta: number): SizedRecord {
  const { topic, partition, timestampMs, key, value } = record;
  invariant(Number.isSafeInteger(timestampMs), `timestamp ${timestampMs} is no integer`, { topic, partition });
  const headers = Object.entries<Buffer>(record.headers ?? NO_HEADERS).map(([name, header]) => ({
    name: Buffer.from(name),
    value: header,
  }));
  let bytes = 1 + varintBytes(timestampDelta) + varintBytes(offsetDelta);
  bytes += key === null ? 1 : varintBytes(key.length) + key.length;
  bytes += value === null ? 1 : varintBytes(value.length) + value.length;
  bytes += varintBytes(headers.length);
  for (const header of headers) {
    bytes += varintBytes(header.name.length) + header.name.length;
    bytes += varintBytes(header.value.length) + header.value.length;
  }
  return { record, headers, bytes };
}

function writeRecord(batch: Buffer, start: number, sized: SizedRecord, baseTimestampMs: number, index: number): number {
  const { record, headers, bytes } = sized;
  let at = writeVarint(batch, start, bytes);
  batch[at] = 0;
  at = writeVarint(batch, at + 1, record.timestampMs - baseTimestampMs);
  at = writeVarint(batch, at, index);
  at = writeBytes(batch, at, record.key);
  at = writeBytes(batch, at, record.value);
  at = writeVarint(batch, at, headers.length);
  for (const { name, value } of headers) at = writeBytes(batch, writeBytes(batch, at, name), value);
  return at;
}

function writeBytes(batch: Buffer, at: number, bytes: Buffer | null): number {
  if (bytes === null) return writeVarint(batch, at, -1);
  const start = writeVarint(batch, at, bytes.length);
  batch.set(bytes, start);
  return start + bytes.length;
}

/** Small numbers of either sign take few bytes. Not by bits: timestamps need more than 32 of them. */
const zigzag = (value: number): number => (value < 0 ? -value * 2 - 1 : value * 2);

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = zigzag(value); rest >= 128; rest = Math.floor(rest / 128)) bytes += 1;
  return bytes;
}

function writeVarint(batch: Buffer, start: number, value: number): number {
  let at = start;
  let rest = zigzag(value);
  for (; rest >= 128; rest = Math.floor(rest / 128)) {
    batch[at] = (rest % 128) | 0x80;
    at += 1;
  }
  batch[at] = rest;
  return at + 1;
}
