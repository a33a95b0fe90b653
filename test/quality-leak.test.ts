/** The leak check: if a request were given another user's intent, the gain must go. What remains would be a leak. */
import { expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { OnnxScorer } from '../src/intent/onnx-scorer.ts';
import type { FoldRow, Score, Scorer } from '../src/intent/scorer.ts';
import { evaluate } from '../src/quality/evaluate.ts';
import { Rankers } from '../src/quality/rankers.ts';
import { readRecipes } from '../src/vectors/recipes.ts';
import { LAYOUT, readShippedLog } from './quality-harness.ts';

it('a stranger’s intent is worth nothing', async () => {
  const own = await OnnxScorer.load(packagePath('models', 'intent'));
  const swapped = { rows: 0 };
  const { quality } = await evaluate({
    actions: readShippedLog(),
    scorer: ofStrangers(own, swapped),
    rankers: await Rankers.load(),
    recipes: await readRecipes(),
    layout: LAYOUT,
  });
  const gain = quality.differences.find(
    ({ arm, other, metric }) => arm === 'np+intent' && other === 'np' && metric === 'mrr',
  )!;
  console.info(
    `np+intent of strangers - np: ${gain.mean.toFixed(4)} [${gain.low.toFixed(4)}, ${gain.high.toFixed(4)}]`,
  );
  expect(swapped.rows).toBeGreaterThan(0.95 * quality.requests);
  expect(gain.low).toBeLessThanOrEqual(0);
}, 120_000);

/** Gives each row the score of a row further on that is not of the same user: windows of one user share an action. */
function ofStrangers(own: Scorer, swapped: { rows: number }): Scorer {
  return {
    hash: own.hash,
    space: own.space,
    dimension: own.dimension,
    hiddenSize: own.hiddenSize,
    outcomes: own.outcomes,
    actionTypes: own.actionTypes,
    async fold(rows: readonly FoldRow[]): Promise<Score[]> {
      const scores = await own.fold(rows);
      return rows.map((row, index) => {
        const held = new Set(row.actions);
        for (let step = 0; step < rows.length; step += 1) {
          const other = (index + Math.floor(rows.length / 2) + step) % rows.length;
          if (rows[other]!.actions.some((action) => held.has(action))) continue;
          swapped.rows += 1;
          return scores[other]!;
        }
        throw new Error('a batch has requests of one user only');
      });
    },
  };
}
