/** The shipped model: complete, the same as in training, independent of the batch, and fast enough. */
import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { OnnxScorer } from '../src/intent/onnx-scorer.ts';
import { readModelFolder } from '../src/intent/model-card.ts';
import { ModelSession } from '../src/intent/model-session.ts';
import { checkParity } from '../src/intent/parity.ts';
import { proveBatchInvariance } from '../src/intent/batch-invariance.ts';
import type { Scorer } from '../src/intent/scorer.ts';
import { foldOne, scoreBits, smallTable, wholeWindow } from './fixtures/intent/rows.ts';

const FOLDER = packagePath('models', 'intent');

let scorer: Scorer;

beforeAll(async () => {
  scorer = await OnnxScorer.load(FOLDER);
});

describe('the shipped intent model', () => {
  it('is vouched for by its card: better than the non-personal baseline, the interval without 0', async () => {
    const { card } = await readModelFolder(FOLDER);
    const gain = card.quality.differences.find(({ arm }) => arm === 'np+intent - np');
    expect(gain?.low).toBeGreaterThan(0);
    expect(card.trainedOn.toExclusive <= '2016-12-01T00:00:00Z').toBe(true);
  });

  it('gives what training gave, within 1e-5, at every position of every batch size', async () => {
    const { model, shape, parity } = await readModelFolder(FOLDER);
    const session = await ModelSession.open(model, shape);
    expect(parity.length).toBeGreaterThanOrEqual(30);
    expect(await checkParity(session, parity)).toHaveLength(3 * parity.length);
    // More than at load: longer sequences, and more of them side by side.
    await expect(proveBatchInvariance(session, parity, { sequences: 6, steps: 20 })).resolves.toBeUndefined();
  });

  it('knows the default action types', () => {
    const types = ['view', 'like', 'bookmark', 'comment', 'follow', 'unlike', 'unbookmark', 'unfollow'];
    expect(scorer.actionTypes).toEqual(types);
    expect(scorer.outcomes).toEqual(['click', 'save']);
  });

  it('folds a commit in calls that are short, at a rate that leaves room', async () => {
    const table = smallTable(scorer.dimension);
    const actions = Array.from({ length: 100 }, (_, n) => ({
      eventTimeMs: n * 60_000,
      itemId: `item-${n % 50}`,
      actionType: 'view',
      surface: 'web',
    }));
    const rows = Array.from({ length: 512 }, () => wholeWindow(actions, table));
    await scorer.fold(rows);
    const from = process.cpuUsage();
    const scores = await scorer.fold(rows);
    const { user, system } = process.cpuUsage(from);
    const stepsPerCpuSecond = (rows.length * actions.length) / ((user + system) / 1e6);
    // A quarter of what a quiet core does: machines that share their caches must pass, a tenfold regression must not.
    expect(stepsPerCpuSecond).toBeGreaterThan(150_000);
    expect(new Set(scores.map(scoreBits)).size).toBe(1);
    expect(scoreBits(scores[0]!)).toBe(scoreBits(await foldOne(scorer, rows[0]!)));
  });
});
