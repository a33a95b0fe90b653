import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { EMPTY_TABLE } from '../src/intent/item-table.ts';
import { OnnxScorer } from '../src/intent/onnx-scorer.ts';
import { STEPS_MAX } from '../src/intent/packing.ts';
import type { FoldRow, Scorer } from '../src/intent/scorer.ts';
import type { Action } from '../state/action.ts';
import { foldOne, scoreBits, smallTable, wholeWindow, windows } from './fixtures/intent/rows.ts';

const SMALL = packagePath('test', 'fixtures', 'intent', 'small');
/** Whatever recurrence a model is of, and whatever the shape of its state: the port asks for the same. */
const FORMS = [
  ['a GRU', SMALL],
  ['a linear recurrence of two levels', packagePath('test', 'fixtures', 'intent', 'two-level')],
] as const;

let scorer: Scorer;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'freshet-intent-'));
});

afterAll(() => rm(folder, { recursive: true }));

describe.each(FORMS)('a score of %s', (_form, form) => {
  beforeAll(async () => {
    scorer = await OnnxScorer.load(form);
  });

  it('does not depend on the rows that share the call, nor on where a window is cut', async () => {
    const table = smallTable(scorer.dimension);
    const other = smallTable(scorer.dimension, 'v2');
    const rows = fc.array(fc.tuple(windows(20, scorer.actionTypes), fc.nat(), fc.boolean()), {
      minLength: 1,
      maxLength: 24,
    });
    await fc.assert(
      fc.asyncProperty(rows, async (drawn) => {
        const whole = drawn.map(([actions, , first]) => wholeWindow(actions, first ? table : other));
        const together = (await scorer.fold(whole)).map(scoreBits);
        const alone = await Promise.all(whole.slice(0, 3).map((row) => foldOne(scorer, row)));
        expect(together.slice(0, 3)).toEqual(alone.map(scoreBits));

        const heads = whole.map((row, at) => cutRow(row, 0, 1 + (drawn[at]![1] % row.actions.length)));
        const begun = await scorer.fold(heads);
        const tails: [number, FoldRow][] = [];
        for (const [at, row] of whole.entries()) {
          const from = heads[at]!.actions.length;
          if (from < row.actions.length) tails.push([at, { ...cutRow(row, from), hidden: begun[at]!.hidden }]);
        }
        const ended = begun.map(scoreBits);
        const continued = await scorer.fold(tails.map(([, row]) => row));
        for (const [n, [at]] of tails.entries()) ended[at] = scoreBits(continued[n]!);
        expect(ended).toEqual(together);
      }),
      { numRuns: 1_000 },
    );
  });

  it('of a row longer than one call is that of its parts', async () => {
    const actions = Array.from({ length: 2 * STEPS_MAX + 5 }, (_, n) => action(n));
    const row = wholeWindow(actions, smallTable(scorer.dimension));
    const first = await foldOne(scorer, cutRow(row, 0, 77));
    const rest = await foldOne(scorer, { ...cutRow(row, 77), hidden: first.hidden });
    const whole = await foldOne(scorer, row);
    expect(scoreBits(whole)).toBe(scoreBits(rest));
    expect(whole.withVector).toBe(first.withVector + rest.withVector);
  });

  it('counts the items with a vector, and has the shapes that the scorer states', async () => {
    const table = smallTable(scorer.dimension);
    const actions = [action(0), action(4), action(9), action(5)];
    const score = await foldOne(scorer, wholeWindow(actions, table));
    expect(score.withVector).toBe(actions.filter(({ itemId }) => table.vector(itemId) !== undefined).length);
    expect(score.withVector).toBe(2);
    expect((await foldOne(scorer, wholeWindow(actions, EMPTY_TABLE))).withVector).toBe(0);
    expect(score.hidden.length).toBe(scorer.hiddenSize);
    expect(score.intent.map((vector) => vector.length)).toEqual(scorer.outcomes.map(() => scorer.dimension));
    expect(score.propensity.length).toBe(scorer.actionTypes.length);
    expect(score.propensity.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5);
    expect(await scorer.fold([])).toEqual([]);
  });

  it('depends on vector, type, surface, gap and order', async () => {
    const table = smallTable(scorer.dimension);
    const [first, second] = [action(0), action(1)];
    const bits = async (actions: Action[], under = table): Promise<string> =>
      scoreBits(await foldOne(scorer, wholeWindow(actions, under)));
    const variants = [
      await bits([first, second]),
      await bits([first, second], EMPTY_TABLE),
      await bits([first, { ...second, itemId: 'item-3' }]),
      await bits([first, { ...second, actionType: 'like' }]),
      await bits([first, { ...second, surface: 'ios' }]),
      await bits([first, { ...second, eventTimeMs: first.eventTimeMs + 3_600_000 }]),
      await bits([
        { ...second, eventTimeMs: first.eventTimeMs },
        { ...first, eventTimeMs: second.eventTimeMs },
      ]),
    ];
    expect(new Set(variants).size).toBe(variants.length);
    // A gap counts from its bound on: 60 s is the next bucket, 59.999 s is not.
    const after = (gapMs: number): Promise<string> =>
      bits([first, { ...second, eventTimeMs: first.eventTimeMs + gapMs }]);
    expect(await after(59_999)).toBe(await after(0));
    expect(await after(60_000)).not.toBe(await after(59_999));
    expect(await after(60_000)).toBe(await after(3_599_999));
  });

  it('of numbers that are not finite is zeros and says so; its neighbours have theirs', async () => {
    const table = smallTable(scorer.dimension);
    const hidden = new Float32Array(scorer.hiddenSize).fill(NaN);
    const row = wholeWindow([action(0), action(1)], table);
    const scores = await scorer.fold([row, { ...row, hidden, previousEventTimeMs: 0 }, row]);
    const [before, zero, after] = scores;
    expect(zero).toMatchObject({ finite: false, withVector: 2 });
    for (const array of [zero!.hidden, ...zero!.intent, zero!.propensity]) expect(array).toEqual(array.map(() => 0));
    expect([before, after].map((score) => scoreBits(score!))).toEqual(
      Array(2).fill(scoreBits(await foldOne(scorer, row))),
    );
  });

  it('is refused for vectors that are not finite: the runtime would turn them into numbers', async () => {
    const values = new Int8Array(scorer.dimension).fill(100);
    for (const scale of [NaN, Infinity, 3e38]) {
      const table = { version: 'v1', vector: () => ({ values, scale }) };
      const scores = scorer.fold([wholeWindow([action(0)], table)]);
      await expect(scores).rejects.toMatchObject({ code: 'VECTOR_INVALID' });
    }
  });

  it('of concurrent calls is that of each alone', async () => {
    const table = smallTable(scorer.dimension);
    const calls = Array.from({ length: 20 }, (_, n) => [wholeWindow([action(n), action(n + 1)], table)]);
    const concurrent = await Promise.all(calls.map((rows) => scorer.fold(rows)));
    for (const [n, rows] of calls.entries()) {
      expect(scoreBits(concurrent[n]![0]!)).toBe(scoreBits(await foldOne(scorer, rows[0]!)));
    }
  });

  it('is refused for rows that cannot be one, and the next call works', async () => {
    const table = smallTable(scorer.dimension);
    const good = wholeWindow([action(0)], table);
    await expect(scorer.fold([wholeWindow([], table)])).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect(scorer.fold([{ ...good, hidden: new Float32Array(3), previousEventTimeMs: 1 }])).rejects.toMatchObject(
      { code: 'INTERNAL' },
    );
    await expect(scorer.fold([{ ...good, previousEventTimeMs: 1 }])).rejects.toMatchObject({ code: 'INTERNAL' });
    const wide = smallTable(scorer.dimension + 1);
    await expect(scorer.fold([wholeWindow([action(0)], wide)])).rejects.toMatchObject({ code: 'SPACE_MISMATCH' });
    expect((await foldOne(scorer, good)).finite).toBe(true);
  });
});

