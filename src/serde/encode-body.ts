/** Avro bodies without avsc's own buffer of 1 KB, which makes it encode larger records twice. */
import type { Type } from 'avsc';
import { FreshetError } from '../base/errors.ts';

/** Records that fit are encoded in place and copied out; larger ones get a buffer of their own. */
const scratch = Buffer.alloc(65_536);

/**
 * `reserve` free bytes, then the Avro body of `record`. Throws INTERNAL, naming the field and never its value (avsc's
 * own message quotes it, and it may be a user id).
 */
export function encodeBody(what: string, type: Type, record: object, reserve = 0): Buffer {
  try {
    const end = type.encode(record, scratch, reserve);
    if (end >= 0) return Buffer.from(scratch.subarray(0, end));
    // avsc answers with the number of bytes that were missing, negative.
    const target = Buffer.alloc(scratch.length - end);
    type.encode(record, target, reserve);
    return target;
  } catch {
    throw new FreshetError('INTERNAL', `a record of ${what} does not fit its schema at ${misfit(type, record)}`);
  }
}

function misfit(type: Type, record: object): string {
  let place = 'an unknown field';
  type.isValid(record, {
    errorHook: (path) => {
      place = path.join('.');
    },
  });
  return place;
}
