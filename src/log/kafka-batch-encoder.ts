/** Records as one record batch of Kafka, uncompressed, written straight to where it is sent from. */
import { crc32c } from '../base/crc32c.ts';
import { invariant } from '../base/errors.ts';
import type { Headers, NewRecord } from './log.ts';

export const BATCH_HEADER_BYTES = 61;
/** The length counts what stands behind it, the checksum what stands behind that. */
const LENGTH_END = 12;
const CHECKED_FROM = 21;
const MAGIC_VERSION = 2;
const TRANSACTIONAL = 0x10;
/** What a record takes besides key and value, at most, without headers. */
const RECORD_OVERHEAD_BYTES = 32;
const HEADER_OVERHEAD_BYTES = 10;

export interface BatchProducer {
  readonly producerId: string;
  readonly producerEpoch: number;
  readonly firstSequence: number;
  readonly isTransactional: boolean;
}

/** Bytes of a record in a batch, at most. */
export function recordBytesMax({ key, value, headers }: NewRecord): number {
  let bytes = RECORD_OVERHEAD_BYTES + (key?.length ?? 0) + (value?.length ?? 0);
  if (headers === undefined) return bytes;
  for (const [name, header] of Object.entries(headers))
    bytes += name.length * 3 + header.length + HEADER_OVERHEAD_BYTES;
  return bytes;
}

/**
 * Writes the batch into `target` at `start`; what stands behind the returned end is left alone.
 *
 * @param target - with room for the batch's header and `recordBytesMax` of each record.
 */
export function writeBatch(
  target: Buffer,
  start: number,
  records: readonly NewRecord[],
  producer: BatchProducer,
): number {
  const baseTimestampMs = records[0]!.timestampMs;
  let maxTimestampMs = 0;
  let at = start + BATCH_HEADER_BYTES;
  for (let index = 0; index < records.length; index += 1) {
    const record = records[index]!;
    const { topic, partition, timestampMs } = record;
    invariant(Number.isSafeInteger(timestampMs), `timestamp ${timestampMs} is no integer`, { topic, partition });
    maxTimestampMs = Math.max(maxTimestampMs, timestampMs);
    at = writeRecord(target, at, record, timestampMs - baseTimestampMs, index);
  }
  invariant(at <= target.length, `a record batch ends at ${at} of ${target.length} bytes`);
  target.writeBigInt64BE(0n, start);
  target.writeInt32BE(at - start - LENGTH_END, start + 8);
  target.writeInt32BE(-1, start + 12);
  target[start + 16] = MAGIC_VERSION;
  target.writeInt16BE(producer.isTransactional ? TRANSACTIONAL : 0, start + CHECKED_FROM);
  target.writeInt32BE(records.length - 1, start + 23);
  target.writeBigInt64BE(BigInt(baseTimestampMs), start + 27);
  target.writeBigInt64BE(BigInt(maxTimestampMs), start + 35);
  target.writeBigInt64BE(BigInt(producer.producerId), start + 43);
  target.writeInt16BE(producer.producerEpoch, start + 51);
  target.writeInt32BE(producer.firstSequence, start + 53);
  target.writeInt32BE(records.length, start + 57);
  target.writeUInt32BE(crc32c(target, start + CHECKED_FROM, at), start + 17);
  return at;
}

function writeRecord(target: Buffer, start: number, record: NewRecord, timeDelta: number, index: number): number {
  const { key, value } = record;
  const headers = record.headers === undefined ? NO_HEADERS : sizedHeaders(record.headers);
  const bytes = 1 + varintBytes(timeDelta) + varintBytes(index) + bytesOf(key) + bytesOf(value) + headers.bytes;
  let at = writeVarint(target, start, bytes);
  target[at] = 0;
  at = writeVarint(target, at + 1, timeDelta);
  at = writeVarint(target, at, index);
  at = writeBytes(target, at, key);
  at = writeBytes(target, at, value);
  at = writeVarint(target, at, headers.named.length);
  for (const { name, header } of headers.named) at = writeBytes(target, writeBytes(target, at, name), header);
  return at;
}

interface SizedHeaders {
  readonly named: readonly { readonly name: Buffer; readonly header: Buffer }[];
  /** With their number. */
  readonly bytes: number;
}

const NO_HEADERS: SizedHeaders = { named: [], bytes: 1 };

function sizedHeaders(headers: Headers): SizedHeaders {
  const named = Object.entries<Buffer>(headers).map(([name, header]) => ({ name: Buffer.from(name), header }));
  const bytes = named.reduce(
    (sum, { name, header }) => sum + bytesOf(name) + bytesOf(header),
    varintBytes(named.length),
  );
  return { named, bytes };
}

const bytesOf = (bytes: Buffer | null): number => (bytes === null ? 1 : varintBytes(bytes.length) + bytes.length);

function writeBytes(target: Buffer, at: number, bytes: Buffer | null): number {
  if (bytes === null) return writeVarint(target, at, -1);
  const start = writeVarint(target, at, bytes.length);
  target.set(bytes, start);
  return start + bytes.length;
}

/** Small numbers of either sign take few bytes. Not by bits: timestamps need more than 32 of them. */
const zigzag = (value: number): number => (value < 0 ? -value * 2 - 1 : value * 2);

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = zigzag(value); rest >= 128; rest = Math.floor(rest / 128)) bytes += 1;
  return bytes;
}

function writeVarint(target: Buffer, start: number, value: number): number {
  let at = start;
  let rest = zigzag(value);
  for (; rest >= 128; rest = Math.floor(rest / 128)) {
    target[at] = (rest % 128) | 0x80;
    at += 1;
  }
  target[at] = rest;
  return at + 1;
}
