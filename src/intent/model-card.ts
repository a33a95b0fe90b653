/** A model folder: the ONNX file with its card and parity fixture. Nothing is used that the card does not vouch for. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { FreshetError } from '../base/errors.ts';
import { parseParity, type ParitySequence } from './parity.ts';
import { INPUT_NAMES, OUTPUT_NAMES, type ModelShape } from './model-session.ts';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'is no SHA-256 in hex');
const text = z.string().min(1);
const names = z.array(text).min(1);
const size = z.int().min(1).max(4_096);
const named = (required: readonly string[]) =>
  z
    .array(z.looseObject({ name: text }))
    .refine((found) => found.map((tensor) => tensor.name).join() === required.join(), `is not ${required.join(', ')}`);

/** What training must say of a model; more may stand there. */
const cardSchema = z.looseObject({
  name: text,
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
  parity: z.looseObject({ file: text }),
  quality: z.looseObject({
    differences: z.array(z.looseObject({ arm: text, mean: z.number(), low: z.number(), high: z.number() })).min(1),
  }),
  data: z.looseObject({ file: text, sha256 }),
  script: text,
  trainedOn: z.looseObject({ fromInclusive: z.iso.datetime(), toExclusive: z.iso.datetime() }),
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
  const card = parseCard(await readPart(folder, 'card.json'));
  const shape: ModelShape = {
    hiddenSize: card.dims.H,
    dimension: card.dims.D,
    outcomeCount: card.dims.O,
    actionTypeCount: card.dims.A,
  };
  const model = await readPart(folder, card.file);
  const found = createHash('sha256').update(model).digest('hex');
  if (found !== card.sha256) throw invalid(`sha256 is ${card.sha256}, but ${card.file} has ${found}`);
  const parity = await readPart(folder, card.parity.file);
  return { card, model, shape, parity: parseParity(parity.toString('utf8'), shape) };
}

/** The part of a card that a score depends on, in a fixed order. */
export function cardSemantics(card: ModelCard): string {
  const { dims, outcomes, actionTypes, surfaces, gapBoundsSeconds, itemVectorSpace } = card;
  const { H, D, O, A } = dims;
  return JSON.stringify([[H, D, O, A], outcomes, actionTypes, surfaces, gapBoundsSeconds, itemVectorSpace]);
}

function parseCard(bytes: Buffer): ModelCard {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new FreshetError('MODEL_INVALID', 'card.json is not JSON', { cause });
  }
  const parsed = cardSchema.safeParse(json);
  if (!parsed.success) {
    throw invalid(parsed.error.issues.map((issue) => `${issue.path.join('.') || 'it'}: ${issue.message}`).join('; '));
  }
  const { dims, outcomes, actionTypes } = parsed.data;
  if (dims.O !== outcomes.length) throw invalid(`dims.O is ${dims.O}, but there are ${outcomes.length} outcomes`);
  if (dims.A !== actionTypes.length)
    throw invalid(`dims.A is ${dims.A}, but there are ${actionTypes.length} actionTypes`);
  return parsed.data;
}

async function readPart(folder: string, file: string): Promise<Buffer> {
  try {
    return await readFile(path.join(folder, file));
  } catch (cause) {
    throw new FreshetError('MODEL_INVALID', `${path.join(folder, file)} cannot be read`, { cause });
  }
}

const invalid = (detail: string): FreshetError => new FreshetError('MODEL_INVALID', `card.json: ${detail}`);

function isAscending(numbers: readonly number[]): boolean {
  return numbers.every((value, index) => index === 0 || value > (numbers[index - 1] ?? value));
}
