/**
 * Kafka's record batches, read one record at a time from the bytes of a fetch. What was fetched and is not asked for
 * yet stays encoded; a record is copied when it is read, as whoever keeps one would keep the whole fetch otherwise.
 *
 *     base offset i64 · length i32 · leader epoch i32 · magic i8 · CRC-32C u32 · attributes i16 · last offset delta i32
 *     · base timestamp i64 · max timestamp i64 · producer id i64 · producer epoch i16 · base sequence i32 · count i32
 *     · records
 */
import { promisify } from 'node:util';
import { gunzip, zstdDecompress } from 'node:zlib';
import { crc32c } from '../base/crc32c.ts';
import { FreshetError } from '../base/errors.ts';
import { REMEDIES } from './kafka-errors.ts';
import type { Headers, LogRecord, TopicPartition } from './log.ts';

/** Where fields stand in a batch. */
const LENGTH = 8;
const LENGTH_END = 12;
const MAGIC = 16;
const CRC = 17;
const ATTRIBUTES = 21;
const LAST_OFFSET_DELTA = 23;
const BASE_TIMESTAMP = 27;
const MAX_TIMESTAMP = 35;
const PRODUCER_ID = 43;
const COUNT = 57;
export const BATCH_HEADER_BYTES = 61;

const MAGIC_VERSION = 2;
const CODEC_MASK = 0x07;
const LOG_APPEND_TIME = 0x08;
const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;
const CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
/** A few bytes may decompress to any number of them. */
const MAX_DECOMPRESSED_BYTES = 64 * 1024 * 1024;
const NO_HEADERS: Headers = Object.freeze({});

const inflate = promisify(gunzip);
const inflateZstd = promisify(zstdDecompress);

export interface BatchHeader {
  readonly baseOffset: number;
  /** Offset after the batch. Compaction may have removed its last records, or all. */
  readonly nextOffset: number;
  /** Length of the whole batch, header included. */
  readonly bytes: number;
  readonly attributes: number;
  readonly isTransactional: boolean;
  readonly isControl: boolean;
  readonly producerId: bigint;
  readonly baseTimestampMs: number;
  readonly maxTimestampMs: number;
  readonly count: number;
}

/** The batch at the start of `bytes`; undefined if it is cut off, as the last one of a fetch may be. */
export function readBatchHeader(bytes: Buffer, at: TopicPartition): BatchHeader | undefined {
  if (bytes.length < LENGTH_END + 5) return undefined;
  const baseOffset = Number(bytes.readBigInt64BE(0));
  const length = bytes.readInt32BE(LENGTH) + LENGTH_END;
  if (bytes[MAGIC] !== MAGIC_VERSION) {
    const detail = `records in format ${bytes[MAGIC]}, which Kafka wrote before version 0.11`;
    throw new FreshetError('KAFKA_UNSUPPORTED', detail, { position: { ...at, offset: baseOffset } });
  }
  if (bytes.length < length) return undefined;
  if (length < BATCH_HEADER_BYTES || crc32c(bytes, ATTRIBUTES, length) !== bytes.readUInt32BE(CRC)) {
    const { LOG_CORRUPT: remedy } = REMEDIES;
    throw new FreshetError('LOG_CORRUPT', 'the checksum of the record batch does not match', {
      position: { ...at, offset: baseOffset },
      ...(remedy !== undefined && { remedy }),
    });
  }
  const attributes = bytes.readInt16BE(ATTRIBUTES);
  return {
    baseOffset,
    nextOffset: baseOffset + bytes.readInt32BE(LAST_OFFSET_DELTA) + 1,
    bytes: length,
    attributes,
    isTransactional: (attributes & TRANSACTIONAL) !== 0,
    isControl: (attributes & CONTROL) !== 0,
    producerId: bytes.readBigInt64BE(PRODUCER_ID),
    baseTimestampMs: Number(bytes.readBigInt64BE(BASE_TIMESTAMP)),
    maxTimestampMs: Number(bytes.readBigInt64BE(MAX_TIMESTAMP)),
    count: bytes.readInt32BE(COUNT),
  };
}

