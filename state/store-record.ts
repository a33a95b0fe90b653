/**
 * How the store's records stand in LevelDB: one byte of kind before the key, a CRC32 before the value. Everything the
 * store writes is sealed this way, so whatever a scan meets either proves itself or is damage.
 */
import { crc32 } from 'node:zlib';

export const ENTRY_KIND = 0x65; // 'e': an entry of the owner
export const META_KIND = 0x6d; // 'm': the one record of what the store holds
export const SEQUENCE_KIND = 0x73; // 's': the number of one batch

const CHECKSUM_BYTES = 4;

/** What the store holds as of its last batch; written in every batch, so it is exactly as new as the entries. */
export interface StoreMeta {
  readonly layoutHash: string;
  /** Number of the last batch; the first is 1. */
  readonly batch: number;
  readonly count: number;
  /** Sum of all entries' checksums modulo 2^64: no entry can be missing, stale or renamed unnoticed. */
  readonly digest: bigint;
  /** The owner's position as JSON; undefined before the first commit. */
  readonly position: string | undefined;
}

const FORMAT = 1;

export const META_KEY = Buffer.from([META_KIND]);

/** The LevelDB key of an owner's key. */
export function entryKey(key: Buffer): Buffer {
  const stored = Buffer.allocUnsafe(key.length + 1);
  stored[0] = ENTRY_KIND;
  key.copy(stored, 1);
  return stored;
}

/** The LevelDB key of a batch's number: big-endian, so that keys stand in the order of the batches. */
export function sequenceKey(batch: number): Buffer {
  const key = Buffer.allocUnsafe(9);
  key[0] = SEQUENCE_KIND;
  key.writeBigUInt64BE(BigInt(batch), 1);
  return key;
}

export const sequenceOfKey = (key: Buffer): number => (key.length === 9 ? Number(key.readBigUInt64BE(1)) : NaN);

/** CRC32 over a LevelDB key and its value; the key's length goes in too, so bytes cannot move across the border. */
export const checksum = (key: Buffer, value: Buffer): number => crc32(value, crc32(key, key.length));

/** The value as it is stored: its checksum, then its bytes. */
export function seal(value: Buffer, sum: number): Buffer {
  const sealed = Buffer.allocUnsafe(CHECKSUM_BYTES + value.length);
  sealed.writeUInt32BE(sum, 0);
  value.copy(sealed, CHECKSUM_BYTES);
  return sealed;
}

/** The value within a sealed one, not copied, and its checksum; undefined if key and value do not match it. */
export function unseal(key: Buffer, sealed: Buffer): { value: Buffer; sum: number } | undefined {
  if (sealed.length < CHECKSUM_BYTES) return undefined;
  const value = sealed.subarray(CHECKSUM_BYTES);
  const sum = sealed.readUInt32BE(0);
  return checksum(key, value) === sum ? { value, sum } : undefined;
}

export function encodeMeta(meta: StoreMeta): Buffer {
  const json = JSON.stringify({ format: FORMAT, ...meta, digest: meta.digest.toString(16) });
  const value = Buffer.from(json, 'utf8');
  return seal(value, checksum(META_KEY, value));
}

/** The meta record; undefined if it does not match its checksum. A record of another format has an empty layout hash. */
export function decodeMeta(sealed: Buffer): StoreMeta | undefined {
  const opened = unseal(META_KEY, sealed);
  if (opened === undefined) return undefined;
  const json = JSON.parse(opened.value.toString('utf8')) as Omit<StoreMeta, 'digest'> & {
    format: number;
    digest: string;
  };
  return {
    layoutHash: json.format === FORMAT ? json.layoutHash : '',
    batch: json.batch,
    count: json.count,
    digest: BigInt(`0x${json.digest}`),
    position: json.position,
  };
}