describe('loading a model', () => {
  it('gives the same hash again, and another one for another card or other weights', async () => {
    const { hash } = await OnnxScorer.load(SMALL);
    expect(hash).toMatch(/^[0-9a-f]{16}$/);
    expect((await OnnxScorer.load(SMALL)).hash).toBe(hash);
    const documented = await changedCard((card) => ({ ...card, script: 'elsewhere.py' }));
    expect((await OnnxScorer.load(documented)).hash).toBe(hash);
    const renamed = await changedCard((card) => ({ ...card, surfaces: ['web', 'ios', 'android'] }));
    expect((await OnnxScorer.load(renamed)).hash).not.toBe(hash);
  });

  it.each([
    ['data', (card: Card) => without(card, 'data')],
    ['data.sha256', (card: Card) => ({ ...card, data: { file: 'x' } })],
    ['sha256', (card: Card) => without(card, 'sha256')],
    ['quality', (card: Card) => without(card, 'quality')],
    ['quality.differences', (card: Card) => ({ ...card, quality: { differences: [] } })],
    ['parity', (card: Card) => without(card, 'parity')],
    ['itemVectorSpace', (card: Card) => without(card, 'itemVectorSpace')],
    ['gapBoundsSeconds', (card: Card) => ({ ...card, gapBoundsSeconds: [60, 60] })],
    ['inputs', (card: Card) => ({ ...card, inputs: [{ name: 'x' }] })],
    ['dims.H', (card: Card) => ({ ...card, inputs: shaped(card, ['B', 2, 3]) })],
    ['dims.O', (card: Card) => ({ ...card, outcomes: ['click'] })],
    ['dims.A', (card: Card) => ({ ...card, actionTypes: ['view'] })],
    ['sha256 is', (card: Card) => ({ ...card, sha256: '0'.repeat(64) })],
  ])('refuses a card without a right %s', async (field, change) => {
    const error: unknown = await OnnxScorer.load(await changedCard(change)).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'MODEL_INVALID' });
    expect(String(error)).toContain(field);
  });

  it('refuses a fixture that the model does not reproduce, or that has other shapes', async () => {
    const parity = JSON.parse(await readFile(path.join(SMALL, 'parity.json'), 'utf8')) as {
      sequences: { intent: number[][]; gaps: number[] }[];
    };
    parity.sequences[5]!.intent[1]![2]! += 3e-5;
    await expect(OnnxScorer.load(await copyWith('parity.json', JSON.stringify(parity)))).rejects.toThrow(
      /MODEL_INVALID|intent of sequence 5 differs/,
    );
    parity.sequences[5]!.gaps.push(1);
    const shapes = OnnxScorer.load(await copyWith('parity.json', JSON.stringify(parity)));
    await expect(shapes).rejects.toMatchObject({ code: 'MODEL_INVALID' });
    await expect(shapes).rejects.toThrow(/sequence 5 has other shapes/);
  });

  it('refuses files that are missing or of another kind', async () => {
    await expect(OnnxScorer.load(path.join(folder, 'absent'))).rejects.toMatchObject({ code: 'MODEL_INVALID' });
    await expect(OnnxScorer.load(await copyWith('card.json', '{'))).rejects.toThrow(/not JSON/);
    await expect(OnnxScorer.load(await copyWith('parity.json', '[]'))).rejects.toThrow(/malformed/);
    await expect(OnnxScorer.load(await changedCard((card) => ({ ...card, file: 'parity.json' })))).rejects.toThrow(
      /sha256/,
    );
  });
});

