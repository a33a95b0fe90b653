/** Random values of an avsc type, for properties: everything that can be written and is read back equal. */
import type { Type, types } from 'avsc';
import fc from 'fast-check';

const MAX_ITEMS = 4;
/** The largest long that is written and read (src/serde/bounded-type.ts). */
const MAX_LONG = 2 ** 52 - 1;

export function arbitraryOf(type: Type): fc.Arbitrary<unknown> {
  switch (type.typeName) {
    case 'null':
      return fc.constant(null);
    case 'boolean':
      return fc.boolean();
    case 'int':
      return fc.integer();
    case 'long':
      return fc.integer({ min: -MAX_LONG, max: MAX_LONG });
    case 'float':
      return fc.float({ noNaN: true });
    case 'double':
      return fc.double({ noNaN: true });
    case 'string':
      // Avro strings are UTF-8: a lone surrogate has no bytes.
      return fc.string({ unit: 'grapheme', maxLength: 40 });
    case 'bytes':
      return fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes));
    case 'array':
      return fc.array(arbitraryOf((type as types.ArrayType).itemsType), { maxLength: MAX_ITEMS });
    case 'union:unwrapped':
      return fc.oneof(...(type as types.UnwrappedUnionType).types.map(arbitraryOf));
    case 'record': {
      const { fields } = type as types.RecordType;
      return fc.record(Object.fromEntries(fields.map((field) => [field.name, arbitraryOf(field.type)])));
    }
    default:
      throw new Error(`no arbitrary for the Avro type ${type.typeName}`);
  }
}
