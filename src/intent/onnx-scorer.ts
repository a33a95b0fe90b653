/** The scorer port on onnxruntime-node. */
import { createHash } from 'node:crypto';
import { FreshetError, invariant } from '../base/errors.ts';
import { ActionEncoder } from './action-encoder.ts';
import { proveBatchInvariance } from './batch-invariance.ts';
import { cardSemantics, readModelFolder, type ModelCard } from './model-card.ts';
import { ModelSession, type ModelOutputs, type ModelRunner } from './model-session.ts';
import { packBatches, PACKING_VERSION, STEPS_MAX, type Batch } from './packing.ts';
import { checkParity } from './parity.ts';
import type { ScoreDistribution } from './score-distribution.ts';
import { softmax } from './softmax.ts';
import type { FoldRow, Score, Scorer } from './scorer.ts';

/** A row on its way: rows longer than a call may be are folded in several, the hidden state carried. */
interface Turn {
  readonly row: FoldRow;
  readonly index: number;
  from: number;
  hidden: Float32Array | null;
  previousEventTimeMs: number | null;
  withVector: number;
}

export class OnnxScorer implements Scorer {
  readonly hash: string;
  readonly space: string;
  readonly dimension: number;
  readonly hiddenSize: number;
  readonly outcomes: readonly string[];
  readonly actionTypes: readonly string[];
  readonly trainedScores: ScoreDistribution | undefined;
  readonly #model: ModelRunner;
  readonly #encoder: ActionEncoder;
  /** Calls share the model's buffers, so folds wait for one another; as many wait as there are tasks. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(model: ModelRunner, card: ModelCard, hash: string) {
    this.hash = hash;
    this.space = card.itemVectorSpace;
    this.dimension = card.dims.D;
    this.hiddenSize = card.dims.H;
    this.outcomes = card.outcomes;
    this.actionTypes = card.actionTypes;
    this.trainedScores = card.scores;
    this.#model = model;
    this.#encoder = new ActionEncoder(card.dims.D, card);
  }

  /**
   * Loads the ONNX file, its card (card.json) and its parity fixture from a folder. MODEL_INVALID, naming what is wrong, unless
   * the card is complete, the hashes agree, the fixture comes out within 1e-5 and results do not depend on the batch.
   * One load a process: sessions that are created again leak memory.
   */
  static async load(folder: string): Promise<Scorer> {
    const { card, model, shape, parity } = await readModelFolder(folder);
    const session = await ModelSession.open(model, shape);
    const hash = createHash('sha256').update(`${card.sha256}\n${cardSemantics(card)}\n${PACKING_VERSION}\n`);
    for (const bytes of await checkParity(session, parity)) hash.update(bytes);
    await proveBatchInvariance(session, parity);
    return new OnnxScorer(session, card, hash.digest('hex').slice(0, 16));
  }

  fold(rows: readonly FoldRow[]): Promise<Score[]> {
    const folded = this.#turn.then(() => this.#fold(rows));
    this.#turn = folded.catch(() => undefined); // the caller of that fold has the error; the next one starts afresh
    return folded;
  }

  async #fold(rows: readonly FoldRow[]): Promise<Score[]> {
    const scores: Score[] = [];
    let pending = rows.map((row, index) => this.#begin(row, index));
    while (pending.length > 0) {
      const lengths = pending.map((turn) => Math.min(turn.row.actions.length - turn.from, STEPS_MAX));
      for (const batch of packBatches(lengths)) await this.#foldBatch(batch, pending, lengths, scores);
      pending = pending.filter((turn) => turn.from < turn.row.actions.length);
    }
    return scores;
  }

