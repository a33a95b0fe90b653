/** The quality of the shipped models on the shipped log, measured live, and requests that stand at its end. */
import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { OnnxScorer } from '../src/intent/onnx-scorer.ts';
import type { Scorer } from '../src/intent/scorer.ts';
import { evaluate, type Evaluation } from '../src/quality/evaluate.ts';
import { METRICS } from '../src/quality/metrics.ts';
import { rankForUser, withAction, type UserRankingOptions } from '../src/quality/rank-for-user.ts';
import { RANKER_FEATURES, Rankers } from '../src/quality/rankers.ts';
import { ReferenceRanker } from '../src/quality/reference-ranker.ts';
import { readRecipes, type Recipes } from '../src/vectors/recipes.ts';
import { LAYOUT, readModelJson, readShippedLog } from './quality-harness.ts';

const log = readShippedLog();
const TRAINED = readModelJson<{
  split: { cut: string };
  requests: number;
  users: number;
  candidatesPerRequest: number;
  targetShares: { notAmongCandidates: number; withoutVector: number };
  arms: { arm: string; mrr: Seeds; recall10: Seeds; ndcg10: Seeds }[];
}>('quality.json');
interface Seeds {
  /** The shipped rankers are those of the first seed. */
  readonly seeds: readonly number[];
}

let models: { scorer: Scorer; rankers: Rankers; reference: ReferenceRanker };
let recipes: Recipes;
let evaluation: Evaluation;
let cpuSeconds: number;
const progress: { actions: number; requests: number }[] = [];

beforeAll(async () => {
  const scorer = await OnnxScorer.load(packagePath('models', 'intent'));
  models = { scorer, rankers: await Rankers.load(), reference: await ReferenceRanker.load() };
  recipes = await readRecipes();
  const from = process.cpuUsage();
  evaluation = await evaluate({
    ...models,
    actions: log,
    layout: LAYOUT,
    recipes,
    onProgress: (each) => progress.push(each),
  });
  const { user, system } = process.cpuUsage(from);
  cpuSeconds = (user + system) / 1e6;
}, 120_000);

describe('the shipped models on the shipped log', () => {
  it('are measured on the same requests as in training, after the cut', () => {
    const { quality } = evaluation;
    expect(quality.fromMs).toBe(Date.parse(TRAINED.split.cut));
    expect([quality.requests, quality.users]).toEqual([TRAINED.requests, TRAINED.users]);
    expect(quality.candidatesPerRequest).toBeCloseTo(TRAINED.candidatesPerRequest, 0);
    expect(Math.abs(quality.targetsWithoutVector - TRAINED.targetShares.withoutVector)).toBeLessThan(5e-4);
    expect(Math.abs(quality.touchesOutsideCandidates - TRAINED.targetShares.notAmongCandidates)).toBeLessThan(5e-4);
  });

  it('are as good as training says: each metric of each arm within 0.0005', () => {
    expect(evaluation.quality.arms).toHaveLength(4);
    for (const found of evaluation.quality.arms) {
      const trained = TRAINED.arms.find(({ arm }) => arm === found.arm)!;
      for (const metric of METRICS)
        expect(Math.abs(found[metric] - trained[metric].seeds[0]!)).toBeLessThanOrEqual(5e-4);
    }
  });

  it('gain by what they know of the user: the intervals of MRR exclude 0', () => {
    for (const arm of ['np+longterm', 'np+intent', 'hybrid'] as const) {
      const gain = differenceOf(evaluation, arm);
      console.info(`${arm} - np: ${gain.mean.toFixed(4)} [${gain.low.toFixed(4)}, ${gain.high.toFixed(4)}]`);
      expect(gain.low).toBeGreaterThan(0);
      expect(gain.mean).toBeGreaterThan(gain.low);
      expect(gain.high).toBeGreaterThan(gain.mean);
    }
  });

  it('are measured within 15 s of one core, with progress', () => {
    console.info(`evaluate: ${cpuSeconds.toFixed(1)} s of CPU`);
    expect(cpuSeconds).toBeLessThan(15);
    expect(progress.at(-1)).toEqual({ actions: log.length, requests: TRAINED.requests });
    expect(progress.length).toBeGreaterThan(10);
  });
});

describe('a log that cannot be measured', () => {
  it.each([
    ['out of order', log.slice(0, 10).reverse(), 'order of event time'],
    ['over before the cut', log.slice(0, 10), 'no request'],
    ['all at one time', Array.from({ length: 100_001 }, () => log[0]!), 'one event time'],
  ])('is refused: %s', async (_name, actions, message) => {
    const refusal = { code: 'INPUT_MALFORMED', message: expect.stringContaining(message) as string };
    await expect(evaluate({ ...models, actions, layout: LAYOUT, recipes })).rejects.toMatchObject(refusal);
  });
});

