/** Item vectors, and how models take them. */
import { FreshetError } from '../base/errors.ts';

/** The item vectors of one version, its chain of changes resolved. */
export interface ItemTable {
  /** The version's name; null before any activation: no item has a vector then. */
  readonly version: string | null;
  /** int8 [D] and its scale (value = q · scale), or undefined: the item has no vector in this version. */
  vector(itemId: string): ItemVector | undefined;
}

export interface ItemVector {
  readonly values: Int8Array;
  readonly scale: number;
}

/** Whether every int8 times this scale is a finite float32. */
export const isScale = (scale: number): boolean => Number.isFinite(Math.fround(scale * 128));

/**
 * Writes the vector of an item into row `cell` of `target` [cells][dimension]; whether it has one: else the row stays as it
 * is. Throws SPACE_MISMATCH, VECTOR_INVALID.
 */
export function writeItemVector(
  target: Float32Array,
  cell: number,
  itemId: string,
  table: ItemTable,
  dimension: number,
): boolean {
  const vector = table.vector(itemId);
  if (vector === undefined) return false;
  const { values, scale } = vector;
  if (values.length !== dimension) {
    const detail = `version ${table.version ?? 'none'} has ${values.length} dimensions, the model ${dimension}`;
    throw new FreshetError('SPACE_MISMATCH', detail);
  }
  // The runtime's activations are clamped: NaN would come out as a plausible number, so it must not go in.
  if (!isScale(scale)) throw new FreshetError('VECTOR_INVALID', `version ${table.version ?? 'none'}, scale ${scale}`);
  const start = cell * dimension;
  // The product of an int8 and a float32 is exact in a double, so the one rounding is that of the store.
  for (let at = 0; at < dimension; at += 1) target[start + at] = values[at]! * scale;
  return true;
}

export const EMPTY_TABLE: ItemTable = { version: null, vector: () => undefined };
