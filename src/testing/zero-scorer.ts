/** A stand-in where no model is needed: every score is zeros. Its hash says so, and stands in the scorer hash of what it scored. */
import type { Score, Scorer } from '../intent/scorer.ts';

export const ZERO_SCORER_HASH = 'zeros';

const DIMENSION = 1;
const OUTCOMES = ['click', 'save'];

export function zeroScorer(actionTypes: readonly string[]): Scorer {
  const zeros = (): Float32Array => new Float32Array(DIMENSION);
  return {
    hash: ZERO_SCORER_HASH,
    space: 'zeros',
    dimension: DIMENSION,
    hiddenSize: DIMENSION,
    outcomes: OUTCOMES,
    actionTypes,
    fold: async (rows) =>
      rows.map(({ actions, table }): Score => ({
        hidden: zeros(),
        intent: OUTCOMES.map(zeros),
        propensity: new Float32Array(actionTypes.length),
        withVector: actions.filter(({ itemId }) => table.vector(itemId) !== undefined).length,
        finite: true,
      })),
  };
}
