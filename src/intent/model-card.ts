/** A model folder: the ONNX file with its card and parity fixture. Nothing is used that the card does not vouch for. */
import path from 'node:path';
import { z } from 'zod';
import { FreshetError } from '../base/errors.ts';
import { parseParity, type ParitySequence } from './parity.ts';
import { INPUT_NAMES, OUTPUT_NAMES, type ModelShape } from './model-session.ts';
import { isAscending, quantityNames, scoreDistribution } from './score-distribution.ts';
import { readCard, readModelFile, sha256, text, vouchedCard } from './vouched-card.ts';

const names = z.array(text).min(1);
const size = z.int().min(1).max(4_096);
const named = (required: readonly string[]) =>
  z
    .array(z.looseObject({ name: text, shape: z.array(z.union([text, size])).optional() }))
    .refine((found) => found.map((tensor) => tensor.name).join() === required.join(), `is not ${required.join(', ')}`);

/** What training must say of a model; more may stand there. */
const cardSchema = vouchedCard.extend({
  file: text,
  sha256,
  itemVectorSpace: text,
  dims: z.looseObject({ H: size, D: size, O: size, A: size }),
  inputs: named(INPUT_NAMES),
  outputs: named(OUTPUT_NAMES),
  outcomes: names,
  actionTypes: names,
  surfaces: names,
  gapBoundsSeconds: z.array(z.number().positive()).min(1).refine(isAscending, 'is not ascending'),
  scores: scoreDistribution.optional(),
});

export type ModelCard = z.infer<typeof cardSchema>;

export interface ModelFolder {
  readonly card: ModelCard;
  readonly model: Uint8Array;
  readonly shape: ModelShape;
  readonly parity: readonly ParitySequence[];
}

/** Reads a model folder. MODEL_INVALID names the file or the card's field that is missing or does not agree. */
export async function readModelFolder(folder: string): Promise<ModelFolder> {
  const card = await readCard(folder, cardSchema);
  const { dims, outcomes, actionTypes } = card;
  const invalid = (detail: string): FreshetError =>
    new FreshetError('MODEL_INVALID', `${path.join(folder, 'card.json')}: ${detail}`);
  if (dims.O !== outcomes.length) throw invalid(`dims.O is ${dims.O}, but there are ${outcomes.length} outcomes`);
  if (dims.A !== actionTypes.length) {
    throw invalid(`dims.A is ${dims.A}, but there are ${actionTypes.length} actionTypes`);
  }
  const known = quantityNames(card);
  const unknown = card.scores?.quantities.find(({ name }) => !known.includes(name));
  if (unknown !== undefined) throw invalid(`scores: ${unknown.name} is none of ${known.join(', ')}`);
  const stateShape = stateShapeOf(card);
  if (stateShape.reduce((product, each) => product * each, 1) !== dims.H) {
    throw invalid(`dims.H is ${dims.H}, but the shape of the input hidden is B × ${stateShape.join(' × ')}`);
  }
  const shape: ModelShape = {
    hiddenSize: dims.H,
    stateShape,
    dimension: dims.D,
    outcomeCount: dims.O,
    actionTypeCount: dims.A,
  };
  const model = await readModelFile(folder, card.file, card.sha256);
  const parity = await readModelFile(folder, card.parity.file);
  return { card, model, shape, parity: parseParity(parity.toString('utf8'), shape) };
}

/** The part of a card that a score depends on, in a fixed order. */
export function cardSemantics(card: ModelCard): string {
  const { dims, outcomes, actionTypes, surfaces, gapBoundsSeconds, itemVectorSpace } = card;
  const { H, D, O, A } = dims;
  return JSON.stringify([[H, D, O, A], outcomes, actionTypes, surfaces, gapBoundsSeconds, itemVectorSpace]);
}

/** A state of several parts, such as levels or layers, says so in the shape of the input: ["B", 2, 32]. */
function stateShapeOf({ inputs, dims }: ModelCard): number[] {
  const [, ...shape] = inputs[0]?.shape ?? ['B', dims.H];
  return shape.map(Number);
}
