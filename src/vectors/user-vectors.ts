/**
 * Long-term user vectors from the log: a decayed, weighted sum of the vectors of everything the user ever did,
 * normalised. It lives in the item vectors' space; models/train/features/longterm.py is the same in Python.
 */
import { decay } from '../../state/decay.ts';
import { norm } from './item-vectors.ts';

export interface UserVectorRecipe {
  readonly halfLifeMs: number;
  /** Action type → weight of an action; types that are not listed count nothing. */
  readonly weights: Readonly<Record<string, number>>;
}

interface Engagement {
  /** Decayed weight as of `atMs`. */
  weight: number;
  atMs: number;
}

export class UserVectorBuilder {
  private readonly recipe: UserVectorRecipe;
  private readonly users = new Map<string, Map<string, Engagement>>();
  private readonly changed = new Set<string>();

  constructor(recipe: UserVectorRecipe) {
    this.recipe = recipe;
  }

  /** Counts one action that was taken as new. Actions come in order of event time. */
  add(userId: string, itemId: string, actionType: string, eventTimeMs: number): void {
    const weight = this.recipe.weights[actionType] ?? 0;
    let items = this.users.get(userId);
    if (items === undefined) this.users.set(userId, (items = new Map<string, Engagement>()));
    const held = items.get(itemId);
    if (held === undefined) items.set(itemId, { weight, atMs: eventTimeMs });
    else {
      held.weight = held.weight * decay(eventTimeMs - held.atMs, this.recipe.halfLifeMs) + weight;
      held.atMs = eventTimeMs;
    }
    this.changed.add(userId);
  }

  /** The users who acted since the last call. */
  takeChanged(): string[] {
    const users = [...this.changed];
    this.changed.clear();
    return users;
  }

  /** float32 [D] as of `asOfMs`; undefined where nothing the user did has a weight and a vector. */
  vector(
    userId: string,
    asOfMs: number,
    itemVector: (itemId: string) => Int8Array | undefined,
  ): Float32Array | undefined {
    let sum: Float64Array | undefined;
    for (const [itemId, { weight, atMs }] of this.users.get(userId) ?? []) {
      const vector = itemVector(itemId);
      if (vector === undefined) continue;
      sum ??= new Float64Array(vector.length);
      const decayed = weight * decay(asOfMs - atMs, this.recipe.halfLifeMs);
      for (let at = 0; at < vector.length; at += 1) sum[at]! += (decayed * vector[at]!) / 127;
    }
    if (sum === undefined) return undefined;
    const length = norm(sum);
    return length < 1e-12 ? undefined : Float32Array.from(sum, (value) => value / length);
  }
}
