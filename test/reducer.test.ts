/** The rules of the reducer (docs/architecture.md), one block a rule, as examples. reducer.properties.test.ts has the laws. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { compareKeys, compareUtf8 } from '../state/action.ts';
import { descriptionHash, layoutOf, stateLayoutHash } from '../state/layout.ts';
import { reduce, type UserRecord } from '../state/reducer.ts';
import type { UserState } from '../state/user-state.ts';
import {
  action,
  DAY_MS,
  FUTURE_MS,
  ITEM_IDS,
  OWNER,
  records,
  replay,
  sequenceOptions,
  testLayout,
} from './support/actions.ts';

/** K = 3, C = 2: the fifth action seals the two oldest. */
const layout = testLayout();
const five = [action(10, 'a'), action(20, 'b'), action(30, 'c'), action(40, 'd'), action(50, 'e')];
const items = (state: UserState | null, sequence = 0): string[] =>
  state!.sequences[sequence]!.window.map((each) => each.itemId);

describe('rule 1: actions stand in the order of time, then item bytes, then action type bytes', () => {
  test('an action that arrives out of order is put in its place', () => {
    const { state, outcomes, folds } = replay(records([five[0]!, five[2]!, five[1]!]), layout);
    expect(items(state)).toEqual(['a', 'b', 'c']);
    expect(outcomes).toEqual(['accepted', 'accepted', 'accepted']);
    expect(folds).toEqual(['append', 'append', 'refold']);
  });

  test('ties in time are ordered by the UTF-8 bytes of the item, then of the action type', () => {
    const tied = [action(10, '\u{10000}'), action(10, '\uffee'), action(10, '\uffee', 'like'), action(10, 'z')];
    const { window } = replay(records(tied), layout).state!.sequences[0]!;
    expect(window.map((each) => [each.itemId, each.actionType])).toEqual([
      ['z', 'view'],
      ['\uffee', 'like'],
      ['\uffee', 'view'],
      ['\u{10000}', 'view'],
    ]);
  });

  test('strings compare as their UTF-8 bytes do', () => {
    for (const a of ITEM_IDS) {
      for (const b of ITEM_IDS) {
        expect(Math.sign(compareUtf8(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }
    }
    expect(compareKeys(action(1, 'b'), action(2, 'a'))).toBeLessThan(0);
    expect(compareKeys(action(1, 'a', 'like', 'web'), action(1, 'a', 'like'))).toBe(0);
  });
});

describe('rule 2: the same key inside the window is a duplicate', () => {
  test('it is counted, and the greater bytes of the surface win', () => {
    const twice = [action(10, 'a', 'view', ''), action(10, 'a', 'view', 'web'), action(10, 'a', 'view', 'android')];
    const { state, outcomes, folds } = replay(records(twice), layout);
    expect(outcomes).toEqual(['accepted', 'duplicate', 'duplicate']);
    expect(folds).toEqual(['append', 'refold', 'none']);
    expect(state!.sequences[0]!.window).toEqual([action(10, 'a', 'view', 'web')]);
    expect(state!.envelope).toMatchObject({ accepted: 1, duplicate: 2 });
  });

  test('the same item at another time or with another type is another action', () => {
    const { outcomes } = replay(records([action(10, 'a'), action(11, 'a'), action(11, 'a', 'like')]), layout);
    expect(outcomes).toEqual(['accepted', 'accepted', 'accepted']);
  });

  test('a duplicate of a sealed action is late, not new', () => {
    expect(replay(records([...five, five[0]!]), layout).outcomes.at(-1)).toBe('late');
  });
});

describe('rule 3: late and future actions are not taken', () => {
  test('late is at or below the left edge', () => {
    const { state } = replay(records(five), layout);
    expect(state!.sequences[0]!.base.leftEdge).toEqual({ eventTimeMs: 20, itemId: 'b', actionType: 'view' });
    const outcomeOf = (late: ReturnType<typeof action>) => replay(records([late], 5), layout, state).outcomes[0];
    expect(outcomeOf(action(19, 'z'))).toBe('late');
    expect(outcomeOf(action(20, 'b'))).toBe('late');
    expect(outcomeOf(action(20, 'b', 'unlike'))).toBe('late');
    expect(outcomeOf(action(20, 'b', 'viewed'))).toBe('accepted');
  });

  test('future is more than five minutes after the arrival', () => {
    const arriving = (aheadMs: number): UserRecord => ({
      kind: 'action',
      offset: 0,
      arrivalTimeMs: 1_000_000,
      action: action(1_000_000 + aheadMs, 'a'),
    });
    expect(replay([arriving(FUTURE_MS)], layout).outcomes).toEqual(['accepted']);
    expect(replay([arriving(FUTURE_MS + 1)], layout)).toMatchObject({ state: null, outcomes: ['future'] });
  });

  test('both change counts, version and newest arrival, nothing else', () => {
    const { state } = replay(records(five), layout);
    const late = reduce(state, { kind: 'action', offset: 9, arrivalTimeMs: 70, action: five[0]! }, OWNER, layout);
    expect(late.state).toEqual({
      ...state!,
      version: 9,
      envelope: { ...state!.envelope, late: 1, newestArrivalTimeMs: 70 },
    });
    const ahead = action(80 + FUTURE_MS, 'x');
    const future = reduce(state, { kind: 'action', offset: 9, arrivalTimeMs: 70, action: ahead }, OWNER, layout);
    expect(future.state).toEqual({
      ...state!,
      version: 9,
      envelope: { ...state!.envelope, future: 1, newestArrivalTimeMs: 70 },
    });
    expect([late.fold, future.fold]).toEqual(['none', 'none']);
  });
});

describe('rule 4: at K + C actions the C oldest are sealed together', () => {
  test('they leave as one chunk and are counted as of the left edge', () => {
    const { state, chunks, folds } = replay(records(five), layout);
    expect(items(state)).toEqual(['c', 'd', 'e']);
    expect(chunks).toEqual([{ sequence: 'engagement', chunk: 0, actions: five.slice(0, 2) }]);
    expect(folds.at(-1)).toBe('refold');
    const { sealed, chunks: count, counterTypes, counters } = state!.sequences[0]!.base;
    expect({ sealed, count, counterTypes }).toEqual({ sealed: 2, count: 1, counterTypes: ['view'] });
    expect(counters[0]).toBeCloseTo(1 + 2 ** (-10 / DAY_MS), 12);
  });

  test('an action that is itself among the oldest leaves with them', () => {
    const { chunks, outcomes } = replay(records([...five.slice(1), five[0]!]), layout);
    expect(outcomes.at(-1)).toBe('accepted');
    expect(chunks[0]!.actions).toEqual(five.slice(0, 2));
  });

  test('chunks are numbered from 0', () => {
    const { chunks } = replay(records(Array.from({ length: 9 }, (_, at) => action(at, 'a'))), layout);
    expect(chunks.map((each) => each.chunk)).toEqual([0, 1, 2]);
  });

  test('C may be larger than K', () => {
    const { state, chunks } = replay(records(five), testLayout({ windowSize: 1, sealSize: 4 }));
    expect(items(state)).toEqual(['e']);
    expect(chunks[0]!.actions).toEqual(five.slice(0, 4));
  });
});

test('rule 5: an undo is an action like any other', () => {
  const { state, outcomes } = replay(records([action(10, 'a', 'like'), action(20, 'a', 'unlike')]), layout);
  expect(outcomes).toEqual(['accepted', 'accepted']);
  expect(items(state)).toEqual(['a', 'a']);
});

describe('rule 6: idle users leave by expire records', () => {
  const { state } = replay(records(five), layout);
  const expire = (seenVersion: number): UserRecord => ({ kind: 'expire', offset: 9, arrivalTimeMs: 70, seenVersion });

  test('a user who has not acted since the sweep leaves', () => {
    expect(reduce(state, expire(4), OWNER, layout)).toEqual({
      state: null,
      outcome: 'removed',
      chunks: [],
      fold: 'none',
    });
  });

  test('to one who has acted it does nothing but move version and newest arrival', () => {
    const { state: after, outcome } = reduce(state, expire(3), OWNER, layout);
    expect(outcome).toBe('kept');
    expect(after).toEqual({ ...state!, version: 9, envelope: { ...state!.envelope, newestArrivalTimeMs: 70 } });
  });

  test('time alone removes nothing', () => {
    expect(items(replay(records([action(0, 'a'), action(20 * 365 * DAY_MS, 'b')]), layout).state)).toEqual(['a', 'b']);
  });
});

test('rule 7: after an erase the log tells of a new user', () => {
  const { state } = replay(records(five), layout);
  const erased = reduce(state, { kind: 'erase', offset: 5, arrivalTimeMs: 60 }, OWNER, layout);
  expect(erased).toMatchObject({ state: null, outcome: 'removed' });
  const next = records([action(5, 'n')], 6);
  expect(replay(next, layout, erased.state).state).toEqual(replay(next, layout).state);
  expect(replay(next, layout).state).toMatchObject({ version: 6, firstOffset: 6, envelope: { accepted: 1, late: 0 } });
});

describe('rule 8: the version is the offset of the last record consumed', () => {
  const { state } = replay(records(five), layout);

  test('input at or below it is skipped', () => {
    for (const offset of [0, 3, 4]) {
      const again = reduce(
        state,
        { kind: 'action', offset, arrivalTimeMs: 99, action: action(99, 'x') },
        OWNER,
        layout,
      );
      expect(again).toEqual({ state, outcome: 'skipped', chunks: [], fold: 'none' });
      expect(reduce(state, { kind: 'erase', offset, arrivalTimeMs: 99 }, OWNER, layout).state).toBe(state);
    }
  });

  test('a record rejected for its bytes moves it and is counted', () => {
    const after = reduce(state, { kind: 'rejected', offset: 7, arrivalTimeMs: 99 }, OWNER, layout);
    expect(after).toMatchObject({ outcome: 'rejected', state: { version: 7, envelope: { rejected: 1, accepted: 5 } } });
  });

  test('a rejection, an expiry and an erase create no user', () => {
    const kinds: UserRecord[] = [
      { kind: 'rejected', offset: 0, arrivalTimeMs: 0 },
      { kind: 'expire', offset: 0, arrivalTimeMs: 0, seenVersion: 0 },
      { kind: 'erase', offset: 0, arrivalTimeMs: 0 },
    ];
    for (const record of kinds) expect(reduce(null, record, OWNER, layout).state).toBeNull();
  });
});

describe('rule 9: two hashes', () => {
  const base = {
    sequences: [sequenceOptions()],
    scoredSequence: 'engagement',
    counterHalfLivesMs: [DAY_MS],
    undo: { unlike: 'like' },
    sessionGapMs: 1000,
    maxFutureMs: FUTURE_MS,
  };
  const second = sequenceOptions({ name: 'saves' });
  const variants = {
    windowSize: { ...base, sequences: [sequenceOptions({ windowSize: 4 })] },
    sealSize: { ...base, sequences: [sequenceOptions({ sealSize: 3 })] },
    sequences: { ...base, sequences: [...base.sequences, second] },
    counterHalfLivesMs: { ...base, counterHalfLivesMs: [2 * DAY_MS] },
    actionTypes: { ...base, sequences: [sequenceOptions({ actionTypes: ['view', 'like'] })] },
    maxAgeMs: { ...base, sequences: [sequenceOptions({ maxAgeMs: DAY_MS })] },
    undo: { ...base, undo: { unlike: 'like', unbookmark: 'bookmark' } },
    sessionGapMs: { ...base, sessionGapMs: 2000 },
  };
  const changed = (hash: typeof stateLayoutHash) =>
    Object.keys(variants).filter(
      (name) => hash(layoutOf(variants[name as keyof typeof variants])) !== hash(layoutOf(base)),
    );

  test('the state layout: K, C, sequences, half-lives; adding an action type is compatible', () => {
    expect(changed(stateLayoutHash)).toEqual(['windowSize', 'sealSize', 'sequences', 'counterHalfLivesMs']);
  });

  test('the description: what describe derives from a state', () => {
    expect(changed(descriptionHash)).toEqual(['sequences', 'maxAgeMs', 'undo', 'sessionGapMs']);
    const two = { ...base, sequences: [...base.sequences, second] };
    const scored = descriptionHash(layoutOf({ ...two, scoredSequence: 'saves' }));
    expect(scored).not.toBe(descriptionHash(layoutOf(two)));
  });
});

describe('several sequences', () => {
  const many = testLayout(
    {},
    {
      sequences: [
        sequenceOptions({ windowSize: 1, sealSize: 1 }),
        sequenceOptions({ name: 'likes', actionTypes: ['like'] }),
      ],
    },
  );

  test('each takes its own action types and seals by itself', () => {
    const { state, chunks } = replay(records([action(1, 'a', 'like'), action(2, 'b'), action(3, 'c', 'like')]), many);
    expect(items(state, 0)).toEqual(['c']);
    expect(items(state, 1)).toEqual(['a', 'c']);
    expect(chunks.map((each) => [each.sequence, each.chunk])).toEqual([
      ['engagement', 0],
      ['engagement', 1],
    ]);
  });

  test.each([
    ['the best one last', many],
    ['the best one first', { ...many, sequences: many.sequences.toReversed(), scored: 1 }],
  ])('a record counts once, as the best that any sequence made of it: %s', (_name, layout) => {
    const first = [action(1, 'a', 'like'), action(2, 'b'), action(3, 'c')];
    const { state, outcomes, folds } = replay(
      records([...first, action(0, 'd', 'like'), first[0]!, first[1]!]),
      layout,
    );
    // d and a are late in engagement; likes takes d and holds a; b is late where it is taken.
    expect(outcomes.slice(3)).toEqual(['accepted', 'duplicate', 'late']);
    expect(folds.slice(3)).toEqual(['none', 'none', 'none']);
    expect(state!.envelope).toMatchObject({ accepted: 4, duplicate: 1, late: 1 });
  });
});

describe('rule 10: reduce and describe know no clock and no I/O', () => {
  /** Modules that a file needs at run time; type-only imports are erased. */
  const runtimeImports = (source: ts.SourceFile): string[] => {
    const specifiers: string[] = [];
    const visit = (node: ts.Node): void => {
      const erased =
        (ts.isImportDeclaration(node) && node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword) ||
        (ts.isExportDeclaration(node) && node.isTypeOnly);
      if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && !erased && node.moduleSpecifier) {
        specifiers.push((node.moduleSpecifier as ts.StringLiteral).text);
      }
      if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
        specifiers.push('import()');
      ts.forEachChild(node, visit);
    };
    visit(source);
    return specifiers;
  };

  /** Names of the environment that a pure function has no use for. */
  const impureNames = (source: ts.SourceFile): string[] => {
    const forbidden = ['Date', 'performance', 'process', 'globalThis', 'random', 'fetch', 'setTimeout', 'require'];
    const found: string[] = [];
    const visit = (node: ts.Node): void => {
      if (ts.isIdentifier(node) && forbidden.includes(node.text)) found.push(node.text);
      ts.forEachChild(node, visit);
    };
    visit(source);
    return found;
  };

  const parse = (file: string): ts.SourceFile =>
    ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true);

  function walk(file: string, seen = new Map<string, string[]>()): Map<string, string[]> {
    if (seen.has(file)) return seen;
    const source = parse(file);
    const imports = runtimeImports(source);
    const outside = imports.filter((specifier) => !specifier.startsWith('.'));
    seen.set(file, [...outside, ...impureNames(source)]);
    for (const specifier of imports.filter((each) => each.startsWith('.'))) walk(join(dirname(file), specifier), seen);
    return seen;
  }

  test.each(['reducer.ts', 'describe.ts'])('%s imports only pure files', (name) => {
    const files = walk(packagePath('state', name));
    expect(files.size).toBeGreaterThanOrEqual(4);
    expect([...files].filter(([, impurities]) => impurities.length > 0)).toEqual([]);
  });

  test('the walk sees what it looks for', () => {
    expect(walk(packagePath('state', 'layout.ts')).get(packagePath('state', 'layout.ts'))).toEqual(['node:crypto']);
    const source = ts.createSourceFile(
      'x.ts',
      "import type { A } from 'a'; import { type B, b } from 'b'; export { c } from 'c'; await import('d'); Date.now();",
      ts.ScriptTarget.Latest,
      true,
    );
    expect(runtimeImports(source)).toEqual(['b', 'c', 'import()']);
    expect(impureNames(source)).toEqual(['Date']);
  });
});
