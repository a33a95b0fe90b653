/** The reducer and describe against the oracle: on every user of the shipped log, as it is and disturbed. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { describe as describeUser } from '../state/describe.ts';
import { layoutOf, type Layout } from '../state/layout.ts';
import type { UserRecord } from '../state/reducer.ts';
import {
  inspectedSequence,
  oracle,
  readDeskdrop,
  type OracleCounters,
  type OracleOptions,
  type OracleRecord,
} from './oracle.ts';
import { randomFrom } from './support/random.ts';
import { arbitraryAction, DAY_MS, FUTURE_MS, HOUR_MS, replay, SCORE } from './support/actions.ts';
import { FC_OPTIONS } from './support/seed.ts';

const DESKDROP = readDeskdrop(packagePath('data', 'deskdrop', 'actions.csv.gz'));
const SHIPPED: OracleOptions = {
  windowSize: 100,
  sealSize: 32,
  maxFutureMs: FUTURE_MS,
  maxAgeMs: null,
  sessionGapMs: HOUR_MS / 2,
  undo: { unlike: 'like', unbookmark: 'bookmark', unfollow: 'follow' },
  halfLivesMs: [DAY_MS, 30 * DAY_MS],
};

test('every user of the shipped log', () => {
  const totals = agreeOnAll(DESKDROP, SHIPPED);
  expect(DESKDROP.size).toBe(1895);
  expect(totals).toMatchObject({ accepted: 70_028, duplicate: 2_284, late: 0, future: 0 });
  expect(totals.sealed).toBeGreaterThan(10_000);
});

test.each([
  ['the default window', SHIPPED],
  ['a small window with an age', { ...SHIPPED, windowSize: 12, sealSize: 5, maxAgeMs: 7 * DAY_MS }],
])('every user of a disturbed log, %s', (_name, options) => {
  const random = randomFrom(FC_OPTIONS.seed);
  const users = new Map([...DESKDROP].map(([userId, records]) => [userId, disturb(records, random)]));
  const totals = agreeOnAll(users, options);
  console.info(`oracle: disturbed, K = ${options.windowSize}: ${JSON.stringify(totals)}`);
  for (const reached of Object.values(totals)) expect(reached).toBeGreaterThan(100);
});

test('random users', () => {
  const user = fc.array(fc.record({ action: arbitraryAction(3 * DAY_MS), arrivalTimeMs: fc.nat(3 * DAY_MS) }), {
    maxLength: 60,
    size: 'max',
  });
  const options = fc.record({
    windowSize: fc.integer({ min: 1, max: 8 }),
    sealSize: fc.integer({ min: 1, max: 5 }),
    maxFutureMs: fc.constantFrom(FUTURE_MS, 2 * DAY_MS),
    maxAgeMs: fc.constantFrom(null, HOUR_MS, DAY_MS),
    sessionGapMs: fc.constantFrom(HOUR_MS, 7 * HOUR_MS),
    undo: fc.constantFrom({}, { unlike: 'like' }, { unlike: 'like', unbookmark: 'bookmark' }),
    halfLivesMs: fc.constantFrom([], [HOUR_MS], [DAY_MS, 7 * DAY_MS]),
  });
  fc.assert(
    fc.property(user, options, (records, each) => {
      agree(records, each);
    }),
    { ...FC_OPTIONS, endOnFailure: false },
  );
});

test('the view for `freshet inspect`: the newest K, newest first', () => {
  const times = [0, 1, 2, 3, 4, 5];
  const records = times.map((eventTimeMs) => ({
    arrivalTimeMs: eventTimeMs,
    action: { eventTimeMs, itemId: 'a', actionType: eventTimeMs === 4 ? 'unlike' : 'like', surface: 'web' },
  }));
  const options = { ...SHIPPED, windowSize: 3, sealSize: 2 };
  const view = inspectedSequence(oracle(records, options), options);
  expect(view.window.map(({ eventTimeMs, hidden }) => [eventTimeMs, hidden])).toEqual([
    [5, false],
    [4, true],
    [3, true],
  ]);
  expect(view).toMatchObject({ sealed: 2, leftEdge: { eventTimeMs: 1, itemId: 'a', actionType: 'like' } });
});

const layoutFor = (options: OracleOptions): Layout =>
  layoutOf({
    sequences: [
      {
        name: 'engagement',
        actionTypes: 'all',
        windowSize: options.windowSize,
        sealSize: options.sealSize,
        maxAgeMs: options.maxAgeMs,
      },
    ],
    scoredSequence: 'engagement',
    counterHalfLivesMs: options.halfLivesMs,
    undo: options.undo,
    sessionGapMs: options.sessionGapMs,
    maxFutureMs: options.maxFutureMs,
  });

type Totals = Record<'accepted' | 'duplicate' | 'late' | 'future' | 'sealed' | 'hidden', number>;

function agreeOnAll(users: ReadonlyMap<string, readonly OracleRecord[]>, options: OracleOptions): Totals {
  const totals: Totals = { accepted: 0, duplicate: 0, late: 0, future: 0, sealed: 0, hidden: 0 };
  for (const records of users.values()) {
    const expected = agree(records, options);
    for (const outcome of expected.outcomes) totals[outcome] += 1;
    totals.sealed += expected.sealed;
    totals.hidden += expected.hidden.filter(Boolean).length;
  }
  return totals;
}

/** Compares everything that both know of one user. */
function agree(inputs: readonly OracleRecord[], options: OracleOptions) {
  const layout = layoutFor(options);
  const expected = oracle(inputs, options);
  const records = inputs.map((input, offset): UserRecord => ({ kind: 'action', offset, ...input }));
  const { state, outcomes, chunks } = replay(records, layout);
  expect(outcomes).toEqual(expected.outcomes);
  if (state === null) {
    expect(expected.window).toEqual([]);
    return expected;
  }
  const { base, window } = state.sequences[0]!;
  const { views, session } = describeUser(state, SCORE, layout);
  expect(window).toEqual(expected.window);
  expect(base.leftEdge).toEqual(expected.leftEdge);
  expect([base.sealed, base.chunks]).toEqual([expected.sealed, expected.chunks.length]);
  expect(chunks.map((chunk) => chunk.actions)).toEqual(expected.chunks);
  expect(views[0]!.hiddenPositions).toEqual(positionsOf(expected.hidden));
  expect(session).toEqual(expected.session);
  agreeOnCounters(base, expected.baseCounters);
  agreeOnCounters(views[0]!, expected.counters);
  const { accepted, duplicate, late } = state.envelope;
  const countOf = (outcome: string) => expected.outcomes.filter((each) => each === outcome).length;
  expect({ accepted, duplicate, late }).toEqual({
    accepted: countOf('accepted'),
    duplicate: countOf('duplicate'),
    late: countOf('late'),
  });
  return expected;
}