/** Fails with KAFKA_COMPRESSION_UNSUPPORTED, or LOG_CORRUPT if the bytes cannot be decompressed. */
export async function openBatch(bytes: Buffer, header: BatchHeader, at: TopicPartition): Promise<BatchRecords> {
  const body = bytes.subarray(BATCH_HEADER_BYTES, header.bytes);
  const codec = CODECS[header.attributes & CODEC_MASK] ?? `codec ${header.attributes & CODEC_MASK}`;
  const position = { ...at, offset: header.baseOffset };
  const options = { maxOutputLength: MAX_DECOMPRESSED_BYTES };
  try {
    switch (codec) {
      case 'none':
        return new BatchRecords(body, header);
      case 'gzip':
        return new BatchRecords(await inflate(body, options), header);
      case 'zstd':
        return new BatchRecords(await inflateZstd(body, options), header);
      default:
        throw new FreshetError('KAFKA_COMPRESSION_UNSUPPORTED', codec, { position });
    }
  } catch (error) {
    if (error instanceof FreshetError) throw error;
    const detail = `the ${codec} batch cannot be decompressed to at most ${MAX_DECOMPRESSED_BYTES} bytes`;
    throw new FreshetError('LOG_CORRUPT', detail, { position, cause: error, remedy: REMEDIES.LOG_CORRUPT! });
  }
}

/** The records of one batch, in order. */
export class BatchRecords {
  readonly #bytes: Buffer;
  readonly #header: BatchHeader;
  #at = 0;
  #left: number;

  constructor(bytes: Buffer, header: BatchHeader) {
    this.#bytes = bytes;
    this.#header = header;
    this.#left = header.count;
  }

  /** Keys and values of the next record at or after `offset`, in bytes; undefined if there is none left. */
  peekBytes(offset: number): number | undefined {
    for (; this.#left > 0; this.#skip()) {
      const start = this.#at;
      this.#varint();
      this.#at += 1;
      this.#varlong();
      const isWanted = this.#header.baseOffset + this.#varint() >= offset;
      const keyBytes = Math.max(0, this.#varint());
      this.#at += keyBytes;
      const valueBytes = Math.max(0, this.#varint());
      this.#at = start;
      if (isWanted) return keyBytes + valueBytes;
    }
    return undefined;
  }

  /** @param views - whether its value may be a view into the batch. */
  next(views = false): LogRecord {
    const { baseOffset, baseTimestampMs, maxTimestampMs, attributes } = this.#header;
    const length = this.#varint();
    const end = this.#at + length;
    this.#at += 1;
    const timestampMs = baseTimestampMs + this.#varlong();
    const offset = baseOffset + this.#varint();
    const keyBytes = this.#varint();
    const keyStart = this.#at;
    this.#at += Math.max(0, keyBytes);
    const valueBytes = this.#varint();
    const valueStart = this.#at;
    this.#at += Math.max(0, valueBytes);
    const headers = this.#headers(this.#varint());
    this.#at = end;
    this.#left -= 1;
    return {
      offset,
      timestampMs: (attributes & LOG_APPEND_TIME) === 0 ? timestampMs : maxTimestampMs,
      key: this.#copy(keyStart, keyBytes),
      value: views ? this.#view(valueStart, valueBytes) : this.#copy(valueStart, valueBytes),
      headers,
    };
  }

  #skip(): void {
    const length = this.#varint();
    this.#at += length;
    this.#left -= 1;
  }

  #headers(count: number): Headers {
    if (count <= 0) return NO_HEADERS;
    const headers: [string, Buffer][] = [];
    for (let index = 0; index < count; index += 1) {
      const nameBytes = this.#varint();
      const name = this.#bytes.toString('utf8', this.#at, this.#at + nameBytes);
      this.#at += nameBytes;
      const valueBytes = this.#varint();
      headers.push([name, this.#copy(this.#at, valueBytes) ?? Buffer.alloc(0)]);
      this.#at += Math.max(0, valueBytes);
    }
    // Not by assignment: a name may be `__proto__`.
    return Object.fromEntries(headers);
  }

  #copy(start: number, bytes: number): Buffer | null {
    if (bytes < 0) return null;
    const copy = Buffer.allocUnsafe(bytes);
    this.#bytes.copy(copy, 0, start, start + bytes);
    return copy;
  }

  #view(start: number, bytes: number): Buffer | null {
    return bytes < 0 ? null : this.#bytes.subarray(start, start + bytes);
  }

  #varint(): number {
    let result = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.#bytes[this.#at]!;
      this.#at += 1;
      result |= (byte & 0x7f) << shift;
      if (byte < 0x80) return (result >>> 1) ^ -(result & 1);
    }
  }

  /** Timestamps differ by more than 31 bits of milliseconds once they differ by 25 days. */
  #varlong(): number {
    let result = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.#bytes[this.#at]!;
      this.#at += 1;
      result += (byte & 0x7f) * factor;
      if (byte < 0x80) return result % 2 === 0 ? result / 2 : -(result + 1) / 2;
    }
  }
}
