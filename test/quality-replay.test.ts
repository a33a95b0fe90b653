/** Trials and their non-personal features: a log small enough to do by hand, then random ones against the card's words. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EMPTY_TABLE, type ItemTable } from '../src/intent/item-table.ts';
import { LogReplay, type LogReplayOptions, type Trial } from '../src/quality/log-replay.ts';
import { MidnightVectors } from '../src/quality/midnight-vectors.ts';
import { NP_FEATURES, NpFeatures } from '../src/quality/np-features.ts';
import type { Recipes } from '../src/vectors/recipes.ts';
import type { UserActionRecord } from '../topics/records.ts';
import { DAY_MS, HOUR_MS } from './quality-harness.ts';
import { testLayout } from './support/actions.ts';
import { FC_OPTIONS } from './support/seed.ts';

const NOON_MS = Date.UTC(2020, 0, 1, 12);
const DAY_2_MS = NOON_MS + DAY_MS;
const LAYOUT = testLayout();
const [K, C] = [LAYOUT.sequences[0]!.windowSize, LAYOUT.sequences[0]!.sealSize];
const WEIGHTS = { view: 1, like: 1, bookmark: 1 };
const RECIPES: Recipes = {
  items: {
    space: 'test',
    rawDimension: 8,
    nonzeros: 2,
    weights: WEIGHTS,
    dimension: 2,
    projection: Float32Array.from({ length: 16 }, (_, at) => Math.sin(at + 1)),
  },
  users: { halfLifeMs: 30 * DAY_MS, weights: WEIGHTS },
};

const act = (eventTimeMs: number, userId: string, itemId: string, actionType = 'view'): UserActionRecord => ({
  userId,
  itemId,
  actionType,
  eventTimeMs,
  surface: null,
});

/** Replays a log whose ties stand together; every trial, with the moment it stands at. */
function trialsOf(
  log: readonly UserActionRecord[],
  { fromMs = 0, vectors = new MidnightVectors(RECIPES) }: Partial<LogReplayOptions> = {},
): { timeMs: number; trial: Trial }[] {
  const replay = new LogReplay({ layout: LAYOUT, vectors, fromMs });
  const moments = Map.groupBy(log, ({ eventTimeMs }) => eventTimeMs);
  return [...moments].flatMap(([timeMs, tied]) => replay.take(tied).map((trial) => ({ timeMs, trial })));
}

/** The features of a trial's candidates, by name. */
function named({ candidates, npFeatures }: Trial): Map<string, Record<string, number>> {
  const row = (at: number) =>
    Object.fromEntries(NP_FEATURES.map((name, column) => [name, npFeatures[at * NP_FEATURES.length + column]!]));
  return new Map(candidates.map((itemId, at) => [itemId, row(at)]));
}