  #begin(row: FoldRow, index: number): Turn {
    invariant(row.actions.length >= 1, 'a row to fold has no actions');
    invariant((row.hidden === null) === (row.previousEventTimeMs === null), 'hidden and previous time go together');
    invariant(row.hidden === null || row.hidden.length === this.hiddenSize, 'hidden has the size of another model');
    const { hidden, previousEventTimeMs } = row;
    return { row, index, from: 0, hidden, previousEventTimeMs, withVector: 0 };
  }

  async #foldBatch(batch: Batch, turns: readonly Turn[], lengths: readonly number[], scores: Score[]): Promise<void> {
    const model = this.#model;
    model.clear(batch.size, batch.steps);
    for (const [column, place] of batch.rows.entries()) {
      const turn = turns[place];
      const steps = lengths[place];
      if (turn === undefined || steps === undefined) throw new FreshetError('INTERNAL', 'a batch names no row');
      const { actions, table } = turn.row;
      const { from, previousEventTimeMs } = turn;
      const span = { actions, from, steps, table, previousEventTimeMs };
      turn.withVector += this.#encoder.write(model.inputs, span, column, batch.size);
      if (turn.hidden !== null) model.inputs.hidden.set(turn.hidden, column * this.hiddenSize);
    }
    const outputs = await model.run(batch.size, batch.steps);
    for (const [column, place] of batch.rows.entries()) {
      const turn = turns[place];
      if (turn === undefined) continue;
      turn.from += lengths[place] ?? 0;
      if (turn.from === turn.row.actions.length) {
        scores[turn.index] = this.#read(outputs, column, turn.withVector);
      } else {
        turn.hidden = outputs.hidden.slice(column * this.hiddenSize, (column + 1) * this.hiddenSize);
        turn.previousEventTimeMs = turn.row.actions[turn.from - 1]?.eventTimeMs ?? null;
      }
    }
  }

  #read(outputs: ModelOutputs, column: number, withVector: number): Score {
    const { hiddenSize, dimension } = this;
    const [intentSize, typeCount] = [this.outcomes.length * dimension, this.actionTypes.length];
    const row = new Float32Array(hiddenSize + intentSize + typeCount);
    copy(outputs.hidden, column * hiddenSize, hiddenSize, row, 0);
    copy(outputs.intent, column * intentSize, intentSize, row, hiddenSize);
    copy(outputs.propensity, column * typeCount, typeCount, row, hiddenSize + intentSize);
    const finite = allFinite(row);
    if (finite) softmax(row.subarray(hiddenSize + intentSize), row.subarray(hiddenSize + intentSize));
    else row.fill(0);
    return new ScoredRow(row, this, withVector, finite);
  }
}

/**
 * A score in one array, seen through views that are made when they are asked for: scores are kept beside their users,
 * and the views would take more memory than the numbers.
 */
class ScoredRow implements Score {
  readonly withVector: number;
  readonly finite: boolean;
  /** hidden [H], intent [O][D], propensity [A] */
  readonly #row: Float32Array;
  readonly #scorer: OnnxScorer;

  constructor(row: Float32Array, scorer: OnnxScorer, withVector: number, finite: boolean) {
    this.#row = row;
    this.#scorer = scorer;
    this.withVector = withVector;
    this.finite = finite;
  }

  get hidden(): Float32Array {
    return this.#row.subarray(0, this.#scorer.hiddenSize);
  }

  get intent(): readonly Float32Array[] {
    const { hiddenSize, dimension, outcomes } = this.#scorer;
    return outcomes.map((_, outcome) => {
      const start = hiddenSize + outcome * dimension;
      return this.#row.subarray(start, start + dimension);
    });
  }

  get propensity(): Float32Array {
    return this.#row.subarray(this.#row.length - this.#scorer.actionTypes.length);
  }
}

function copy(source: Float32Array, from: number, count: number, target: Float32Array, to: number): void {
  // Not `?? 0`: a number that may be missing is one on the heap, and these loops then fill it.
  for (let at = 0; at < count; at += 1) target[to + at] = source[from + at]!;
}

function allFinite(array: Float32Array): boolean {
  // x − x is 0 for a finite number and NaN for every other.
  for (let at = 0; at < array.length; at += 1) if (array[at]! - array[at]! !== 0) return false;
  return true;
}
