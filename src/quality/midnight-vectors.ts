/** Item vectors and long-term user vectors as of the last midnight: what a request of the day may know. */
import { EMPTY_TABLE, type ItemTable, type ItemVector } from '../intent/item-table.ts';
import { ITEM_VECTOR_SCALE, ItemVectorBuilder } from '../vectors/item-vectors.ts';
import type { Recipes } from '../vectors/recipes.ts';
import { UserVectorBuilder } from '../vectors/user-vectors.ts';
import type { ActionKey } from '../../state/action.ts';

/** Memory: a raw vector an item, a weight a user and item; what a day adds goes at midnight. */
export class MidnightVectors {
  readonly #items: ItemVectorBuilder;
  readonly #users: UserVectorBuilder;
  readonly #vectors = new Map<string, ItemVector>();
  /** Long-term vectors, as of midnight, of the users who acted since. */
  #longTerm = new Map<string, Float32Array | null>();
  #table = EMPTY_TABLE;
  #midnightMs: number | null = null;

  constructor({ items, users }: Recipes) {
    this.#items = new ItemVectorBuilder(items);
    this.#users = new UserVectorBuilder(users);
  }

  /** The version of the last midnight; without items before the first. A table stays as it is. */
  get table(): ItemTable {
    return this.#table;
  }

  /** [D] as of the last midnight; null: nothing the user had done by then has a vector. */
  longTerm(userId: string): Float32Array | null {
    if (this.#midnightMs === null) return null;
    const held = this.#longTerm.get(userId);
    if (held !== undefined) return held;
    // The user has not acted since midnight: the builder knows nothing later.
    return this.#users.vector(userId, this.#midnightMs, (itemId) => this.#vectors.get(itemId)?.values) ?? null;
  }

  /** Cuts a version of all that was counted. Called when the first action of a day comes, before it is counted. */
  passMidnight(midnightMs: number): void {
    this.#midnightMs = midnightMs;
    this.#longTerm = new Map();
    // The scale is a float32 on the wire.
    const scale = Math.fround(ITEM_VECTOR_SCALE);
    for (const [itemId, values] of this.#items.takeChanged()) this.#vectors.set(itemId, { values, scale });
    // Requests keep the table of their day.
    const vectors = new Map(this.#vectors);
    this.#table = { version: new Date(midnightMs).toISOString().slice(0, 10), vector: (itemId) => vectors.get(itemId) };
  }

  /** Counts an accepted action, in order of event time: seen from the next midnight on. */
  add(userId: string, { itemId, actionType, eventTimeMs }: ActionKey): void {
    if (this.#midnightMs !== null) this.#longTerm.set(userId, this.longTerm(userId));
    this.#items.add(userId, itemId, actionType);
    this.#users.add(userId, itemId, actionType, eventTimeMs);
  }
}
