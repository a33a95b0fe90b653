/**
 * The bytes of the embedded log. A record is stored under (topic, partition, offset), big-endian so that LevelDB's
 * order is the log's order; its value ends with a CRC-32 over key and content, so that neither damaged bytes nor a
 * record in another's place pass for the truth.
 *
 *     key    'r' · topic id u16 · partition u16 · offset u48
 *     value  timestamp f64 · key length i32 · value length i32 · header count u16
 *            · headers (name length u16 · name · value length u32 · value) · key · value · CRC-32 u32
 *
 * A length of -1 says null: an empty key or value is something else. Of an erased record its place and its timestamp are
 * left: key and value are null, and its one header says what it is.
 */
import { crc32 } from 'node:zlib';
import { FreshetError, invariant } from '../base/errors.ts';
import { ERASED_HEADER, type Headers, type LogRecord, type NewRecord, type TopicPartition } from './log.ts';

/** What one record may take, its headers included. Kafka's default is 1 MB a message: what fits there fits here. */
const MAX_RECORD_BYTES = 4 * 1024 * 1024;

const RECORD_PREFIX = 0x72; // 'r'
const KEY_BYTES = 11;
const FIXED_BYTES = 18;
const CRC_BYTES = 4;
const MAX_HEADERS = 1_000;
const NULL_LENGTH = -1;
const NO_HEADERS: Headers = Object.freeze({});

export interface StoredBytes {
  readonly key: Buffer;
  readonly value: Buffer;
}

export function recordKey(topicId: number, partition: number, offset: number): Buffer {
  const key = Buffer.allocUnsafe(KEY_BYTES);
  writeKey(key, topicId, partition, offset);
  return key;
}

/** What a key of LevelDB says; undefined if it is no record's. */
export function recordPlace(key: Buffer): { topicId: number; partition: number; offset: number } | undefined {
  if (key.length !== KEY_BYTES || key[0] !== RECORD_PREFIX) return undefined;
  return { topicId: key.readUInt16BE(1), partition: key.readUInt16BE(3), offset: key.readUIntBE(5, 6) };
}

/** Encodes records one after the other into the same memory: LevelDB copies each when it is put into the batch. */
export class RecordEncoder {
  #scratch = Buffer.allocUnsafe(64 * 1024);

  /** The result is valid until the next call. Fails with INPUT_MALFORMED if the record is too large to be stored. */
  encode(topicId: number, offset: number, record: NewRecord): StoredBytes {
    const { topic, partition, timestampMs } = record;
    invariant(Number.isSafeInteger(timestampMs), `timestamp ${timestampMs} is no integer`, {
      topic,
      partition,
      offset,
    });
    const headers = Object.entries(record.headers ?? NO_HEADERS).map(([name, value]) => ({
      name: Buffer.from(name),
      value,
    }));
    const contentBytes =
      FIXED_BYTES +
      headers.reduce((bytes, { name, value }) => bytes + 6 + name.length + value.length, 0) +
      (record.key?.length ?? 0) +
      (record.value?.length ?? 0);
    if (contentBytes > MAX_RECORD_BYTES || headers.length > MAX_HEADERS) {
      throw new FreshetError(
        'INPUT_MALFORMED',
        `a record of ${contentBytes} bytes and ${headers.length} headers is over the limits ` +
          `(${MAX_RECORD_BYTES} bytes, ${MAX_HEADERS} headers)`,
        { position: { topic, partition, offset } },
      );
    }
    const contentEnd = KEY_BYTES + contentBytes;
    if (this.#scratch.length < contentEnd + CRC_BYTES) this.#scratch = Buffer.allocUnsafe(contentEnd + CRC_BYTES);
    const bytes = this.#scratch;
    writeKey(bytes, topicId, partition, offset);
    let at = bytes.writeDoubleBE(timestampMs, KEY_BYTES);
    at = bytes.writeInt32BE(record.key?.length ?? NULL_LENGTH, at);
    at = bytes.writeInt32BE(record.value?.length ?? NULL_LENGTH, at);
    at = bytes.writeUInt16BE(headers.length, at);
    for (const { name, value } of headers) {
      at = bytes.writeUInt16BE(name.length, at);
      bytes.set(name, at);
      at = bytes.writeUInt32BE(value.length, at + name.length);
      bytes.set(value, at);
      at += value.length;
    }
    if (record.key !== null) bytes.set(record.key, at);
    if (record.value !== null) bytes.set(record.value, at + (record.key?.length ?? 0));
    bytes.writeUInt32BE(crc32(bytes.subarray(0, contentEnd)), contentEnd);
    return { key: bytes.subarray(0, KEY_BYTES), value: bytes.subarray(KEY_BYTES, contentEnd + CRC_BYTES) };
  }
}

/** What an erase puts in the place of a record. */
export const erasedRecord = (at: TopicPartition, { timestampMs }: LogRecord): NewRecord => ({
  ...{ topic: at.topic, partition: at.partition, timestampMs, key: null, value: null },
  headers: { [ERASED_HEADER]: Buffer.alloc(0) },
});

/** Reads one record; key and value are views of `stored.value`. Fails with LOG_CORRUPT. */
export function decodeRecord(stored: StoredBytes, at: TopicPartition, offset: number): LogRecord {
  const bytes = unsealed(stored);
  if (bytes === undefined || bytes.length < FIXED_BYTES) {
    throw new FreshetError('LOG_CORRUPT', 'the checksum does not match', { position: { ...at, offset } });
  }
  const keyLength = bytes.readInt32BE(8);
  const valueLength = bytes.readInt32BE(12);
  const headers = decodeHeaders(bytes, bytes.readUInt16BE(16));
  const valueStart = bytes.length - Math.max(valueLength, 0);
  return {
    offset,
    timestampMs: bytes.readDoubleBE(0),
    key: keyLength === NULL_LENGTH ? null : bytes.subarray(valueStart - keyLength, valueStart),
    value: valueLength === NULL_LENGTH ? null : bytes.subarray(valueStart),
    headers,
  };
}

/** Appends the CRC-32 over key and content. */
export function sealed(key: Buffer, content: Buffer): Buffer {
  const value = Buffer.allocUnsafe(content.length + CRC_BYTES);
  value.set(content);
  value.writeUInt32BE(crc32(content, crc32(key)), content.length);
  return value;
}

/** The content without its CRC-32; undefined if that does not match. */
export function unsealed({ key, value }: StoredBytes): Buffer | undefined {
  if (value.length < CRC_BYTES) return undefined;
  const content = value.subarray(0, value.length - CRC_BYTES);
  return crc32(content, crc32(key)) === value.readUInt32BE(content.length) ? content : undefined;
}

function decodeHeaders(bytes: Buffer, count: number): Headers {
  if (count === 0) return NO_HEADERS;
  const entries: [string, Buffer][] = [];
  let at = FIXED_BYTES;
  for (let header = 0; header < count; header += 1) {
    const nameEnd = at + 2 + bytes.readUInt16BE(at);
    const valueEnd = nameEnd + 4 + bytes.readUInt32BE(nameEnd);
    entries.push([bytes.toString('utf8', at + 2, nameEnd), bytes.subarray(nameEnd + 4, valueEnd)]);
    at = valueEnd;
  }
  return Object.fromEntries(entries);
}

function writeKey(bytes: Buffer, topicId: number, partition: number, offset: number): void {
  bytes[0] = RECORD_PREFIX;
  bytes.writeUInt16BE(topicId, 1);
  bytes.writeUInt16BE(partition, 3);
  bytes.writeUIntBE(offset, 5, 6);
}
