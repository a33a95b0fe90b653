/**
 * The scorer port: a recurrent fold over a user's window. hidden = fold(zeros, window) under one item-vector table, so
 * a score is a function of window, table and model alone.
 */
import type { Action } from '../../state/action.ts';
import type { ItemTable } from './item-table.ts';
import type { ScoreDistribution } from './score-distribution.ts';

/** One user's turn: fold `actions` (oldest first, at least one) into `hidden`. */
export interface FoldRow {
  /** The hidden state so far [H]; null starts from zeros. */
  readonly hidden: Float32Array | null;
  /** Event time of the action folded last; null when `hidden` is null: the first action then has no gap. */
  readonly previousEventTimeMs: number | null;
  readonly actions: readonly Action[];
  readonly table: ItemTable;
}

export interface Score {
  /** [H] after the last action. */
  readonly hidden: Float32Array;
  /** [O][D], in the space of the item vectors; the order of O is the scorer's `outcomes`. */
  readonly intent: readonly Float32Array[];
  /** [A] probabilities of the next action's type, in the order of the scorer's `actionTypes`. */
  readonly propensity: Float32Array;
  /** How many of the row's actions have an item vector. */
  readonly withVector: number;
  /**
   * False: the model gave a number that is not finite. `hidden`, `intent` and `propensity` are zeros then, and `hidden`
   * must not be continued from: fold the whole window at the next action.
   */
  readonly finite: boolean;
}

export interface Scorer {
  /** Model, configuration and the fixture's output on this machine, hashed: equal hashes compare bit for bit. */
  readonly hash: string;
  /** The space the item vectors must share, e.g. `deskdrop-ri48-1`. */
  readonly space: string;
  readonly dimension: number;
  readonly hiddenSize: number;
  readonly outcomes: readonly string[];
  readonly actionTypes: readonly string[];
  /** How the scores were distributed at training, as the card says; undefined: it does not. */
  readonly trainedScores?: ScoreDistribution | undefined;
  /** Scores each row; the result does not depend on which rows share the call, nor on how a window is cut in steps. */
  fold(rows: readonly FoldRow[]): Promise<Score[]>;
}
