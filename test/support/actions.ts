/** Builders and fast-check arbitraries for the tests of state/: layouts small enough that everything happens often. */
import avsc from 'avsc';
import fc from 'fast-check';
import { compareKeys, type Action } from '../../state/action.ts';
import type { ScoredWindow } from '../../state/describe.ts';
import { layoutOf, type Layout, type LayoutOptions } from '../../state/layout.ts';
import { reduce, type Outcome, type Owner, type Reduction, type UserRecord } from '../../state/reducer.ts';
import type { Chunk, FoldEffect } from '../../state/sequence.ts';
import type { UserState } from '../../state/user-state.ts';
import { shippedSchema } from '../../topics/index.ts';

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
export const FUTURE_MS = 300_000;
export const OWNER: Owner = { userId: 'user-1', partition: 3 };

type SequenceOptions = LayoutOptions['sequences'][number];

export const sequenceOptions = (options: Partial<SequenceOptions> = {}): SequenceOptions => ({
  name: 'engagement',
  actionTypes: 'all',
  windowSize: 3,
  sealSize: 2,
  maxAgeMs: null,
  ...options,
});

/** One sequence that seals two of five actions, unless told otherwise. */
export function testLayout(sequence: Partial<SequenceOptions> = {}, options: Partial<LayoutOptions> = {}): Layout {
  return layoutOf({
    sequences: [sequenceOptions(sequence)],
    scoredSequence: 'engagement',
    counterHalfLivesMs: [DAY_MS, 30 * DAY_MS],
    undo: { unlike: 'like', unbookmark: 'bookmark' },
    sessionGapMs: HOUR_MS / 2,
    maxFutureMs: FUTURE_MS,
    ...options,
  });
}

export const action = (eventTimeMs: number, itemId: string, actionType = 'view', surface = ''): Action => ({
  eventTimeMs,
  itemId,
  actionType,
  surface,
});

/** Records at offsets 0, 1, 2, … that arrive the moment they happen. */
export const records = (actions: readonly Action[], firstOffset = 0): UserRecord[] =>
  actions.map((each, index) => ({
    kind: 'action',
    offset: firstOffset + index,
    arrivalTimeMs: each.eventTimeMs,
    action: each,
  }));

export interface Replay {
  readonly state: UserState | null;
  readonly outcomes: readonly Outcome[];
  readonly folds: readonly FoldEffect[];
  readonly chunks: readonly Chunk[];
}

/** Reduces records in order; `watch` sees every reduction with the state before it. */
export function replay(
  inputs: readonly UserRecord[],
  layout: Layout,
  start: UserState | null = null,
  watch: (before: UserState | null, record: UserRecord, reduction: Reduction) => void = () => undefined,
): Replay {
  let state = start;
  const reductions = inputs.map((record) => {
    const reduction = reduce(state, record, OWNER, layout);
    watch(state, record, reduction);
    state = reduction.state;
    return reduction;
  });
  return {
    state,
    outcomes: reductions.map((each) => each.outcome),
    folds: reductions.map((each) => each.fold),
    chunks: reductions.flatMap((each) => each.chunks),
  };
}

/** For each sequence whether the record would be late in it: what two arrival orders must agree on. */
export const lateness = (state: UserState | null, record: UserRecord, layout: Layout): string =>
  layout.sequences
    .map((_, index) => {
      const edge = state?.sequences[index]!.base.leftEdge ?? null;
      return record.kind === 'action' && edge !== null && compareKeys(record.action, edge) <= 0 ? 'late' : 'taken';
    })
    .join();

/** Freezes a value and everything in it, so that a change in place throws. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}

/** What the tests keep of a score: its numbers are exact as 32-bit floats, as they are on the wire. */
export const SCORE: ScoredWindow = {
  itemVersion: '2016-06-01',
  itemsWithVector: 2,
  outcomes: ['click', 'save'],
  intent: [Float32Array.of(0.25, -1.5), Float32Array.of(3, 0.125)],
  actionTypes: ['view', 'like'],
  propensity: Float32Array.of(0.75, 0.25),
  finite: true,
  scorerHash: '0123456789abcdef',
};

const FEATURES = shippedSchema('sequence-features-value');
export const featuresType = avsc.Type.forSchema(FEATURES);
/** The fields behind the state's six. */
export const descriptionType = avsc.Type.forSchema({
  ...FEATURES,
  name: 'Description',
  fields: FEATURES.fields.slice(6),
});