describe('a log done by hand', () => {
  const log = [
    act(NOON_MS, 'u1', 'a'),
    act(NOON_MS, 'u2', 'a'),
    act(NOON_MS + HOUR_MS, 'u1', 'a', 'like'), // a save, not a touch
    act(NOON_MS + HOUR_MS, 'u3', 'b'),
    act(NOON_MS + HOUR_MS, 'u3', 'b'), // logged twice
    act(NOON_MS + 2 * HOUR_MS, 'u1', 'b'),
    act(NOON_MS + 2 * HOUR_MS, 'u3', 'a'), // in the same moment
  ];
  const trials = trialsOf(log);

  it('has a trial for every first touch, and those of one moment see nothing of each other', () => {
    const seen = trials.map(({ timeMs, trial: { userId, candidates, target } }) => [
      (timeMs - NOON_MS) / HOUR_MS,
      userId,
      candidates,
      target,
    ]);
    expect(seen).toEqual([
      [0, 'u1', [], -1],
      [0, 'u2', [], -1],
      [1, 'u3', ['a'], -1],
      [2, 'u1', ['b'], 0],
      [2, 'u3', ['a'], 0],
    ]);
  });

  it('counts what came before, decayed, each action once', () => {
    const a = named(trials[4]!.trial).get('a')!;
    expect(a['touches_0.5h']).toBeCloseTo(Math.log(0.01 + 2 / 16), 6);
    expect(a['touches_1h']).toBeCloseTo(Math.log(0.01 + 2 / 4), 6);
    expect(a['actions_1h']).toBeCloseTo(Math.log(0.01 + 2 / 4 + 1 / 2), 6);
    expect(a['saves_24h']).toBeCloseTo(Math.log(0.01 + 2 ** (-1 / 24)), 6);
    expect(a['age']).toBeCloseTo(Math.log(3), 6);
    expect(a['since_action']).toBeCloseTo(Math.log(2), 6);
    expect(a['since_touch']).toBeCloseTo(Math.log(3), 6);
    expect(a['no_vector']).toBe(1);
    expect(a['touches_1h_below_best']).toBe(0);
    expect(a['site_touches_1h']).toBeCloseTo(Math.log(1 + 2 / 4 + 1 / 2), 6);
    const b = named(trials[3]!.trial).get('b')!;
    expect(b['actions_1h']).toBeCloseTo(Math.log(0.01 + 1 / 2), 6);
    expect(b['saves_24h']).toBeCloseTo(Math.log(0.01), 6);
  });

  it('compares a candidate with the best of its request', () => {
    const [last] = trialsOf([...log, act(NOON_MS + 3 * HOUR_MS, 'u4', 'b')]).slice(-1);
    const rows = named(last!.trial);
    const best = Math.max(rows.get('a')!['touches_3h']!, rows.get('b')!['touches_3h']!);
    for (const row of rows.values()) expect(row['touches_3h_below_best']).toBeCloseTo(row['touches_3h']! - best, 6);
  });

  it('gives an item a vector, and a user a long-term vector, at the next midnight', () => {
    const later = [
      act(DAY_2_MS, 'u2', 'c'),
      act(DAY_2_MS + 1, 'u2', 'b'),
      act(DAY_2_MS + 2, 'u4', 'a'),
      act(DAY_2_MS + 3, 'u4', 'b'),
    ];
    const [first, second, , fourth] = trialsOf([...log, ...later])
      .slice(-4)
      .map(({ trial }) => trial);
    expect(first!.table.version).toBe('2020-01-02');
    expect(named(first!).get('b')!['no_vector']).toBe(0);
    expect(first!.table.vector('b')).toBeDefined();
    expect(Math.hypot(...first!.longTerm!)).toBeCloseTo(1, 6);
    expect(second!.longTerm).toEqual(first!.longTerm);
    expect(named(fourth!).get('c')!['no_vector']).toBe(1);
    expect(fourth!.table.vector('c')).toBeUndefined();
    expect(fourth!.longTerm).toBeNull(); // what the user did today is for tomorrow's
    expect(trials.map(({ trial }) => trial.longTerm)).toEqual([null, null, null, null, null]);
  });

  it('makes no trial before the time from which it measures', () => {
    expect(trialsOf(log, { fromMs: NOON_MS + 2 * HOUR_MS })).toHaveLength(2);
  });
});

it('refuses actions and requests that would look ahead', () => {
  const features = new NpFeatures();
  features.add(act(NOON_MS, 'u1', 'a'), true);
  expect(() => features.add(act(NOON_MS - 1, 'u1', 'a'), false)).toThrow('order of event time');
  expect(() => features.features(NOON_MS, ['a'])).toThrow('their own moment');
  expect(() => features.features(NOON_MS + 1, ['b'])).toThrow('never acted on');
  const replay = new LogReplay({ layout: LAYOUT, vectors: new CountingVectors(), fromMs: 0 });
  replay.take([act(NOON_MS, 'u1', 'a')]);
  expect(() => replay.take([act(NOON_MS, 'u1', 'b')])).toThrow('order of event time');
  expect(() => replay.take([act(NOON_MS + 1, 'u1', 'b'), act(NOON_MS + 2, 'u1', 'b')])).toThrow('two moments');
});

