/**
 * The log once more, as the stream saw it: the same reducer, the item vectors of each midnight, the long-term vectors of
 * that midnight, and popularity. Just before a user's first touch of an item stands a request whose right answer is
 * that item: a trial.
 */
import { invariant } from '../base/errors.ts';
import type { ItemTable } from '../intent/item-table.ts';
import { compareKeys, compareUtf8, type Action } from '../../state/action.ts';
import type { Layout } from '../../state/layout.ts';
import { reduce } from '../../state/reducer.ts';
import type { UserState } from '../../state/user-state.ts';
import type { UserActionRecord } from '../../topics/records.ts';
import type { MidnightVectors } from './midnight-vectors.ts';
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
  readonly vectors: Pick<MidnightVectors, 'table' | 'longTerm' | 'passMidnight' | 'add'>;
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

/** Memory: a window a user, and what vectors and popularity keep. */
export class LogReplay {
  readonly popularity = new NpFeatures();
  readonly #layout: Layout;
  readonly #vectors: LogReplayOptions['vectors'];
  readonly #fromMs: number;
  readonly #states = new Map<string, UserState>();
  #midnightMs = -Infinity;
  #offset = 0;

  constructor({ layout, vectors, fromMs }: LogReplayOptions) {
    this.#layout = layout;
    this.#vectors = vectors;
    this.#fromMs = fromMs;
  }

  /** The item vectors of the newest action's midnight, once that is within the time of the trials. */
  get table(): ItemTable {
    return this.#vectors.table;
  }

  /** The user's long-term vector [D] as of the same midnight; null: nothing the user had done by then has a vector. */
  longTerm(userId: string): Float32Array | null {
    return this.#vectors.longTerm(userId);
  }

  /** What the reducer holds of a user. */
  state(userId: string): UserState | undefined {
    return this.#states.get(userId);
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
      this.popularity.add(action, isFirstTouch);
      this.#vectors.add(userId, action);
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
    return [{ userId, window, longTerm: this.longTerm(userId), table: this.table, candidates, npFeatures, target }];
  }

  /** Versions are cut from the day of the first trial on. */
  #passMidnight(eventTimeMs: number): void {
    const midnightMs = Math.floor(eventTimeMs / DAY_MS) * DAY_MS;
    if (midnightMs === this.#midnightMs || midnightMs + DAY_MS <= this.#fromMs) return;
    this.#midnightMs = midnightMs;
    this.#vectors.passMidnight(midnightMs);
  }
}
