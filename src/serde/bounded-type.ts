/**
 * avsc types that hostile bytes can neither stall nor mislead.
 *
 * - avsc trusts the item count of an array or map: ten bytes that announce 2^31 items keep it busy, or allocating, long
 *   past the end of the record, and a negative block size makes it skip backwards for ever. Here a block that
 *   announces more items than bytes are left is an error.
 * - avsc reads and writes longs in floating point after doubling them (zigzag), so that it silently turns
 *   -2^52 - 1 into 2^52. Here longs from 2^52 on, either sign, are errors.
 *
 * The methods replaced are avsc's private ones; avsc is pinned to one version, and test/serde-hostile.test.ts fails if
 * another no longer calls them.
 */
import avsc from 'avsc';
import type { ForSchemaOptions, Schema, Type } from 'avsc';

/** avsc's cursor; reading past the end gives zeros and leaves `pos` behind `buf.length`. */
interface Tap {
  readonly buf: Buffer;
  pos: number;
  readLong(): number;
  writeLong(value: number): void;
  readString(): string;
  skipString(): void;
}

/** Smallest size of a long that is refused: its double no longer has every integer beside it. */
const LONG_LIMIT = 2 ** 52;

interface Reads {
  _read(tap: Tap): unknown;
  _skip(tap: Tap): void;
}

/**
 * Builds the type of a schema. Records decode to plain objects without methods, longs to numbers below 2^52 in size.
 * Throws avsc's error when the schema is not valid Avro.
 */
export const boundedType = (schema: Schema): Type =>
  avsc.Type.forSchema(schema, { omitRecordMethods: true, typeHook: boundedSubtype });

function boundedSubtype(schema: Schema, options: ForSchemaOptions): Type | undefined {
  const kind = typeof schema === 'object' && 'type' in schema ? schema.type : schema;
  if (kind === 'long') return new BoundedLong();
  if (kind === 'array') return new BoundedArray(schema, options);
  if (kind === 'map') return new BoundedMap(schema, options);
  return undefined;
}

const fits = (value: unknown): boolean => Number.isInteger(value) && Math.abs(value as number) < LONG_LIMIT;

class BoundedLong extends avsc.types.LongType {
  _read(tap: Tap): number {
    const value = tap.readLong();
    if (!fits(value)) throw new Error('a long is not below 2^52 in size');
    return value;
  }

  _write(tap: Tap, value: unknown): void {
    if (!fits(value)) throw new Error('a long is no integer below 2^52 in size');
    tap.writeLong(value as number);
  }

  _check(value: unknown, _flags: number, hook?: (value: unknown, type: Type) => void): boolean {
    const valid = fits(value);
    if (!valid) hook?.(value, this);
    return valid;
  }
}

/**
 * In a resolver avsc calls `_read` with `this` being the resolver, whose itemsType (valuesType) resolves the writer's:
 * these methods may use that field and nothing else of `this`.
 */
class BoundedArray extends avsc.types.ArrayType {
  _read(this: { readonly itemsType: object }, tap: Tap): unknown[] {
    const items = this.itemsType as Reads;
    let count = readCount(tap);
    const values = new Array<unknown>(count);
    for (let at = 0; count > 0; count = readCount(tap)) {
      for (; count > 0; count -= 1) values[at++] = items._read(tap);
    }
    return values;
  }

  _skip(this: { readonly itemsType: object }, tap: Tap): void {
    const items = this.itemsType as Reads;
    for (let count = readCount(tap); count > 0; count = readCount(tap)) {
      for (; count > 0; count -= 1) items._skip(tap);
    }
  }
}

class BoundedMap extends avsc.types.MapType {
  _read(this: { readonly valuesType: object }, tap: Tap): Record<string, unknown> {
    const values = this.valuesType as Reads;
    const entries: [string, unknown][] = [];
    for (let count = readCount(tap); count > 0; count = readCount(tap)) {
      for (; count > 0; count -= 1) entries.push([tap.readString(), values._read(tap)]);
    }
    return Object.fromEntries(entries);
  }

  _skip(this: { readonly valuesType: object }, tap: Tap): void {
    const values = this.valuesType as Reads;
    for (let count = readCount(tap); count > 0; count = readCount(tap)) {
      for (; count > 0; count -= 1) {
        tap.skipString();
        values._skip(tap);
      }
    }
  }
}

/** Items of the next block, 0 at the end. Every item of our schemas takes a byte or more. */
function readCount(tap: Tap): number {
  let count = tap.readLong();
  if (count < 0) {
    count = -count;
    tap.readLong(); // The block's size in bytes, of use only to a reader that seeks.
  }
  if (count > tap.buf.length - tap.pos) {
    throw new Error(`a block announces ${count} items, more than there are bytes left`);
  }
  return count;
}
