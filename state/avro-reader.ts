/**
 * Where Avro's values stand in a record, for what is copied rather than decoded. Nothing is read past the end: whether
 * the record was whole, and written as Freshet writes, is asked once, behind it.
 */

/** Longs of more bytes are none that Freshet writes. */
const MAX_LONG_BYTES = 8;

export class AvroReader {
  readonly bytes: Buffer;
  /** Of the next byte; never behind the end. */
  at = 0;
  /** Whether all that was read stood there, each array in one block. */
  isWhole = true;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** An int or a long. */
  long(): number {
    const { bytes } = this;
    const end = Math.min(this.at + MAX_LONG_BYTES, bytes.length);
    let value = 0;
    for (let factor = 1; this.at < end; factor *= 128) {
      const byte = bytes[this.at++]!;
      value += (byte & 127) * factor;
      if (byte < 128) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
    }
    this.isWhole = false;
    return 0;
  }

  string(): string {
    const size = this.long();
    const start = this.at;
    this.skip(size);
    return this.bytes.toString('utf8', start, this.at);
  }

  skip(size: number): void {
    if (size >= 0 && size <= this.bytes.length - this.at) this.at += size;
    else this.isWhole = false;
  }

  skipLongs(count: number): void {
    const { bytes } = this;
    let { at } = this;
    for (let left = count; left > 0; left -= 1) {
      while (at < bytes.length && bytes[at]! > 127) at += 1;
      at += 1;
      if (at > bytes.length) {
        this.isWhole = false;
        return;
      }
    }
    this.at = at;
  }

  skipStrings(count: number): void {
    for (let left = count; left > 0 && this.isWhole; left -= 1) this.skip(this.long());
  }

  /** The number of items of an array, before them. */
  count(): number {
    const count = this.long();
    if (count >= 0) return count;
    this.isWhole = false;
    return 0;
  }

  /** Behind the items of an array of so many: its end, which an empty array begins with. */
  end(count: number): void {
    if (count > 0 && this.long() !== 0) this.isWhole = false;
  }
}
