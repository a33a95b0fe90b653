/** How the ranker's card weighs the two scores of a candidate against each other. */
import { z } from 'zod';
import { packagePath } from '../base/package-root.ts';
import { readCard, vouchedCard } from '../intent/vouched-card.ts';

export interface JoinWeights {
  readonly realtime: number;
  readonly longTerm: number;
}

/** The part of the card that the join needs; more may stand there. */
const cardSchema = vouchedCard.extend({
  join: z.looseObject({ weights: z.looseObject({ realtime: z.number(), longTerm: z.number() }) }),
});

/** Reads `card.json` of a ranker's folder, by default the shipped one. MODEL_INVALID names what is missing or wrong. */
export async function readJoinWeights(folder = packagePath('models', 'ranker')): Promise<JoinWeights> {
  const card = await readCard(folder, cardSchema);
  const { realtime, longTerm } = card.join.weights;
  return { realtime, longTerm };
}
