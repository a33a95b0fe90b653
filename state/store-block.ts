/** The bytes of LevelDB's table files: where a table ends, and the numbers that its blocks are made of. */

export const FOOTER_BYTES = 48;
/** Behind each block: its type, and its masked CRC-32C. */
export const TRAILER_BYTES = 5;
/** The last bytes of a table. */
export const MAGIC = Buffer.from('57fb808b247547db', 'hex');

export interface BlockHandle {
  readonly offset: number;
  readonly size: number;
}

/** Reads on in a block. Throws RangeError at its end. */
export class BlockCursor {
  at: number;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  /** A base-128 number, low bits first; past 2^53 it is inexact, and out of any file's range. */
  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#bytes.readUInt8(this.at);
      this.at += 1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  take(length: number): Buffer {
    const start = this.at;
    this.at += length;
    if (this.at > this.#bytes.length) throw new RangeError(`${length} bytes at ${start} end after the block`);
    return this.#bytes.subarray(start, this.at);
  }

  handle(): BlockHandle {
    return { offset: this.varint(), size: this.varint() };
  }
}
