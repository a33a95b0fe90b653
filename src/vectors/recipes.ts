/** The cards of the shipped item and user vectors, as recipes that a builder follows. */
import { join } from 'node:path';
import { z } from 'zod';
import { FreshetError } from '../base/errors.ts';
import { packagePath } from '../base/package-root.ts';
import { readCard, readModelFile, sha256, text, vouchedCard } from '../intent/vouched-card.ts';
import type { ItemVectorRecipe } from './item-vectors.ts';
import type { UserVectorRecipe } from './user-vectors.ts';

const DAY_MS = 86_400_000;
const weights = z.record(z.string(), z.number());

const itemCard = vouchedCard.extend({
  space: text,
  dim: z.int().positive(),
  rawDim: z.int().positive(),
  k: z.int().positive(),
  weights: weights.refine((all) => Object.values(all).every(Number.isInteger), 'weights must be integers'),
  projection: z.looseObject({ file: text, sha256 }),
});

const userCard = vouchedCard.extend({ space: text, halfLifeDays: z.number().positive(), weights });

export interface Recipes {
  readonly items: ItemVectorRecipe;
  readonly users: UserVectorRecipe;
}

/** Reads item-vectors/ and long-term/ below `models`; MODEL_INVALID names what is wrong. */
export async function readRecipes(models = packagePath('models')): Promise<Recipes> {
  const itemFolder = join(models, 'item-vectors');
  const item = await readCard(itemFolder, itemCard);
  const userFolder = join(models, 'long-term');
  const user = await readCard(userFolder, userCard);
  await readModelFile(itemFolder, item.parity.file);
  await readModelFile(userFolder, user.parity.file);
  if (user.space !== item.space) {
    throw new FreshetError('MODEL_INVALID', `long-term vectors live in ${user.space}, item vectors in ${item.space}`);
  }
  const bytes = await readModelFile(itemFolder, item.projection.file, item.projection.sha256);
  const projection = new Float32Array(item.rawDim * item.dim);
  if (bytes.length !== projection.byteLength) {
    throw new FreshetError(
      'MODEL_INVALID',
      `${item.projection.file} does not have ${item.rawDim} × ${item.dim} numbers`,
    );
  }
  for (let at = 0; at < projection.length; at += 1) projection[at] = bytes.readFloatLE(at * 4);
  return {
    items: {
      space: item.space,
      rawDimension: item.rawDim,
      nonzeros: item.k,
      weights: item.weights,
      dimension: item.dim,
      projection,
    },
    users: { halfLifeMs: user.halfLifeDays * DAY_MS, weights: user.weights },
  };
}