/** In place of vectors, how often an item and a user were seen by midnight: cheap, and it shows what a trial knows. */
class CountingVectors {
  readonly #added: string[] = [];
  #known: readonly string[] = [];
  table: ItemTable = EMPTY_TABLE;

  longTerm(userId: string): Float32Array {
    return Float32Array.of(this.#known.filter((id) => id === userId).length);
  }

  passMidnight(midnightMs: number): void {
    const known = [...this.#added];
    this.#known = known;
    const vector = (itemId: string) => ({ values: Int8Array.of(known.filter((id) => id === itemId).length), scale: 1 });
    this.table = { version: `${midnightMs}`, vector };
  }

  add(userId: string, { itemId }: { itemId: string }): void {
    this.#added.push(userId, itemId);
  }
}

const counted = (log: readonly UserActionRecord[]) => trialsOf(log, { vectors: new CountingVectors() });

/** Few times, half a day apart, so that ties, duplicates and the 7-day edge are common. */
const randomLog = fc
  .array(
    fc.record({
      step: fc.nat(40),
      userId: fc.constantFrom('u1', 'u2', 'u3'),
      itemId: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
      actionType: fc.constantFrom('view', 'like', 'bookmark'),
    }),
    { minLength: 1, maxLength: 40, size: 'max' },
  )
  .map((steps) =>
    steps
      .map(({ step, userId, itemId, actionType }) => act(NOON_MS + (step * DAY_MS) / 2, userId, itemId, actionType))
      .sort((a, b) => a.eventTimeMs - b.eventTimeMs),
  );

describe('random logs', () => {
  it('give the candidates, targets and features that the card defines', () => {
    let compared = 0;
    const property = fc.property(randomLog, (log) => {
      const found = counted(log).map(({ timeMs, trial }) => ({ timeMs, trial, rows: named(trial) }));
      const expected = byDefinition(log);
      expect(found).toHaveLength(expected.length);
      for (const { timeMs, userId, itemId, rows } of expected) {
        const target = (trial: Trial) =>
          rows.has(itemId) ? trial.candidates[trial.target] === itemId : trial.target === -1;
        const twin = found.find((each) => each.timeMs === timeMs && each.trial.userId === userId && target(each.trial));
        expect([...twin!.rows.keys()].sort().join()).toBe([...rows.keys()].sort().join());
        for (const [candidate, row] of rows) {
          for (const [name, value] of Object.entries(row)) {
            compared += 1;
            const difference = Math.abs(twin!.rows.get(candidate)![name]! - value);
            if (difference > 1e-5) throw new Error(`${name} of ${candidate} is off by ${difference}`);
          }
        }
      }
    });
    fc.assert(property, FC_OPTIONS);
    expect(compared).toBeGreaterThan(10_000);
  });

  it('give the same trials in whatever order the ties of a moment stand, and whatever comes later', () => {
    const orders = fc.array(fc.nat(1_000), { minLength: 40, maxLength: 40 });
    const property = fc.property(randomLog, orders, fc.nat(40), (log, order, step) => {
      const untilMs = NOON_MS + (step * DAY_MS) / 2;
      const earlier = log
        .map((action, index) => ({ action, place: order[index]! }))
        .filter(({ action }) => action.eventTimeMs <= untilMs)
        .sort((a, b) => a.action.eventTimeMs - b.action.eventTimeMs || a.place - b.place);
      const whole = counted(log).filter(({ timeMs }) => timeMs <= untilMs);
      expect(facts(counted(earlier.map(({ action }) => action)))).toBe(facts(whole));
    });
    fc.assert(property, FC_OPTIONS);
  });
});

/** All that trials say, as text; candidates in no order, as the one in the log does not matter. */
const facts = (trials: ReturnType<typeof trialsOf>): string =>
  JSON.stringify(
    trials.map(({ timeMs, trial }) => [
      timeMs,
      trial.userId,
      trial.window,
      trial.candidates[trial.target],
      [...named(trial)].sort(([a], [b]) => compare(a, b)),
      [...trial.longTerm!],
      trial.table.version,
      trial.candidates.toSorted().map((itemId) => [...(trial.table.vector(itemId)?.values ?? [])]),
    ]),
  );

interface Defined {
  readonly timeMs: number;
  readonly userId: string;
  readonly itemId: string;
  readonly rows: ReadonlyMap<string, Readonly<Record<string, number>>>;
}

/** models/ranker/card.json word by word, over the whole log each time. */
function byDefinition(log: readonly UserActionRecord[]): Defined[] {
  const unique = [...new Map(log.map((action) => [JSON.stringify(action), action])).values()];
  const touched = unique
    .toSorted((a, b) => a.eventTimeMs - b.eventTimeMs || compare(keyOf(a), keyOf(b)))
    .map((action, index, all) => {
      const past = all.slice(0, index).filter(({ userId }) => userId === action.userId);
      return { ...action, isTouch: windowOf(past).every(({ itemId }) => itemId !== action.itemId) };
    });
  return touched
    .filter(({ isTouch }) => isTouch)
    .map(({ eventTimeMs: timeMs, userId, itemId }) => {
      const before = touched.filter(({ eventTimeMs }) => eventTimeMs < timeMs);
      const window = windowOf(before.filter((each) => each.userId === userId));
      const candidates = [
        ...new Set(before.filter((each) => each.eventTimeMs >= timeMs - 7 * DAY_MS).map((each) => each.itemId)),
      ].filter((each) => window.every((held) => held.itemId !== each));
      return { timeMs, userId, itemId, rows: rowsOf(before, timeMs, candidates) };
    });
}

function rowsOf(
  before: readonly (UserActionRecord & { isTouch: boolean })[],
  timeMs: number,
  candidates: readonly string[],
) {
  const hours = (eventTimeMs: number): number => (timeMs - eventTimeMs) / HOUR_MS;
  const decayed = (actions: readonly UserActionRecord[], halfLife: number): number =>
    actions.reduce((sum, { eventTimeMs }) => sum + 2 ** (-hours(eventTimeMs) / halfLife), 0);
  const rows = new Map<string, Record<string, number>>();
  for (const candidate of candidates) {
    const actions = before.filter(({ itemId }) => itemId === candidate);
    const touches = actions.filter(({ isTouch }) => isTouch);
    const saves = actions.filter(({ actionType }) => actionType !== 'view');
    const row: Record<string, number> = {};
    for (const h of [0.5, 1, 3, 12, 48, 168]) row[`touches_${h}h`] = Math.log(0.01 + decayed(touches, h));
    for (const h of [1, 12, 72]) row[`actions_${h}h`] = Math.log(0.01 + decayed(actions, h));
    row['saves_24h'] = Math.log(0.01 + decayed(saves, 24));
    row['age'] = Math.log1p(Math.max(...actions.map(({ eventTimeMs }) => hours(eventTimeMs))));
    row['since_action'] = Math.log1p(Math.min(...actions.map(({ eventTimeMs }) => hours(eventTimeMs))));
    row['since_touch'] = Math.log1p(Math.min(...touches.map(({ eventTimeMs }) => hours(eventTimeMs))));
    const midnightMs = timeMs - (timeMs % DAY_MS);
    row['no_vector'] = actions.every(({ eventTimeMs }) => eventTimeMs >= midnightMs) ? 1 : 0;
    row['site_touches_1h'] = Math.log1p(
      decayed(
        before.filter(({ isTouch }) => isTouch),
        1,
      ),
    );
    rows.set(candidate, row);
  }
  for (const h of [1, 3, 12]) {
    const best = Math.max(...[...rows.values()].map((row) => row[`touches_${h}h`]!));
    for (const row of rows.values()) row[`touches_${h}h_below_best`] = row[`touches_${h}h`]! - best;
  }
  return rows;
}

/** What a window of K + C that seals C holds after these actions of a user. */
const windowOf = <T>(past: readonly T[]): readonly T[] =>
  past.slice(past.length < K + C ? 0 : Math.floor((past.length - K) / C) * C);

const keyOf = ({ userId, itemId, actionType }: UserActionRecord): string => `${userId} ${itemId} ${actionType}`;
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
