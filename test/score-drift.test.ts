/** How scores are distributed at training, as the card says it, and how far those of a worker have moved from that. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { OnnxScorer } from '../src/intent/onnx-scorer.ts';
import {
  bucketOf,
  quantitiesOf,
  quantityNames,
  stabilityIndex,
  type ScoreDistribution,
} from '../src/intent/score-distribution.ts';
import { ScoreSample } from '../src/intent/score-sample.ts';
import type { ItemVector } from '../src/intent/item-table.ts';
import type { Score, Scorer } from '../src/intent/scorer.ts';
import { ScoreDrift } from '../src/observe/score-drift.ts';
import { WorkerObserver, type WorkerReport } from '../src/observe/worker-observer.ts';
import { ITEM_VECTOR_SCALE, ItemVectorBuilder } from '../src/vectors/item-vectors.ts';
import { readRecipes } from '../src/vectors/recipes.ts';
import { murmur2 } from '../src/base/murmur2.ts';
import { reduce } from '../state/reducer.ts';
import type { UserState } from '../state/user-state.ts';
import { DAY_MS, LAYOUT, readModelJson, readShippedLog } from './quality-harness.ts';
import { actionRecord, Stream } from './support/stream.ts';
import { fakeScorer } from './support/fake-scorer.ts';
import { randomFrom } from './support/random.ts';
import { tempDir } from './support/temp-dir.ts';

const NAMED = { outcomes: ['click'], actionTypes: ['view', 'like'] };
const NAMES = ['intent:click', 'propensity:view', 'propensity:like'];

function scoreOf(length: number, view: number, finite = true): Score {
  const intent = [Float32Array.of(length * 0.6, length * 0.8)];
  return { hidden: new Float32Array(1), intent, propensity: Float32Array.of(view, 1 - view), withVector: 0, finite };
}

/** Scores whose lengths and propensities are drawn; `shift` moves both. */
function drawn(count: number, seed: number, shift = 0): Score[] {
  const random = randomFrom(seed);
  return Array.from({ length: count }, () => scoreOf(random() + shift, Math.min(1, random() * 0.5 + shift / 2)));
}

function distributionOf(scores: readonly Score[]): ScoreDistribution {
  const sample = new ScoreSample(NAMED);
  for (const score of scores) sample.add(score);
  return sample.distribution();
}

const indicesOf = (drift: ScoreDrift): Record<string, number> =>
  Object.fromEntries(Array.from(drift.indices(), ({ quantity, index }) => [quantity, index]));