describe('a request at the end of the log', () => {
  const userId = log.at(-1)!.userId;
  const options = (): UserRankingOptions => ({
    ...models,
    layout: LAYOUT,
    popularity: evaluation.end.popularity,
    table: evaluation.end.table,
    state: evaluation.end.state(userId)!,
    longTerm: evaluation.end.longTerm(userId),
    timeMs: evaluation.end.popularity.newestEventTimeMs + 1_000,
    top: Infinity,
  });

  it('ranks what the user has not seen, best first, without and with realtime', async () => {
    const ranking = await rankForUser(options());
    const seen = new Set(options().state.sequences[0]!.window.map(({ itemId }) => itemId));
    expect(ranking.candidates).toBeGreaterThan(10);
    for (const list of [ranking.withoutRealtime, ranking.withRealtime]) {
      expect(list).toHaveLength(ranking.candidates);
      expect(list.filter(({ itemId }) => seen.has(itemId))).toEqual([]);
      expect(list.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 6);
      expect(list.map(({ score }) => score)).toEqual(list.map(({ score }) => score).toSorted((a, b) => b - a));
    }
    const ids = (list: readonly { itemId: string }[]): string[] => list.map(({ itemId }) => itemId);
    expect(ids(ranking.withRealtime)).not.toEqual(ids(ranking.withoutRealtime));
    const short = await rankForUser({ ...options(), top: 5 });
    expect(short.withRealtime).toEqual(ranking.withRealtime.slice(0, 5));
  });

  it('is ranked by the reference ranker on top of the hybrid’s score', async () => {
    const { candidates, withRealtime } = await rankForUser(options());
    const given: { candidates: readonly string[]; features: number; base: Float32Array; head: string }[] = [];
    const { baseArm, space } = models.reference;
    const reference = {
      ...{ baseArm, space },
      score: (...[request, features, base, head]: Parameters<ReferenceRanker['score']>): Promise<Float32Array> => {
        given.push({ candidates: request.candidates, features: features.length, base, head });
        return Promise.resolve(base);
      },
    };
    const below = await rankForUser({ ...options(), reference });
    expect(given).toMatchObject([{ features: candidates * RANKER_FEATURES.length, head: 'click' }]);
    const scores = new Map(given[0]!.candidates.map((itemId, at) => [itemId, given[0]!.base[at]!]));
    for (const { itemId, score } of below.withRealtime) expect(score).toBe(scores.get(itemId));
    expect(withRealtime.map(({ score }) => score)).not.toEqual(below.withRealtime.map(({ score }) => score));
    await expect(rankForUser({ ...options(), reference: { ...reference, space: 'another' } })).rejects.toMatchObject({
      code: 'SPACE_MISMATCH',
      message: expect.stringContaining('another') as string,
    });
  });

  it('shows what one more action changes: the item is seen, the intent moves, nothing else does', async () => {
    const before = await rankForUser(options());
    const { itemId } = before.withoutRealtime.at(-1)!;
    const action = {
      itemId,
      actionType: 'like',
      eventTimeMs: evaluation.end.popularity.newestEventTimeMs + 500,
      surface: 'web',
    };
    const after = await rankForUser({ ...options(), state: withAction(options().state, action, LAYOUT) });
    expect(after.candidates).toBe(before.candidates - 1);
    const scores = new Map(before.withoutRealtime.map((item) => [item.itemId, item.score]));
    for (const item of after.withoutRealtime) expect(item.score).toBeCloseTo(scores.get(item.itemId)!, 4);
    const realtime = new Map(before.withRealtime.map((item) => [item.itemId, item.score]));
    const moved = after.withRealtime.filter((item) => Math.abs(item.score - realtime.get(item.itemId)!) > 1e-3);
    expect(moved.length).toBeGreaterThan(after.candidates / 2);
    expect((await rankForUser(options())).withRealtime).toEqual(before.withRealtime);
  });

  it('refuses an action that the reducer would not take, and a request before the end', async () => {
    const held = options().state.sequences[0]!.window.at(-1)!;
    expect(() => withAction(options().state, held, LAYOUT)).toThrow(/INPUT_MALFORMED|takes it as duplicate/);
    await expect(
      rankForUser({ ...options(), timeMs: evaluation.end.popularity.newestEventTimeMs }),
    ).rejects.toMatchObject({
      code: 'INTERNAL',
    });
  });

  it('works for a user who never acted on anything with a vector', async () => {
    const ranking = await rankForUser({ ...options(), longTerm: null, top: 3 });
    expect(ranking.withoutRealtime).toHaveLength(3);
  });
});

function differenceOf({ quality }: Evaluation, arm: string) {
  return quality.differences.find((each) => each.arm === arm && each.other === 'np' && each.metric === 'mrr')!;
}
