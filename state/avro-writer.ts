/**
 * Avro's primitives into one fixed buffer, for the records that are written most. Nothing is written past the buffer's
 * end, but the position moves on: whether a record has fitted is asked once, behind it.
 */

/** Integers from here on, either sign, are refused as everywhere in Freshet (see bounded-type.ts). */
const LONG_LIMIT = 2 ** 52;
/** Strings of at most so many characters are copied here; longer ones by Node, which costs a call. */
const SHORT_STRING = 63;

export class AvroWriter {
  readonly bytes: Buffer;
  /** Of the next byte; larger than the buffer when the record did not fit. */
  at = 0;
  /** False once a number was given that is no integer below 2^52 in size. */
  isValid = true;
  private readonly view: DataView;

  constructor(size: number) {
    this.bytes = Buffer.alloc(size);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, size);
  }

  /** Whether everything up to the position was written as it was given. */
  get isWhole(): boolean {
    return this.isValid && this.at <= this.bytes.length;
  }

  start(at: number): void {
    this.at = at;
    this.isValid = true;
  }

  byte(value: number): void {
    this.bytes[this.at++] = value;
  }

  /** An int or a long: they have the same bytes. */
  long(value: number): void {
    if (!Number.isInteger(value) || Math.abs(value) >= LONG_LIMIT) this.isValid = false;
    let left = value >= 0 ? value * 2 : -value * 2 - 1;
    const { bytes } = this;
    for (; left >= 0x1_0000_0000; left = Math.floor(left / 128)) bytes[this.at++] = (left % 128) | 0x80;
    let small = left >>> 0;
    for (; small > 127; small >>>= 7) bytes[this.at++] = (small & 127) | 0x80;
    bytes[this.at++] = small;
  }

  float(value: number): void {
    if (this.at + 4 <= this.bytes.length) this.view.setFloat32(this.at, value, true);
    this.at += 4;
  }

  double(value: number): void {
    if (this.at + 8 <= this.bytes.length) this.view.setFloat64(this.at, value, true);
    this.at += 8;
  }

  boolean(value: boolean): void {
    this.byte(value ? 1 : 0);
  }

  string(text: string): void {
    const { length } = text;
    if (length > SHORT_STRING || !this.ascii(text, length)) {
      const size = Buffer.byteLength(text);
      this.long(size);
      if (this.at + size <= this.bytes.length) this.bytes.write(text, this.at);
      this.at += size;
    }
  }

  /** Bytes that stand elsewhere as they are to stand here. */
  copy(source: Buffer, from: number, to: number): void {
    if (this.at + to - from <= this.bytes.length) source.copy(this.bytes, this.at, from, to);
    this.at += to - from;
  }

  strings(values: readonly string[]): void {
    if (values.length > 0) this.long(values.length);
    for (let index = 0; index < values.length; index += 1) this.string(values[index]!);
    this.byte(0);
  }

  longs(values: readonly number[]): void {
    if (values.length > 0) this.long(values.length);
    for (let index = 0; index < values.length; index += 1) this.long(values[index]!);
    this.byte(0);
  }

  floats(values: readonly number[]): void {
    if (values.length > 0) this.long(values.length);
    for (let index = 0; index < values.length; index += 1) this.float(values[index]!);
    this.byte(0);
  }

  /** As `floats`, from where they stand as such. */
  float32s(values: Float32Array): void {
    if (values.length > 0) this.long(values.length);
    if (this.at + values.length * 4 <= this.bytes.length) {
      const { view } = this;
      for (let index = 0; index < values.length; index += 1) view.setFloat32(this.at + index * 4, values[index]!, true);
    }
    this.at += values.length * 4;
    this.byte(0);
  }

  doubles(values: readonly number[]): void {
    if (values.length > 0) this.long(values.length);
    for (let index = 0; index < values.length; index += 1) this.double(values[index]!);
    this.byte(0);
  }

  /** The string, if it has a byte a character; else nothing is written. */
  private ascii(text: string, length: number): boolean {
    const { bytes } = this;
    const start = this.at;
    for (let index = 0; index < length; index += 1) {
      const code = text.charCodeAt(index);
      if (code > 127) return false;
      bytes[start + 1 + index] = code;
    }
    bytes[start] = length * 2;
    this.at = start + 1 + length;
    return true;
  }
}