/** Newest first from 0, ascending. */
const positionsOf = (hidden: readonly boolean[]): number[] =>
  hidden.toReversed().flatMap((isHidden, position) => (isHidden ? [position] : []));

function agreeOnCounters(
  actual: { readonly counterTypes: readonly string[]; readonly counters: readonly number[] },
  expected: OracleCounters,
): void {
  const types = Object.keys(expected).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  expect(actual.counterTypes).toEqual(types);
  const counts = types.flatMap((type) => expected[type]!);
  expect(actual.counters).toHaveLength(counts.length);
  const worst = Math.max(0, ...counts.map((count, at) => Math.abs(actual.counters[at]! - count) / count));
  expect(worst).toBeLessThanOrEqual(1e-9);
}

/** Ties, undos, duplicates from other surfaces, clocks that run ahead, and arrivals within and beyond the window. */
function disturb(records: readonly OracleRecord[], random: () => number): OracleRecord[] {
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
  const undoing: Readonly<Record<string, string>> = { like: 'unlike', bookmark: 'unbookmark', follow: 'unfollow' };
  const placed: { record: OracleRecord; place: number }[] = [];
  records.forEach(({ action: original }, at) => {
    const timeMs = original.eventTimeMs;
    const action = random() < 0.1 ? { ...original, eventTimeMs: timeMs - (timeMs % HOUR_MS) } : original;
    const delay = random() < 0.02 ? random() * 400 : random() < 0.3 ? random() * 20 : 0;
    const isFuture = random() < 0.02;
    const arrivalTimeMs = timeMs + (isFuture ? -FUTURE_MS - pick([1, HOUR_MS]) : pick([0, -FUTURE_MS, HOUR_MS]));
    placed.push({ record: { action, arrivalTimeMs }, place: at + delay });
    if (random() < 0.1) {
      const twin = { ...action, surface: pick(['', 'android', 'ios', 'web', '\uff5e', '😀']) };
      placed.push({ record: { action: twin, arrivalTimeMs }, place: at + random() * 40 });
    }
    const undo = undoing[action.actionType];
    if (undo !== undefined && random() < 0.4) {
      const undone = { ...action, actionType: undo, eventTimeMs: action.eventTimeMs + pick([0, 1000, HOUR_MS]) };
      placed.push({ record: { action: undone, arrivalTimeMs: undone.eventTimeMs }, place: at + random() * 5 });
    }
  });
  return placed.sort((a, b) => a.place - b.place).map(({ record }) => record);
}
