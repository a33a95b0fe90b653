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

export const EMPTY_TABLE: ItemTable = { version: null, vector: () => undefined };
