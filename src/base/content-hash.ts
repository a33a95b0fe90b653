/**
 * The content hash of an item-vector version. It does not depend on the order of the rows, so publishers and readers
 * compute it as rows come by, without sorting them:
 *
 *     row digest   = SHA-256(u32 LE length of the item id · item id (UTF-8) · scale (f32 LE) · presence · vector bytes)
 *     content hash = SHA-256(u64 LE row count · sum of the row digests modulo 2^256 (32 bytes, big-endian)), hex
 *
 * where presence is the byte 1 before a vector and the byte 0 for a removal, which has no vector bytes and scale 0. A
 * row digest is taken as a big-endian number. The hash finds damage and mix-ups; it is no defence against an attacker.
 */
import { createHash, hash } from 'node:crypto';

const MODULUS = 1n << 256n;

export class ContentHash {
  #sum = 0n;
  #rowCount = 0;

  get rowCount(): number {
    return this.#rowCount;
  }

  /** Adds a row; each item once. `vector` is int8 [D]; null is a removal. */
  add(itemId: string, scale: number, vector: Uint8Array | Int8Array | null): void {
    this.addDigest(rowDigest(itemId, scale, vector));
  }

  /** Adds a row by its digest, for callers that keep digests to find a row written twice. */
  addDigest(digest: bigint): void {
    this.#sum = (this.#sum + digest) % MODULUS;
    this.#rowCount += 1;
  }

  /** SHA-256 of what was added so far, hex. */
  digest(): string {
    const count = Buffer.alloc(8);
    count.writeBigUInt64LE(BigInt(this.#rowCount));
    const sum = Buffer.from(this.#sum.toString(16).padStart(64, '0'), 'hex');
    return createHash('sha256').update(count).update(sum).digest('hex');
  }
}

/** SHA-256 of one row, as a number below 2^256. */
export function rowDigest(itemId: string, scale: number, vector: Uint8Array | Int8Array | null): bigint {
  const id = Buffer.from(itemId);
  const bytes = Buffer.allocUnsafe(4 + id.length + 5 + (vector?.length ?? 0));
  let at = bytes.writeUInt32LE(id.length, 0);
  at += id.copy(bytes, at);
  at = bytes.writeFloatLE(vector === null ? 0 : scale, at);
  at = bytes.writeUInt8(vector === null ? 0 : 1, at);
  if (vector !== null) bytes.set(new Uint8Array(vector.buffer, vector.byteOffset, vector.length), at);
  return BigInt(`0x${hash('sha256', bytes, 'hex')}`);
}
