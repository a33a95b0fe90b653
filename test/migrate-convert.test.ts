/** A state under another layout: what a run from the beginning with that layout gives for the same actions, to the bit. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadConfig, type Config } from '../src/base/config.ts';
import { conversionOf } from '../src/migrate/conversion.ts';
import { convert, needsHistory, type Conversion, type SealedActions } from '../src/migrate/convert-state.ts';
import type { Layout } from '../state/layout.ts';
import type { Chunk } from '../state/sequence.ts';
import type { UserRecord } from '../state/reducer.ts';
import type { UserState } from '../state/user-state.ts';
import { ACTION_TYPES, DAY_MS, HOUR_MS, arbitraryRecords, lateness, replay } from './support/actions.ts';
import { FC_OPTIONS } from './support/seed.ts';

const arbitrarySequence = (name: string, actionTypes: fc.Arbitrary<string[] | 'all'>) =>
  fc.record({
    name: fc.constant(name),
    actionTypes,
    windowSize: fc.integer({ min: 1, max: 6 }),
    sealSize: fc.integer({ min: 1, max: 4 }),
  });

const arbitraryConfig: fc.Arbitrary<Config> = fc
  .record({
    all: arbitrarySequence('all', fc.constantFrom<('all' | string[])[]>('all', ACTION_TYPES)),
    saves: arbitrarySequence('saves', fc.constant(['bookmark', 'unbookmark'])),
    some: arbitrarySequence('some', fc.subarray(ACTION_TYPES, { minLength: 1 })),
    count: fc.integer({ min: 1, max: 3 }),
    counterHalfLivesMs: fc.constantFrom([DAY_MS], [DAY_MS], [HOUR_MS, DAY_MS]),
  })
  .map(({ all, saves, some, count, counterHalfLivesMs }) => {
    const sequences = [all, saves, some].slice(0, count);
    const flags = { sequences, scoredSequence: 'all', counterHalfLivesMs, actionTypes: ACTION_TYPES };
    return loadConfig({ env: {}, flags: { ...flags, undo: {} }, cwd: '/' });
  });

/** Most users' actions arrive in order. */
const arbitraryInput = fc
  .tuple(arbitraryRecords, fc.integer({ min: 0, max: 3 }))
  .map(([records, order]) => (order === 0 ? records : inOrder(records)));

function inOrder(records: readonly UserRecord[]): UserRecord[] {
  const timeOf = (record: UserRecord): number => (record.kind === 'action' ? record.action.eventTimeMs : 0);
  const sorted = records.toSorted((a, b) => timeOf(a) - timeOf(b));
  return sorted.map((record, index) => ({ ...record, offset: records[index]!.offset }));
}

/** By sequence and number, of the user's last life. */
function historyOf(chunks: readonly Chunk[], state: UserState, { sequences }: Layout): Map<string, Chunk> {
  const all = new Map(chunks.map((chunk) => [`${chunk.sequence} ${chunk.chunk}`, chunk]));
  return new Map(
    [...all].filter(([, { sequence, chunk }]) => {
      const at = sequences.findIndex(({ name }) => name === sequence);
      return chunk < state.sequences[at]!.base.chunks;
    }),
  );
}

function sealedOf(
  state: UserState,
  history: ReadonlyMap<string, Chunk>,
  { from }: Conversion,
): Map<number, SealedActions> {
  return new Map(
    from.sequences.map(({ name }, index) => {
      const { chunks } = state.sequences[index]!.base;
      return [index, Array.from({ length: chunks }, (_, at) => history.get(`${name} ${at}`)!.actions).flat()];
    }),
  );
}

interface Case {
  readonly conversion: Conversion;
  readonly before: UserState;
  readonly after: UserState;
  readonly oldHistory: ReadonlyMap<string, Chunk>;
  readonly newHistory: ReadonlyMap<string, Chunk>;
}

