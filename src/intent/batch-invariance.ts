/**
 * The proof, at load, that a row's result depends on the row alone. A replay cuts batches elsewhere and must give the
 * same bits; whether a model does is a property of its operators, its shapes and this CPU, so it is tried here.
 */
import { FreshetError } from '../base/errors.ts';
import { BATCH_SIZES, type BatchSize } from './packing.ts';
import { bytesOf, readRow, writeStep, type ParitySequence } from './parity.ts';
import type { ModelOutputs, ModelRunner } from './model-session.ts';

export interface ProofSize {
  /** As many unlike rows as stand side by side; each takes every position of every batch size. */
  readonly sequences: number;
  /** Longer sequences are cut: a prefix of a sequence is a sequence. */
  readonly steps: number;
}
/** Every process that scores waits for it. */
const AT_LOAD: ProofSize = { sequences: 3, steps: 10 };
/** How many steps longer a padded call is than its longest row. */
const PADDING_STEPS = 5;

/** MODEL_INVALID names the sequence, position, batch size and output that differ from the same row elsewhere. */
export async function proveBatchInvariance(
  model: ModelRunner,
  fixture: readonly ParitySequence[],
  proof: ProofSize = AT_LOAD,
): Promise<void> {
  const sequences = spread(fixture, proof);
  let reference: readonly ModelOutputs[] | undefined;
  for (const size of BATCH_SIZES) {
    for (let shift = 0; shift < sequences.length; shift += 1) {
      const columns = Array.from({ length: size }, (_, row) => (row + shift) % sequences.length);
      const ways = [
        ['ragged', await runRagged(model, sequences, columns, size, 0)],
        ['with more padding', await runRagged(model, sequences, columns, size, PADDING_STEPS)],
        ['stepwise', await runStepwise(model, sequences, columns, size)],
      ] as const;
      reference ??= ways[0][1].slice(0, sequences.length);
      for (const [way, results] of ways) compare(reference, results, columns, `of ${size} rows, ${way}`);
    }
  }
}

/** Sequences from the shortest to the longest. */
function spread(fixture: readonly ParitySequence[], proof: ProofSize): ParitySequence[] {
  const byLength = [...fixture].sort((a, b) => a.steps - b.steps);
  const count = Math.min(proof.sequences, byLength.length);
  const chosen = Array.from(
    { length: count },
    (_, n) => byLength[Math.round((n * (byLength.length - 1)) / (count - 1))],
  );
  return chosen.flatMap((sequence) => sequence ?? []).map((s) => ({ ...s, steps: Math.min(s.steps, proof.steps) }));
}

/** One call with whole sequences. With `padding` the cells past a row's length hold its neighbours' values, not zeros. */
async function runRagged(
  model: ModelRunner,
  sequences: readonly ParitySequence[],
  columns: readonly number[],
  size: BatchSize,
  padding: number,
): Promise<ModelOutputs[]> {
  const steps = Math.max(...sequences.map((sequence) => sequence.steps)) + padding;
  model.clear(size, steps);
  for (const [row, column] of columns.entries()) {
    const sequence = at(sequences, column);
    const filled = padding === 0 ? sequence.steps : steps;
    for (let step = 0; step < filled; step += 1) {
      const source = step < sequence.steps ? sequence : at(sequences, (column + 1) % sequences.length);
      writeStep(model.inputs, source, step % source.steps, step * size + row);
    }
    model.inputs.hidden.set(sequence.hidden, row * model.shape.hiddenSize);
    model.inputs.lengths[row] = sequence.steps;
  }
  const outputs = await model.run(size, steps);
  return columns.map((_, row) => readRow(outputs, row, model.shape));
}

/** The same, one step a call, the hidden states carried; rows that have ended repeat their first step, unread. */
async function runStepwise(
  model: ModelRunner,
  sequences: readonly ParitySequence[],
  columns: readonly number[],
  size: BatchSize,
): Promise<ModelOutputs[]> {
  const steps = Math.max(...sequences.map((sequence) => sequence.steps));
  const { hiddenSize } = model.shape;
  const results: ModelOutputs[] = [];
  const hidden = new Float32Array(size * hiddenSize);
  for (const [row, column] of columns.entries()) hidden.set(at(sequences, column).hidden, row * hiddenSize);
  for (let step = 0; step < steps; step += 1) {
    model.clear(size, 1);
    for (const [row, column] of columns.entries()) {
      const sequence = at(sequences, column);
      writeStep(model.inputs, sequence, step < sequence.steps ? step : 0, row);
    }
    model.inputs.hidden.set(hidden);
    const outputs = await model.run(size, 1);
    hidden.set(outputs.hidden);
    for (const [row, column] of columns.entries()) {
      if (step === at(sequences, column).steps - 1) results[row] = readRow(outputs, row, model.shape);
    }
  }
  return results;
}

function compare(
  reference: readonly ModelOutputs[],
  results: readonly ModelOutputs[],
  columns: readonly number[],
  how: string,
): void {
  for (const [row, column] of columns.entries()) {
    for (const output of ['hidden', 'intent', 'propensity'] as const) {
      if (Buffer.compare(bytesOf(at(reference, column)[output]), bytesOf(at(results, row)[output])) === 0) continue;
      const detail = `batch invariance: ${output} of sequence ${column} differs at position ${row} ${how}`;
      throw new FreshetError('MODEL_INVALID', detail);
    }
  }
}

function at<T>(list: readonly T[], index: number): T {
  const value = list[index];
  if (value === undefined) throw new FreshetError('INTERNAL', `nothing at ${index} of ${list.length}`);
  return value;
}
