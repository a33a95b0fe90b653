/**
 * Random indexing: every user has a fixed sparse vector of a few +1 and −1, drawn by murmur2 from the id. An item's raw
 * vector is the weighted sum of those of the users who acted on it, so that items with the same audience come out alike.
 */
import { murmur2 } from '../base/murmur2.ts';

/** Pairs (dimension, sign); a dimension drawn twice adds up. */
export interface UserIndex {
  readonly dimensions: Int32Array;
  readonly signs: Int8Array;
}

/** For j < nonzeros: h = murmur2("j:user"); dimension = (h & 0x7fffffff) mod raw; sign − if h's top bit is set. */
export function userIndex(userId: string, rawDimension: number, nonzeros: number): UserIndex {
  const dimensions = new Int32Array(nonzeros);
  const signs = new Int8Array(nonzeros);
  for (let draw = 0; draw < nonzeros; draw += 1) {
    const hash = murmur2(Buffer.from(`${draw}:${userId}`));
    dimensions[draw] = (hash & 0x7fffffff) % rawDimension;
    signs[draw] = hash < 0 ? -1 : 1;
  }
  return { dimensions, signs };
}