describe('a distribution', () => {
  it('has a tenth of the scores in each bucket', () => {
    const { count, quantities } = distributionOf(drawn(20_000, 1));
    expect(count).toBe(20_000);
    expect(quantities.map(({ name }) => name)).toEqual(NAMES);
    for (const { edges, shares } of quantities) {
      expect(edges).toHaveLength(9);
      for (const share of shares) expect(share).toBeCloseTo(0.1, 3);
    }
    expect(quantities[0]!.edges[4]).toBeCloseTo(0.5, 1);
  });

  it('of any scores has ascending edges, and shares that add up to 1', () => {
    const scores = fc.array(fc.tuple(fc.constantFrom(0, 0.5, 0.5, 1, 3), fc.double({ min: 0, max: 1, noNaN: true })), {
      minLength: 1,
      maxLength: 60,
    });
    fc.assert(
      fc.property(scores, (pairs) => {
        for (const { edges, shares } of distributionOf(pairs.map((pair) => scoreOf(...pair))).quantities) {
          expect(shares).toHaveLength(edges.length + 1);
          expect(edges).toEqual([...new Set(edges)].sort((a, b) => a - b));
          expect(shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 4);
          expect(shares[0]).toBeGreaterThan(0); // a bucket that can hold nothing says nothing
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('leaves out what is always the same, and scores that are not finite', () => {
    const same = distributionOf([...drawn(50, 2)].map(({ intent }) => ({ ...scoreOf(1, 0.25), intent })));
    expect(same.quantities.map(({ name }) => name)).toEqual(['intent:click']);
    expect(distributionOf([scoreOf(1, 0.5), scoreOf(0, 0, false), scoreOf(2, 0.5)]).count).toBe(2);
  });

  it('of more scores than are kept is that of a fair sample', () => {
    const ascending = Array.from({ length: 150_000 }, (_, n) => scoreOf(1 + n / 150_000, 0.5));
    const [{ edges }] = distributionOf(ascending).quantities as [ScoreDistribution['quantities'][number]];
    for (const [at, edge] of edges.entries()) expect(edge).toBeCloseTo(1 + (at + 1) / 10, 1);
  });
});

describe('the stability index', () => {
  it('is 0 where the shares are the same, and grows as they part', () => {
    const shares = [0.25, 0.25, 0.5];
    expect(stabilityIndex(Uint32Array.of(250, 250, 500), shares)).toBeCloseTo(0, 10);
    const moved = stabilityIndex(Uint32Array.of(300, 300, 400), shares);
    expect(moved).toBeCloseTo(2 * 0.05 * Math.log(1.2) + 0.1 * Math.log(1.25), 3);
    expect(stabilityIndex(Uint32Array.of(0, 0, 1_000), shares)).toBeGreaterThan(moved);
  });

  it('is never below 0 and always finite', () => {
    const cases = fc.array(fc.tuple(fc.nat(10_000), fc.nat(1_000)), { minLength: 2, maxLength: 20 });
    fc.assert(
      fc.property(cases, (pairs) => {
        const total = pairs.reduce((sum, [, weight]) => sum + weight, 0) + 1e-9;
        const index = stabilityIndex(
          Uint32Array.from(pairs, ([count]) => count),
          pairs.map(([, weight]) => weight / total),
        );
        expect(index).toBeGreaterThanOrEqual(-1e-12);
        expect(Number.isFinite(index)).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('drift', () => {
  const trained = distributionOf(drawn(20_000, 1));

  it('is small for scores as at training, great for others, and follows the newest', () => {
    const drift = new ScoreDrift(NAMED, trained);
    for (const score of drawn(999, 3)) drift.add(score);
    expect(indicesOf(drift)).toEqual({}); // too few to say anything
    for (const score of drawn(9_001, 4)) drift.add(score);
    for (const name of NAMES) expect(indicesOf(drift)[name]).toBeLessThan(0.01);
    for (const score of drawn(20_000, 5, 0.2)) drift.add(score);
    for (const name of NAMES) expect(indicesOf(drift)[name]).toBeGreaterThan(0.25);
    for (const score of drawn(10_000, 6)) drift.add(score);
    for (const name of NAMES) expect(indicesOf(drift)[name]).toBeLessThan(0.01);
    drift.add(scoreOf(NaN, NaN, false));
    expect(drift.compared).toBe(40_000);
  });

  it('is a metric of the worker that serves a model whose card has the distribution', async () => {
    const reports: WorkerReport[] = [];
    const observer = new WorkerObserver({ worker: 0, stallMs: 1e6, send: (report) => reports.push(report) });
    const scores = drawn(1_200, 7, 0.2);
    const scorer: Scorer = { ...fakeScorer(), ...NAMED, trainedScores: trained, fold: async () => scores };
    expect(await observer.watchScores(scorer).fold([])).toBe(scores);
    await observer.close();
    const values = (name: string): unknown => reports.at(-1)!.metrics.find((metric) => metric.name === name)?.values;
    expect(values('freshet_scores_compared_total')).toMatchObject([{ value: 1_200 }]);
    expect(values('freshet_score_drift_index')).toMatchObject(
      NAMES.map((quantity) => ({ labels: { quantity }, value: expect.any(Number) as number })),
    );
  });

  it('is not told where the card is silent', () => {
    const observer = new WorkerObserver({ worker: 0, stallMs: 1e6, send: () => undefined });
    const scorer = fakeScorer();
    expect(observer.watchScores(scorer)).toBe(scorer);
    return observer.close();
  });

  it('changes no byte of the features', async () => {
    const observer = new WorkerObserver({ worker: 0, stallMs: 1e6, send: () => undefined });
    const quantities = [{ name: 'propensity:view', edges: [0.5], shares: [0.5, 0.5] }];
    const own = fakeScorer();
    const watched = observer.watchScores({ ...own, trainedScores: { count: 1, quantities } });
    const features = [];
    for (const scorer of [own, watched]) {
      const stream = await Stream.open({}, { scorer });
      const actions = Array.from({ length: 60 }, (_, n) => ({ userId: `user-${n % 7}`, eventTimeMs: 1_000 * n }));
      await stream.append(...actions.map(actionRecord));
      await stream.run();
      features.push(await stream.newestFeatures());
      await stream.close();
    }
    await observer.close();
    expect(features[0]!.size).toBe(7);
    expect(features[1]).toEqual(features[0]);
  });
});

describe('a card', () => {
  const load = (scores: object): Promise<Scorer> => {
    const folder = join(tempDir(), 'model');
    cpSync(packagePath('test', 'fixtures', 'intent', 'small'), folder, { recursive: true });
    const card = JSON.parse(readFileSync(join(folder, 'card.json'), 'utf8')) as object;
    writeFileSync(join(folder, 'card.json'), JSON.stringify({ ...card, scores }));
    return OnnxScorer.load(folder);
  };
  const known = { name: 'intent:click', edges: [1, 2], shares: [0.2, 0.3, 0.5] };

  it('hands the distribution to the scorer, and it does not change the scorer’s hash', async () => {
    const scorer = await load({ count: 10, quantities: [known] });
    expect(scorer.trainedScores?.quantities).toEqual([known]);
    expect(scorer.hash).toBe((await OnnxScorer.load(packagePath('test', 'fixtures', 'intent', 'small'))).hash);
  });

  it.each([
    ['a quantity that the model does not have', { ...known, name: 'intent:buy' }, 'intent:buy is none of intent:click'],
    ['edges out of order', { ...known, edges: [2, 1] }, 'scores.quantities.0.edges: is not ascending'],
    ['a share too few', { ...known, shares: [0.5, 0.5] }, 'scores.quantities.0: needs one share more'],
    ['shares of more than everything', { ...known, shares: [0.5, 0.5, 0.5] }, 'do not add up to 1'],
  ])('with %s is refused', async (_name, quantity, problem) => {
    const message = expect.stringContaining(problem) as string;
    const refused = { code: 'MODEL_INVALID', message };
    await expect(load({ count: 10, quantities: [quantity] })).rejects.toMatchObject(refused);
  });
});

it('the shipped card has the distribution of the shipped model before the cut, seen on a quarter of the users', async () => {
  const scorer = await OnnxScorer.load(packagePath('models', 'intent'));
  const { trainedOn } = readModelJson<{ trainedOn: { toExclusive: string } }>('intent', 'card.json');
  const { quantities } = scorer.trainedScores!;
  const names = quantityNames(scorer);
  expect(quantities.map(({ name }) => name)).toEqual(names);
  const counts = quantities.map(({ shares }) => new Uint32Array(shares.length));
  const values = new Float64Array(names.length);
  let scored = 0;
  for await (const score of scoresBefore(Date.parse(trainedOn.toExclusive), scorer)) {
    scored += 1;
    quantitiesOf(score, values);
    for (const [at, { edges }] of quantities.entries()) counts[at]![bucketOf(values[at]!, edges)]! += 1;
  }
  const indices = quantities.map(({ shares }, at) => stabilityIndex(counts[at]!, shares));
  console.info(`${scored} scores; largest index ${Math.max(...indices).toFixed(4)}`);
  expect(scored).toBeGreaterThan(10_000);
  expect(Math.max(...indices)).toBeLessThan(0.05);
}, 120_000);

/** The score after each action of a quarter of the users, under the item vectors of the day. */
async function* scoresBefore(endMs: number, scorer: Scorer): AsyncGenerator<Score> {
  const items = new ItemVectorBuilder((await readRecipes()).items);
  const vectors = new Map<string, ItemVector>();
  const table = { version: 'of the day', vector: (itemId: string) => vectors.get(itemId) };
  const states = new Map<string, UserState>();
  const log = readShippedLog().filter(({ eventTimeMs }) => eventTimeMs < endMs);
  for (const actions of Map.groupBy(log, ({ eventTimeMs }) => Math.floor(eventTimeMs / DAY_MS)).values()) {
    for (const [itemId, values] of items.takeChanged()) vectors.set(itemId, { values, scale: ITEM_VECTOR_SCALE });
    const rows = [];
    for (const { userId, surface, ...rest } of actions) {
      const record = { kind: 'action', offset: 0, arrivalTimeMs: rest.eventTimeMs } as const;
      const action = { ...rest, surface: surface ?? '' };
      const { state, outcome } = reduce(
        states.get(userId) ?? null,
        { ...record, offset: (states.get(userId)?.version ?? -1) + 1, action },
        { userId, partition: 0 },
        LAYOUT,
      );
      if (state === null || outcome !== 'accepted') continue;
      states.set(userId, state);
      items.add(userId, action.itemId, action.actionType);
      const { window } = state.sequences[LAYOUT.scored]!;
      if ((murmur2(Buffer.from(userId)) & 3) !== 0) continue;
      rows.push({ hidden: null, previousEventTimeMs: null, actions: window, table });
    }
    if (rows.length > 0) yield* await scorer.fold(rows);
  }
}