/** Undefined: the user is not there in the end, the new layout cannot be had, or some window has refused an action. */
function caseOf(old: Config, next: Config, isInPlace: boolean, input: readonly UserRecord[]): Case | undefined {
  let conversion: Conversion;
  try {
    conversion = conversionOf(old, next, isInPlace);
  } catch {
    return undefined;
  }
  const { from, to } = conversion;
  let isLate = false;
  const run = (layout: Layout) =>
    replay(input, layout, null, (state, record) => {
      isLate ||= lateness(state, record, layout).includes('late');
    });
  const [before, after] = [run(from), run(to)];
  if (isLate || before.state === null || after.state === null) return undefined;
  return {
    ...{ conversion, before: before.state, after: after.state },
    oldHistory: historyOf(before.chunks, before.state, from),
    newHistory: historyOf(after.chunks, after.state, to),
  };
}

const arbitraryCase = fc
  .tuple(arbitraryConfig, arbitraryConfig, fc.boolean(), arbitraryInput)
  .map((given) => caseOf(...given))
  .filter((each) => each !== undefined);

describe('a converted state', () => {
  it('is that of a run from the beginning, and so is its history', () => {
    fc.assert(
      fc.property(arbitraryCase, ({ conversion, before, after, oldHistory, newHistory }) => {
        const converted = convert(before, conversion, sealedOf(before, oldHistory, conversion));
        if ('cause' in converted) throw new Error('refused');
        expect({ ...before, sequences: converted.sequences }).toEqual(after);
        const kept = [...oldHistory].filter(([, { sequence }]) => converted.kept.includes(sequence));
        const written = converted.chunks.map((chunk) => [`${chunk.sequence} ${chunk.chunk}`, chunk] as const);
        expect(new Map([...kept, ...written])).toEqual(newHistory);
      }),
      FC_OPTIONS,
    );
  });

  it('without the history is the same, or refused: where it is needed', () => {
    let refused = 0;
    fc.assert(
      fc.property(arbitraryCase, ({ conversion, before, after }) => {
        const gone = new Map(conversion.from.sequences.map((_, index) => [index, null]));
        const converted = convert(before, conversion, gone);
        const isNeeded = conversion.to.sequences.some((_, at) => needsHistory(before, conversion, at));
        expect('cause' in converted).toBe(isNeeded);
        if ('cause' in converted) refused += 1;
        else expect({ ...before, sequences: converted.sequences }).toEqual(after);
      }),
      FC_OPTIONS,
    );
    expect(refused).toBeGreaterThan(50);
    expect(refused).toBeLessThan(FC_OPTIONS.numRuns - 50);
  });
});

describe('a conversion is refused', () => {
  const configOf = (flags: Record<string, unknown>): Config => loadConfig({ env: {}, flags, cwd: '/' });
  const saves = { name: 'saves', actionTypes: ['bookmark'] };
  const views = { name: 'views', actionTypes: ['view'] };
  const all = { name: 'engagement' };
  const types = ['view', 'bookmark'];

  it.each([
    [
      'a type that was taken is to be known no more',
      { sequences: [all] },
      { actionTypes: ['view'] },
      'actionTypes lacks',
    ],
    [
      'a type was not taken so far',
      { actionTypes: types, sequences: [all] },
      { actionTypes: [...types, 'like'], sequences: [all] },
      'takes view, bookmark, like: no sequence of freshet kept all of these',
    ],
    [
      'the types are spread over several sequences',
      { actionTypes: types, sequences: [views, saves], scoredSequence: 'views' },
      { actionTypes: types, sequences: [all] },
      'sequence engagement takes view, bookmark',
    ],
  ])('where %s', (_, old, next, detail) => {
    expect(() => conversionOf(configOf(old), configOf(next), true)).toThrow(detail);
  });

  it('but not where a part of what was kept is asked for, or the same under another name', () => {
    const old = configOf({ actionTypes: types, sequences: [all] });
    const next = configOf({ actionTypes: types, sequences: [{ name: 'clicks' }, saves], scoredSequence: 'clicks' });
    expect(conversionOf(old, next, true).sources).toEqual([
      { index: 0, takesSame: true, keepsChunks: false },
      { index: 0, takesSame: false, keepsChunks: false },
    ]);
  });
});
