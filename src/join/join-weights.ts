/** How the ranker's card weighs the two scores of a candidate against each other. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { FreshetError } from '../base/errors.ts';
import { packagePath } from '../base/package-root.ts';

export interface JoinWeights {
  readonly realtime: number;
  readonly longTerm: number;
}

/** The part of the card that the join needs; more may stand there. */
const cardSchema = z.looseObject({
  join: z.looseObject({ weights: z.looseObject({ realtime: z.number(), longTerm: z.number() }) }),
});

/** Reads `card.json` of a ranker's folder, by default the shipped one. MODEL_INVALID names what is missing or wrong. */
export async function readJoinWeights(folder = packagePath('models', 'ranker')): Promise<JoinWeights> {
  const file = path.join(folder, 'card.json');
  let card: unknown;
  try {
    card = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new FreshetError('MODEL_INVALID', `${file} cannot be read`, { cause });
  }
  const parsed = cardSchema.safeParse(card);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'the card'}: ${issue.message}`);
    throw new FreshetError('MODEL_INVALID', `${file}: ${problems.join('; ')}`);
  }
  const { realtime, longTerm } = parsed.data.join.weights;
  return { realtime, longTerm };
}
