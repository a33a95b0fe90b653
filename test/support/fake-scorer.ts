/** A scorer without a model: a small recurrence in plain arithmetic, as sensitive to order and vectors as a real one. */
import type { FoldRow, Score, Scorer } from '../../src/intent/scorer.ts';

const HIDDEN = 4;
const DIMENSION = 4;

export interface FakeScorerOptions {
  /** Items whose fold gives no finite number. */
  readonly poison?: string;
}

export function fakeScorer({ poison }: FakeScorerOptions = {}): Scorer & { foldedSteps: number } {
  return {
    hash: 'fake-scorer',
    space: 'test-space',
    dimension: DIMENSION,
    hiddenSize: HIDDEN,
    outcomes: ['click', 'save'],
    actionTypes: ['view', 'like'],
    foldedSteps: 0,
    async fold(rows: readonly FoldRow[]): Promise<Score[]> {
      return rows.map((row) => {
        this.foldedSteps += row.actions.length;
        return foldOne(row, poison);
      });
    },
  };
}

function foldOne({ hidden: start, previousEventTimeMs, actions, table }: FoldRow, poison: string | undefined): Score {
  const hidden = Float32Array.from(start ?? new Float32Array(HIDDEN));
  let previousMs = previousEventTimeMs;
  let withVector = 0;
  let finite = true;
  for (const action of actions) {
    const vector = table.vector(action.itemId);
    if (vector !== undefined) withVector += 1;
    if (action.itemId === poison) finite = false;
    const gap = previousMs === null ? 0 : Math.min(9, action.eventTimeMs - previousMs);
    const sum = action.actionType.length + 3 * action.surface.length + gap + action.itemId.charCodeAt(0);
    for (let at = 0; at < HIDDEN; at += 1) {
      hidden[at] = hidden[at]! * 0.75 + sum * (at + 1) + (vector?.values[at] ?? 0);
    }
    previousMs = action.eventTimeMs;
  }
  if (!finite) {
    const zeros = (count: number): Float32Array => new Float32Array(count);
    return { hidden: zeros(HIDDEN), intent: [zeros(4), zeros(4)], propensity: zeros(2), withVector, finite };
  }
  return {
    hidden,
    intent: [hidden.map((value) => value * 0.5), hidden.map((value) => -value)],
    propensity: Float32Array.of(0.25, 0.75),
    withVector,
    finite,
  };
}
