/** The parity fixture: sequences with the outputs of the training framework, which the runtime must reproduce. */
import { z } from 'zod';
import { FreshetError } from '../base/errors.ts';
import { softmax } from './softmax.ts';
import { BATCH_SIZES, STEPS_MAX, type BatchSize } from './packing.ts';
import type { ModelInputs, ModelOutputs, ModelRunner, ModelShape } from './model-session.ts';

/** Largest difference from the training framework, absolute, in any output. */
export const PARITY_TOLERANCE = 1e-5;

/** One row: inputs as the model takes them, and what training gave for it. */
export interface ParitySequence {
  /** T, at least 1. */
  readonly steps: number;
  /** [H] */
  readonly hidden: readonly number[];
  /** [T][D], int8; the model's input is q / 127. */
  readonly itemVectors: readonly (readonly number[])[];
  /** [T] each */
  readonly hasVector: readonly number[];
  readonly actionTypes: readonly number[];
  readonly surfaces: readonly number[];
  readonly gaps: readonly number[];
  /** [H], [O · D], [A] (logits) */
  readonly expected: { readonly hidden: number[]; readonly intent: number[]; readonly propensity: number[] };
}

const vector = z.array(z.number());
const indices = z.array(z.int().min(0));
const sequenceSchema = z.looseObject({
  hidden: vector,
  itemVectors: z.array(z.array(z.int().min(-128).max(127))),
  hasVector: z.array(z.union([z.literal(0), z.literal(1)])),
  actionTypes: indices,
  surfaces: indices,
  gaps: indices,
  hiddenOut: vector,
  intent: z.array(vector),
  propensity: vector,
});
const fixtureSchema = z.looseObject({ sequences: z.array(sequenceSchema).min(2) });

/** MODEL_INVALID if the fixture is malformed or does not have the model's shapes. */
export function parseParity(text: string, shape: ModelShape): ParitySequence[] {
  let fixture: z.infer<typeof fixtureSchema>;
  try {
    fixture = fixtureSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new FreshetError('MODEL_INVALID', 'the parity fixture is malformed', { cause });
  }
  return fixture.sequences.map((row, index) => {
    const steps = row.actionTypes.length;
    const fits =
      steps >= 1 &&
      steps <= STEPS_MAX &&
      [row.itemVectors, row.hasVector, row.surfaces, row.gaps].every((column) => column.length === steps) &&
      row.itemVectors.every((components) => components.length === shape.dimension) &&
      [row.hidden, row.hiddenOut].every((hidden) => hidden.length === shape.hiddenSize) &&
      row.intent.length === shape.outcomeCount &&
      row.intent.every((components) => components.length === shape.dimension) &&
      row.propensity.length === shape.actionTypeCount;
    if (!fits) throw new FreshetError('MODEL_INVALID', `the parity fixture's sequence ${index} has other shapes`);
    return {
      steps,
      hidden: row.hidden,
      itemVectors: row.itemVectors,
      hasVector: row.hasVector,
      actionTypes: row.actionTypes,
      surfaces: row.surfaces,
      gaps: row.gaps,
      expected: { hidden: row.hiddenOut, intent: row.intent.flat(), propensity: row.propensity },
    };
  });
}

/** Writes one step of a sequence into a cell. The row's hidden state and length are the caller's. */
export function writeStep(inputs: ModelInputs, sequence: ParitySequence, step: number, cell: number): void {
  const vector = sequence.itemVectors[step] ?? [];
  const start = cell * vector.length;
  // By index: loading a model writes millions of these.
  for (let at = 0; at < vector.length; at += 1) inputs.itemVectors[start + at] = vector[at]! / 127;
  inputs.hasVector[cell] = sequence.hasVector[step] ?? 0;
  inputs.actionTypes[cell] = sequence.actionTypes[step] ?? 0;
  inputs.surfaces[cell] = sequence.surfaces[step] ?? 0;
  inputs.gaps[cell] = sequence.gaps[step] ?? 0;
}

/**
 * Runs every sequence and compares it with training: MODEL_INVALID beyond PARITY_TOLERANCE. Returns the bytes of all
 * outputs, probabilities instead of logits: what makes two machines' scores comparable, or not.
 */
export async function checkParity(model: ModelRunner, sequences: readonly ParitySequence[]): Promise<Uint8Array[]> {
  const bytes: Uint8Array[] = [];
  const size: BatchSize = BATCH_SIZES[0];
  for (const [index, sequence] of sequences.entries()) {
    model.clear(size, sequence.steps);
    model.inputs.hidden.set(sequence.hidden);
    for (let step = 0; step < sequence.steps; step += 1) writeStep(model.inputs, sequence, step, step * size);
    model.inputs.lengths[0] = sequence.steps;
    const row = readRow(await model.run(size, sequence.steps), 0, model.shape);
    for (const output of ['hidden', 'intent', 'propensity'] as const) {
      const difference = maxDifference(row[output], sequence.expected[output]);
      if (difference <= PARITY_TOLERANCE) continue;
      const detail = `parity: ${output} of sequence ${index} differs from training by ${difference.toExponential(2)}`;
      throw new FreshetError('MODEL_INVALID', `${detail}, more than ${PARITY_TOLERANCE}`);
    }
    softmax(row.propensity, row.propensity);
    bytes.push(bytesOf(row.hidden), bytesOf(row.intent), bytesOf(row.propensity));
  }
  return bytes;
}

/** A copy of one row of a call's outputs. */
export function readRow(outputs: ModelOutputs, row: number, shape: ModelShape): ModelOutputs {
  const { hiddenSize, dimension, outcomeCount, actionTypeCount } = shape;
  const part = (array: Float32Array, width: number): Float32Array => array.slice(row * width, (row + 1) * width);
  return {
    hidden: part(outputs.hidden, hiddenSize),
    intent: part(outputs.intent, outcomeCount * dimension),
    propensity: part(outputs.propensity, actionTypeCount),
  };
}

export const bytesOf = (array: Float32Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** NaN where a number is not finite, so that no comparison with it passes. */
function maxDifference(found: Float32Array, expected: readonly number[]): number {
  let max = 0;
  for (const [at, value] of found.entries()) max = Math.max(max, Math.abs(value - (expected[at] ?? NaN)));
  return max;
}