/** Ids whose order by UTF-8 bytes is not their order by UTF-16 units, prefixes of each other, and plain ones. */
export const ITEM_IDS = ['a', 'b', 'ab', 'é', '\ud7ff', '\ue000', '\uffee', '\u{10000}', '😀', 'a\uff5e', 'a\u{1f600}'];
export const ACTION_TYPES = ['view', 'like', 'unlike', 'bookmark', 'unbookmark'];
export const SURFACES = ['', 'web', 'android', '\uff5e', '😀'];

/** Few times, items and types: ties and duplicates are common. Time runs from 0. */
export const arbitraryAction = (lastTimeMs: number): fc.Arbitrary<Action> =>
  fc.record({
    eventTimeMs: fc.nat(12).map((step) => Math.round((step / 12) * lastTimeMs)),
    itemId: fc.constantFrom(...ITEM_IDS),
    actionType: fc.constantFrom(...ACTION_TYPES),
    surface: fc.constantFrom(...SURFACES),
  });

const arbitrarySequence = (name: string, actionTypes: fc.Arbitrary<'all' | string[]>): fc.Arbitrary<SequenceOptions> =>
  fc.record({
    name: fc.constant(name),
    actionTypes,
    windowSize: fc.integer({ min: 1, max: 6 }),
    sealSize: fc.integer({ min: 1, max: 4 }),
    maxAgeMs: fc.constantFrom(null, HOUR_MS, DAY_MS),
  });

export const arbitraryLayout = fc
  .record({
    sequence: arbitrarySequence('engagement', fc.constant('all')),
    halfLifeMs: fc.integer({ min: 1, max: DAY_MS }),
  })
  .map(({ sequence, halfLifeMs }) => testLayout(sequence, { counterHalfLivesMs: [halfLifeMs, 7 * DAY_MS] }));

/** Two or three sequences; the first takes every type, as the configuration demands that some sequence does. */
export const arbitraryManyLayout = fc
  .tuple(
    arbitrarySequence('all', fc.constant('all')),
    arbitrarySequence('saves', fc.constant(['bookmark', 'unbookmark'])),
    arbitrarySequence('mixed', fc.subarray(ACTION_TYPES, { minLength: 1 })),
    fc.integer({ min: 2, max: 3 }),
    fc.nat(1),
  )
  .map(([all, saves, mixed, count, scored]) => {
    const sequences = [all, saves, mixed].slice(0, count);
    return testLayout({}, { sequences, scoredSequence: sequences[scored]!.name });
  });

/** In no order at all, with records of every kind; erases are left to the tests that are about them. */
export const arbitraryRecords: fc.Arbitrary<UserRecord[]> = fc
  .array(
    fc.oneof(
      { weight: 20, arbitrary: arbitraryAction(2 * DAY_MS).map((each) => ({ kind: 'action' as const, action: each })) },
      { weight: 1, arbitrary: fc.constant({ kind: 'rejected' as const }) },
      { weight: 1, arbitrary: fc.nat(10).map((seenVersion) => ({ kind: 'expire' as const, seenVersion })) },
    ),
    { maxLength: 40 },
  )
  .chain((inputs) =>
    fc
      .record({
        gaps: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: inputs.length, maxLength: inputs.length }),
        ahead: fc.array(fc.boolean(), { minLength: inputs.length, maxLength: inputs.length }),
      })
      .map(({ gaps, ahead }) => {
        let offset = -1;
        return inputs.map((input, index): UserRecord => {
          offset += gaps[index]!;
          const isFuture = ahead[index]! && index % 8 === 7;
          const eventTimeMs = input.kind === 'action' ? input.action.eventTimeMs : 0;
          return { ...input, offset, arrivalTimeMs: eventTimeMs + (isFuture ? -FUTURE_MS - 1 : 60_000) };
        });
      }),
  );

/** States that records lead to; never null. */
export const arbitraryState = (layouts: fc.Arbitrary<Layout>): fc.Arbitrary<{ layout: Layout; state: UserState }> =>
  fc
    .tuple(layouts, arbitraryRecords)
    .map(([layout, inputs]) => ({ layout, state: replay(inputs, layout).state }))
    .filter((each): each is { layout: Layout; state: UserState } => each.state !== null);
