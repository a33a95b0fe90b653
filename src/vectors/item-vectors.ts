/**
 * Item vectors from the log, causally: an integer accumulator an item, a learned projection, int8. One pass over the
 * actions and integer adds, so a version can be cut at any moment; models/train/features/vectors.py is the same in Python.
 */
import { LRUCache } from 'lru-cache';
import { userIndex, type UserIndex } from './user-index.ts';

export interface ItemVectorRecipe {
  /** The space all versions share. */
  readonly space: string;
  readonly rawDimension: number;
  /** Entries of a user's index vector. */
  readonly nonzeros: number;
  /** Action type → weight of an action; types that are not listed count nothing. */
  readonly weights: Readonly<Record<string, number>>;
  readonly dimension: number;
  /** [rawDimension][dimension], row by row. */
  readonly projection: Float32Array;
}

/** One step of the int8 vectors. */
export const ITEM_VECTOR_SCALE = 1 / 127;

/** User index vectors kept in memory; they are cheap to draw again. */
const MAX_INDEXES = 10_000;

export class ItemVectorBuilder {
  private readonly recipe: ItemVectorRecipe;
  private readonly raw = new Map<string, Int32Array>();
  private readonly changed = new Set<string>();
  /** Vectors as of now; an action on the item removes its entry. */
  private readonly vectors = new Map<string, Int8Array>();
  private readonly indexes = new LRUCache<string, UserIndex>({ max: MAX_INDEXES });

  constructor(recipe: ItemVectorRecipe) {
    this.recipe = recipe;
  }

  /** Counts one action that was taken as new. */
  add(userId: string, itemId: string, actionType: string): void {
    const weight = this.recipe.weights[actionType] ?? 0;
    const raw = this.rawOf(itemId);
    const { dimensions, signs } = this.indexOf(userId);
    for (let draw = 0; draw < dimensions.length; draw += 1) raw[dimensions[draw]!]! += weight * signs[draw]!;
    this.changed.add(itemId);
    this.vectors.delete(itemId);
  }

  /** The items acted on since the last call, with their vectors as of now. */
  takeChanged(): [itemId: string, vector: Int8Array][] {
    const items = [...this.changed].map((itemId): [string, Int8Array] => [itemId, this.vector(itemId)!]);
    this.changed.clear();
    return items;
  }

  /** Every item that has a vector. */
  all(): [itemId: string, vector: Int8Array][] {
    return [...this.raw.keys()].map((itemId) => [itemId, this.vector(itemId)!]);
  }

  /** int8 [D]: 127 × the unit vector, rounded half away from zero; undefined before the item's first action. */
  vector(itemId: string): Int8Array | undefined {
    const raw = this.raw.get(itemId);
    if (raw === undefined) return undefined;
    let vector = this.vectors.get(itemId);
    if (vector === undefined) this.vectors.set(itemId, (vector = this.project(raw)));
    return vector;
  }

  private project(raw: Int32Array): Int8Array {
    const { dimension, projection } = this.recipe;
    const sum = new Float64Array(dimension);
    for (let row = 0; row < raw.length; row += 1) {
      const value = raw[row]!;
      if (value === 0) continue;
      // The signed square root damps the heaviest users of an item.
      const damped = Math.sign(value) * Math.sqrt(Math.abs(value));
      for (let column = 0; column < dimension; column += 1) {
        sum[column]! += damped * projection[row * dimension + column]!;
      }
    }
    const scale = 127 / Math.max(norm(sum), 1e-12);
    return Int8Array.from(sum, (value) => roundHalfAway(value * scale));
  }

  private rawOf(itemId: string): Int32Array {
    let raw = this.raw.get(itemId);
    if (raw === undefined) this.raw.set(itemId, (raw = new Int32Array(this.recipe.rawDimension)));
    return raw;
  }

  private indexOf(userId: string): UserIndex {
    let index = this.indexes.get(userId);
    if (index === undefined) {
      index = userIndex(userId, this.recipe.rawDimension, this.recipe.nonzeros);
      this.indexes.set(userId, index);
    }
    return index;
  }
}

export const norm = (vector: Float64Array): number => Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));

const roundHalfAway = (value: number): number =>
  Math.max(-127, Math.min(127, Math.sign(value) * Math.floor(Math.abs(value) + 0.5)));
