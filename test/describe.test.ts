/** What readers are told of a user: hidden positions, counters, session, score. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Action } from '../state/action.ts';
import { describe as describeUser } from '../state/describe.ts';
import type { Layout } from '../state/layout.ts';
import {
  action,
  arbitraryAction,
  DAY_MS,
  HOUR_MS,
  records,
  replay,
  SCORE,
  sequenceOptions,
  testLayout,
} from './support/actions.ts';
import { FC_OPTIONS } from './support/seed.ts';

/** Failures are shrunk. */
const OPTIONS = { ...FC_OPTIONS, endOnFailure: false };
const wide = testLayout({ windowSize: 100, sealSize: 32 });

const described = (actions: readonly Action[], layout: Layout = wide) =>
  describeUser(replay(records(actions), layout).state!, SCORE, layout);
/** Positions count from the newest, 0. */
const hidden = (actions: readonly Action[], layout: Layout = wide): number[] =>
  described(actions, layout).views[0]!.hiddenPositions;
/** Actions on one item, a minute apart: 'like unlike' or 'like:b unlike:b' for another item. */
const story = (text: string): Action[] =>
  text.split(' ').map((word, at) => {
    const [type, item = 'a'] = word.split(':') as [string, string?];
    return action(at * 60_000, item, type);
  });

describe('an undo and what it undoes are hidden together', () => {
  test.each([
    ['like unlike', [0, 1]],
    ['like', []],
    ['unlike', []],
    ['unlike like', []],
    ['like view unlike', [0, 2]],
    ['like unlike like', [1, 2]],
    ['like unlike unlike', [1, 2]],
    ['like like unlike', [0, 1]],
    ['like like unlike unlike', [0, 1, 2, 3]],
    ['like unlike like unlike', [0, 1, 2, 3]],
    ['like like view unlike like unlike', [0, 1, 2, 4]],
    ['like unlike:b', []],
    ['like like:b unlike:b unlike', [0, 1, 2, 3]],
    ['bookmark unlike', []],
    ['like bookmark unlike unbookmark', [0, 1, 2, 3]],
  ])('%s', (text, expected) => {
    expect(hidden(story(text))).toEqual(expected);
  });

  test('at one time the bytes of the type decide which came first', () => {
    expect(hidden([action(5, 'a', 'unlike'), action(5, 'a', 'like')])).toEqual([0, 1]);
  });

  test('an undo whose partner was sealed is shown', () => {
    expect(hidden(story('like view unlike view:b view:c'), testLayout())).toEqual([]);
  });

  test('pairs are hidden in every sequence that holds them', () => {
    const layout = testLayout(
      {},
      { sequences: [sequenceOptions(), sequenceOptions({ name: 'undos', actionTypes: ['unlike'] })] },
    );
    expect(described(story('like unlike'), layout).views.map((view) => view.hiddenPositions)).toEqual([[0, 1], []]);
  });

  test('whatever the story, each undo hides itself and one earlier action, or neither', () => {
    const actions = fc.array(arbitraryAction(DAY_MS), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(actions, (unsorted) => {
        const { window } = replay(records(unsorted), wide).state!.sequences[0]!;
        const positions = hidden(unsorted);
        expect(positions).toEqual([...new Set(positions)].sort((a, b) => a - b));
        const tally = new Map<string, number>();
        for (const position of positions) {
          const { itemId, actionType } = window[window.length - 1 - position]!;
          const undoes = wide.undo.get(actionType);
          const name = `${itemId} ${undoes ?? actionType}`;
          tally.set(name, (tally.get(name) ?? 0) + (undoes === undefined ? -1 : 1));
        }
        expect([...tally.values()].every((balance) => balance === 0)).toBe(true);
      }),
      OPTIONS,
    );
  });
});

describe('the age mask', () => {
  const layout = testLayout({ windowSize: 100, sealSize: 32, maxAgeMs: HOUR_MS });

  test('hides what is older than the age before the newest, and nothing younger', () => {
    const actions = [action(0, 'a'), action(1, 'b'), action(2, 'c'), action(HOUR_MS + 1, 'd')];
    expect(hidden(actions, layout)).toEqual([3]);
    expect(hidden(actions)).toEqual([]);
  });

  test('joins the undone pairs, and removes nothing from the window', () => {
    const actions = [
      action(0, 'a'),
      action(1, 'b', 'like'),
      action(2 * HOUR_MS, 'c'),
      action(2 * HOUR_MS, 'b', 'unlike'),
    ];
    expect(hidden(actions, layout)).toEqual([1, 2, 3]);
    expect(replay(records(actions), layout).state!.sequences[0]!.window).toHaveLength(4);
  });
});

describe('counters', () => {
  test('carry the sealed ones on to the newest event and add the window', () => {
    const layout = testLayout({ windowSize: 1, sealSize: 1 }, { counterHalfLivesMs: [HOUR_MS] });
    const actions = [action(0, 'a'), action(HOUR_MS, 'b', 'like'), action(2 * HOUR_MS, 'c')];
    const { base } = replay(records(actions), layout).state!.sequences[0]!;
    expect([base.counterTypes, base.counters]).toEqual([
      ['like', 'view'],
      [1, 0.5],
    ]);
    const [view] = described(actions, layout).views;
    expect([view!.counterTypes, view!.counters]).toEqual([
      ['like', 'view'],
      [0.5, 1.25],
    ]);
  });

  test('count undos and hidden actions like any other', () => {
    expect(described(story('like unlike')).views[0]!.counterTypes).toEqual(['like', 'unlike']);
  });
});

describe('the session', () => {
  const halfHour = HOUR_MS / 2;

  test.each([
    ['one action', [0], { length: 1, ageMs: 0, gapMs: -1 }],
    ['neighbours exactly the gap apart', [0, halfHour], { length: 2, ageMs: halfHour, gapMs: halfHour }],
    ['one millisecond more', [0, halfHour + 1], { length: 1, ageMs: 0, gapMs: halfHour + 1 }],
    ['a pause earlier', [0, HOUR_MS, HOUR_MS + 5, HOUR_MS + 7], { length: 3, ageMs: 7, gapMs: 2 }],
    ['ties', [9, 9], { length: 2, ageMs: 0, gapMs: 0 }],
  ])('%s', (_name, timesMs, session) => {
    expect(described(timesMs.map((timeMs, at) => action(timeMs, `item-${at}`))).session).toEqual(session);
  });

  test('is that of the scored sequence', () => {
    const sequences = [sequenceOptions(), sequenceOptions({ name: 'likes', actionTypes: ['like'] })];
    const layout = testLayout({}, { sequences, scoredSequence: 'likes' });
    expect(described(story('view like view'), layout)).toMatchObject({
      scoredSequence: 'likes',
      session: { length: 1, ageMs: 0, gapMs: -1 },
    });
    expect(described(story('view view'), layout).session).toEqual({ length: 0, ageMs: 0, gapMs: -1 });
  });
});

test('the score is passed on: vectors an outcome, propensities a type, flag and hash', () => {
  const { views, session, ...score } = described(story('view'));
  expect([views.length, session.length]).toEqual([1, 1]);
  expect(score).toEqual({
    scoredSequence: 'engagement',
    itemVersion: '2016-06-01',
    itemsWithVector: 2,
    intent: [
      { outcome: 'click', vector: [0.25, -1.5] },
      { outcome: 'save', vector: [3, 0.125] },
    ],
    propensityTypes: ['view', 'like'],
    propensity: [0.75, 0.25],
    finite: true,
    scorerHash: '0123456789abcdef',
  });
});
