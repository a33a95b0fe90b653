/**
 * What can be said of an item without knowing who asks: popularity at several half-lives, age, recency. They are the
 * non-personal (NP) features of the ranker's card, kept as the log goes by; models/train/features/np_features.py is the same in
 * Python. One small entry an item that was ever acted on.
 */
import { invariant } from '../base/errors.ts';
import { decay } from '../../state/decay.ts';
import type { ActionKey } from '../../state/action.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** An item without an action for longer is no candidate. */
const ACTIVE_MS = 7 * DAY_MS;
/** Counters enter as ln(FLOOR + counter). */
const FLOOR = 0.01;
const SAVES: ReadonlySet<string> = new Set(['like', 'bookmark']);

const counters = (what: 'touches' | 'actions' | 'saves', halfLivesHours: readonly number[]) =>
  halfLivesHours.map((hours) => ({ what, name: `${what}_${hours}h`, halfLifeMs: hours * HOUR_MS }));

/** The decayed counters of an item. A touch is a user's first: the item is not in the user's window. */
const COUNTERS = [
  ...counters('touches', [0.5, 1, 3, 12, 48, 168]),
  ...counters('actions', [1, 12, 72]),
  ...counters('saves', [24]),
];
/** Counters that also enter relative to the best candidate of the request. */
const BELOW_BEST = ['touches_1h', 'touches_3h', 'touches_12h'].map((name) => ({
  name: `${name}_below_best`,
  counter: COUNTERS.findIndex((counter) => counter.name === name),
}));
const SITE_HALF_LIFE_MS = HOUR_MS;

/** The features in the order of their columns, named as in the ranker's card. */
export const NP_FEATURES: readonly string[] = [
  ...COUNTERS.map(({ name }) => name),
  'age',
  'since_action',
  'since_touch',
  'no_vector',
  ...BELOW_BEST.map(({ name }) => name),
  'site_touches_1h',
];

interface ItemActivity {
  readonly firstMs: number;
  lastMs: number;
  lastTouchMs: number;
  /** [COUNTERS], as of `lastMs` */
  readonly counters: Float64Array;
}

export class NpFeatures {
  readonly #items = new Map<string, ItemActivity>();
  /** Ids of the items of the last 7 days, by their newest action, oldest first. */
  readonly #active = new Set<string>();
  #site = { touches: 0, atMs: 0 };
  #newestMs = -Infinity;

  /** Event time of the newest action, milliseconds since the epoch; -Infinity before any. */
  get newestEventTimeMs(): number {
    return this.#newestMs;
  }

  /** Counts an accepted action. Actions come in order of event time (INTERNAL otherwise). */
  add({ itemId, actionType, eventTimeMs }: ActionKey, isFirstTouch: boolean): void {
    invariant(eventTimeMs >= this.#newestMs, 'actions are not counted in order of event time');
    this.#newestMs = eventTimeMs;
    const item = this.#itemAt(itemId, eventTimeMs);
    const counts = { actions: true, touches: isFirstTouch, saves: SAVES.has(actionType) };
    for (const [at, { what }] of COUNTERS.entries()) if (counts[what]) item.counters[at]! += 1;
    if (isFirstTouch) {
      item.lastTouchMs = eventTimeMs;
      this.#site = { touches: this.#siteAt(eventTimeMs) + 1, atMs: eventTimeMs };
    }
    this.#active.delete(itemId);
    this.#active.add(itemId);
    for (const oldest of this.#active) {
      if (this.#isActive(oldest, eventTimeMs)) break;
      this.#active.delete(oldest);
    }
  }

  /** The items that may be shown at `timeMs`: active in the 7 days before, not in the user's window. */
  candidates(timeMs: number, window: readonly ActionKey[]): string[] {
    const seen = new Set(window.map(({ itemId }) => itemId));
    return [...this.#active].filter((itemId) => !seen.has(itemId) && this.#isActive(itemId, timeMs));
  }

  /**
   * float32 [candidates][NP_FEATURES] as of `timeMs`, which is after every action that was counted: those of the same
   * moment see nothing of each other (INTERNAL otherwise, and for an item never acted on).
   */
  features(timeMs: number, candidates: readonly string[]): Float32Array {
    invariant(timeMs > this.#newestMs, 'features would see actions of their own moment or later');
    const width = NP_FEATURES.length;
    const rows = new Float64Array(candidates.length * width);
    const hoursSince = (eventTimeMs: number): number => Math.log1p((timeMs - eventTimeMs) / HOUR_MS);
    const midnightMs = Math.floor(timeMs / DAY_MS) * DAY_MS;
    const site = Math.log1p(this.#siteAt(timeMs));
    for (const [row, itemId] of candidates.entries()) {
      const item = this.#items.get(itemId);
      invariant(item !== undefined, 'a candidate was never acted on');
      let at = row * width;
      for (const [counter, { halfLifeMs }] of COUNTERS.entries()) {
        rows[at++] = Math.log(FLOOR + item.counters[counter]! * decay(timeMs - item.lastMs, halfLifeMs));
      }
      rows[at++] = hoursSince(item.firstMs);
      rows[at++] = hoursSince(item.lastMs);
      rows[at++] = hoursSince(item.lastTouchMs);
      rows[at++] = item.firstMs >= midnightMs ? 1 : 0; // no version of that day knows the item
      rows[at + BELOW_BEST.length] = site;
    }
    this.#fillBelowBest(rows);
    return Float32Array.from(rows);
  }

  #fillBelowBest(rows: Float64Array): void {
    const width = NP_FEATURES.length;
    for (const { name, counter } of BELOW_BEST) {
      const column = NP_FEATURES.indexOf(name);
      let best = -Infinity;
      for (let row = 0; row < rows.length; row += width) best = Math.max(best, rows[row + counter]!);
      for (let row = 0; row < rows.length; row += width) rows[row + column] = rows[row + counter]! - best;
    }
  }

  /** The item with its counters decayed to now. */
  #itemAt(itemId: string, eventTimeMs: number): ItemActivity {
    const held = this.#items.get(itemId);
    if (held !== undefined) {
      for (const [at, { halfLifeMs }] of COUNTERS.entries()) {
        held.counters[at]! *= decay(eventTimeMs - held.lastMs, halfLifeMs);
      }
      held.lastMs = eventTimeMs;
      return held;
    }
    const item: ItemActivity = {
      firstMs: eventTimeMs,
      lastMs: eventTimeMs,
      lastTouchMs: eventTimeMs,
      counters: new Float64Array(COUNTERS.length),
    };
    this.#items.set(itemId, item);
    return item;
  }

  #siteAt(timeMs: number): number {
    return this.#site.touches * decay(timeMs - this.#site.atMs, SITE_HALF_LIFE_MS);
  }

  #isActive(itemId: string, timeMs: number): boolean {
    return this.#items.get(itemId)!.lastMs >= timeMs - ACTIVE_MS;
  }
}
