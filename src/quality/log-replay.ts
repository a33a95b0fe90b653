/**
 * The log once more, as the stream saw it: the same reducer, the item vectors of each midnight, the long-term vectors of
 * that midnight, and popularity. Just before a user's first touch of an item stands a request whose right answer is
 * that item: a trial.
 */
import { invariant } from '../base/errors.ts';
import type { ItemTable, ItemVector } from '../intent/item-table.ts';
import { ITEM_VECTOR_SCALE, ItemVectorBuilder } from '../vectors/item-vectors.ts';
import type { Recipes } from '../vectors/recipes.ts';
import { UserVectorBuilder } from '../vectors/user-vectors.ts';
import { compareKeys, compareUtf8, type Action } from '../../state/action.ts';
import type { Layout } from '../../state/layout.ts';
import { reduce } from '../../state/reducer.ts';
import type { UserState } from '../../state/user-state.ts';
import type { UserActionRecord } from '../../topics/records.ts';
import { NpFeatures } from './np-features.ts';
import type { RankingRequest } from './ranking-request.ts';

const DAY_MS = 86_400_000;

export interface Trial extends RankingRequest {
  readonly userId: string;
  /** Place of the touched item among the candidates; -1: nobody had acted on it in the 7 days before. */
  readonly target: number;
}

export interface LogReplayOptions {
  readonly layout: Layout;
  readonly recipes: Recipes;
  /** Trials are made from this time on, milliseconds since the epoch; what is earlier is only counted. */
  readonly fromMs: number;
}

/** An action that the reducer took as new. */
interface Accepted {
  readonly userId: string;
  readonly action: Action;
  readonly window: readonly Action[];
  readonly isFirstTouch: boolean;
}

/** Memory: a window a user, a raw vector an item; what a day adds goes at midnight. */
export class LogReplay {
  readonly popularity = new NpFeatures();
  readonly #layout: Layout;
  readonly #fromMs: number;
  readonly #states = new Map<string, UserState>();
  readonly #items: ItemVectorBuilder;
  readonly #users: UserVectorBuilder;
  readonly #vectors = new Map<string, ItemVector>();
  #table: ItemTable = { version: null, vector: () => undefined };
  #midnightMs = -Infinity;
  /** Long-term vectors, as of midnight, of the users who acted since. */
  #longTerm = new Map<string, Float32Array | null>();
  #offset = 0;

  constructor({ layout, recipes, fromMs }: LogReplayOptions) {
    this.#layout = layout;
    this.#fromMs = fromMs;
    this.#items = new ItemVectorBuilder(recipes.items);
    this.#users = new UserVectorBuilder(recipes.users);
  }

  /** The item vectors of the newest action's midnight, once that is within the time of the trials. */
  get table(): ItemTable {
    return this.#table;
  }

  /** What the reducer holds of a user. */
  state(userId: string): UserState | undefined {
    return this.#states.get(userId);
  }

  /** The user's long-term vector as of `table`'s midnight; null: nothing the user had done by then has a vector. */
  longTerm(userId: string): Float32Array | null {
    const held = this.#longTerm.get(userId);
    // A user without an entry has not acted since midnight: the builder knows nothing later.
    return held === undefined ? this.#longTermNow(userId) : held;
  }

  /**
   * Takes the actions of one event time, later than all before it, and gives the trials that stand just before it: they
   * see nothing of each other.
   */
  take(actions: readonly UserActionRecord[]): Trial[] {
    const eventTimeMs = actions[0]?.eventTimeMs;
    if (eventTimeMs === undefined) return [];
    invariant(eventTimeMs > this.popularity.newestEventTimeMs, 'the log is not replayed in order of event time');
    invariant(
      actions.every((action) => action.eventTimeMs === eventTimeMs),
      'actions of two moments are taken as one',
    );
    this.#passMidnight(eventTimeMs);
    const accepted = this.#reduceAll(actions);
    const isTried = eventTimeMs >= this.#fromMs;
    const trials = isTried ? accepted.flatMap((each) => this.#trial(each)) : [];
    for (const { userId, action, isFirstTouch } of accepted) {
      if (this.#isMeasured(eventTimeMs)) this.#longTerm.set(userId, this.longTerm(userId));
      this.popularity.add(action, isFirstTouch);
      this.#items.add(userId, action.itemId, action.actionType);
      this.#users.add(userId, action.itemId, action.actionType, eventTimeMs);
    }
    return trials;
  }

  /** In the reducer's order, so that a tie's first touch does not depend on the order in the log. */
  #reduceAll(actions: readonly UserActionRecord[]): Accepted[] {
    const inOrder = actions.toSorted((a, b) => compareUtf8(a.userId, b.userId) || compareKeys(a, b));
    const windows = new Map<string, readonly Action[]>();
    return inOrder.flatMap(({ userId, itemId, actionType, eventTimeMs, surface }) => {
      const before = this.#states.get(userId) ?? null;
      const held = before?.sequences[this.#layout.scored]?.window ?? [];
      const window = windows.get(userId) ?? held;
      windows.set(userId, window);
      const action: Action = { itemId, actionType, eventTimeMs, surface: surface ?? '' };
      const record = { kind: 'action', offset: this.#offset++, arrivalTimeMs: eventTimeMs, action } as const;
      const { state, outcome } = reduce(before, record, { userId, partition: 0 }, this.#layout);
      if (state !== null) this.#states.set(userId, state);
      if (outcome !== 'accepted') return [];
      return { userId, action, window, isFirstTouch: held.every((each) => each.itemId !== itemId) };
    });
  }

  #trial({ userId, action, window, isFirstTouch }: Accepted): Trial[] {
    if (!isFirstTouch) return [];
    const candidates = this.popularity.candidates(action.eventTimeMs, window);
    const npFeatures = this.popularity.features(action.eventTimeMs, candidates);
    const target = candidates.indexOf(action.itemId);
    return [{ userId, window, longTerm: this.longTerm(userId), table: this.#table, candidates, npFeatures, target }];
  }

  #passMidnight(eventTimeMs: number): void {
    const midnightMs = Math.floor(eventTimeMs / DAY_MS) * DAY_MS;
    if (midnightMs === this.#midnightMs) return;
    this.#midnightMs = midnightMs;
    this.#longTerm = new Map();
    if (!this.#isMeasured(eventTimeMs)) return;
    // The scale is a float32 on the wire.
    const scale = Math.fround(ITEM_VECTOR_SCALE);
    for (const [itemId, values] of this.#items.takeChanged()) this.#vectors.set(itemId, { values, scale });
    // Trials keep the table of their day.
    const vectors = new Map(this.#vectors);
    const version = new Date(midnightMs).toISOString().slice(0, 10);
    this.#table = { version, vector: (itemId) => vectors.get(itemId) };
  }

  /** Whether versions are cut at the midnight before this time. */
  #isMeasured(eventTimeMs: number): boolean {
    return Math.floor(eventTimeMs / DAY_MS) >= Math.floor(this.#fromMs / DAY_MS);
  }

  #longTermNow(userId: string): Float32Array | null {
    return this.#users.vector(userId, this.#midnightMs, (itemId) => this.#vectors.get(itemId)?.values) ?? null;
  }
}