type Card = Record<string, unknown>;

function without(card: Card, field: string): Card {
  return Object.fromEntries(Object.entries(card).filter(([name]) => name !== field));
}

/** A card's inputs, the hidden state in this shape. */
function shaped(card: Card, shape: readonly (string | number)[]): object[] {
  return (card['inputs'] as object[]).map((input, index) => (index === 0 ? { ...input, shape } : input));
}

let copies = 0;
async function copyWith(file: string, content: string): Promise<string> {
  const copy = path.join(folder, String((copies += 1)));
  await cp(SMALL, copy, { recursive: true });
  await writeFile(path.join(copy, file), content);
  return copy;
}

async function changedCard(change: (card: Card) => Card): Promise<string> {
  const card = JSON.parse(await readFile(path.join(SMALL, 'card.json'), 'utf8')) as Card;
  return copyWith('card.json', JSON.stringify(change(card)));
}

function action(n: number): Action {
  const eventTimeMs = 1_480_550_400_000 + n * 1_000;
  return { eventTimeMs, itemId: `item-${n % 50}`, actionType: 'view', surface: 'web' };
}

function cutRow(row: FoldRow, from: number, to = row.actions.length): FoldRow {
  const previousEventTimeMs = from === 0 ? null : row.actions[from - 1]!.eventTimeMs;
  return { ...row, previousEventTimeMs, actions: row.actions.slice(from, to) };
}
