/** Actions -> cells of the model's inputs. */
import { FreshetError } from '../base/errors.ts';
import type { Action } from '../../state/action.ts';
import { writeItemVector, type ItemTable } from './item-table.ts';
import type { ModelInputs } from './model-session.ts';

/** The indices a model was trained with: 0 is unknown or missing, entry n of a list is n + 1. */
export interface Vocabulary {
  readonly actionTypes: readonly string[];
  readonly surfaces: readonly string[];
  /** Ascending. A gap's bucket is 1 + the number of bounds it reaches; 0 is the first action of a window. */
  readonly gapBoundsSeconds: readonly number[];
}

/** Part of one row that goes into one call. */
export interface Span {
  readonly actions: readonly Action[];
  readonly from: number;
  readonly steps: number;
  readonly table: ItemTable;
  /** Event time of the action before `from`; null: there is none. */
  readonly previousEventTimeMs: number | null;
}

export class ActionEncoder {
  readonly #dimension: number;
  readonly #actionTypes: ReadonlyMap<string, number>;
  readonly #surfaces: ReadonlyMap<string, number>;
  readonly #gapBoundsMs: readonly number[];

  constructor(dimension: number, vocabulary: Vocabulary) {
    this.#dimension = dimension;
    this.#actionTypes = indices(vocabulary.actionTypes);
    this.#surfaces = indices(vocabulary.surfaces);
    this.#gapBoundsMs = vocabulary.gapBoundsSeconds.map((seconds) => seconds * 1_000);
  }

  /** Writes a span into column `row` of a cleared call of `size` rows; returns how many of its items have a vector. */
  write(inputs: ModelInputs, span: Span, row: number, size: number): number {
    const { hasVector, actionTypes, surfaces, gaps } = inputs;
    let previousMs = span.previousEventTimeMs;
    let withVector = 0;
    for (let step = 0; step < span.steps; step += 1) {
      const action = span.actions[span.from + step];
      if (action === undefined) throw new FreshetError('INTERNAL', 'a span ends after its actions');
      const cell = step * size + row;
      if (writeItemVector(inputs.itemVectors, cell, action.itemId, span.table, this.#dimension)) {
        hasVector[cell] = 1;
        withVector += 1;
      }
      actionTypes[cell] = this.#actionTypes.get(action.actionType) ?? 0;
      surfaces[cell] = this.#surfaces.get(action.surface) ?? 0;
      gaps[cell] = previousMs === null ? 0 : this.#gapBucket(action.eventTimeMs - previousMs);
      previousMs = action.eventTimeMs;
    }
    inputs.lengths[row] = span.steps;
    return withVector;
  }

  #gapBucket(gapMs: number): number {
    const bounds = this.#gapBoundsMs;
    let bucket = 1;
    while (bucket <= bounds.length && gapMs >= (bounds[bucket - 1] ?? 0)) bucket += 1;
    return bucket;
  }
}

const indices = (names: readonly string[]): ReadonlyMap<string, number> =>
  new Map(names.map((name, index) => [name, index + 1]));
