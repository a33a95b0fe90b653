/** The cards of the shipped item and user vectors, as recipes that a builder follows. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { FreshetError } from '../base/errors.ts';
import { packagePath } from '../base/package-root.ts';
import type { ItemVectorRecipe } from './item-vectors.ts';
import type { UserVectorRecipe } from './user-vectors.ts';

const DAY_MS = 86_400_000;
const weights = z.record(z.string(), z.number());

const itemCard = z.looseObject({
  space: z.string(),
  dim: z.int().positive(),
  rawDim: z.int().positive(),
  k: z.int().positive(),
  weights: weights.refine((all) => Object.values(all).every(Number.isInteger), 'weights must be integers'),
  projection: z.looseObject({ file: z.string(), sha256: z.string() }),
});

const userCard = z.looseObject({ space: z.string(), halfLifeDays: z.number().positive(), weights });

export interface Recipes {
  readonly items: ItemVectorRecipe;
  readonly users: UserVectorRecipe;
}

/** Reads item-vectors/ and long-term/ below `models`; MODEL_INVALID names what is wrong. */
export async function readRecipes(models = packagePath('models')): Promise<Recipes> {
  const itemFolder = join(models, 'item-vectors');
  const item = await readCard(itemFolder, itemCard);
  const user = await readCard(join(models, 'long-term'), userCard);
  if (user.space !== item.space) {
    throw new FreshetError('MODEL_INVALID', `long-term vectors live in ${user.space}, item vectors in ${item.space}`);
  }
  const bytes = await readFile(join(itemFolder, item.projection.file));
  if (createHash('sha256').update(bytes).digest('hex') !== item.projection.sha256) {
    throw new FreshetError('MODEL_INVALID', `${item.projection.file} is not the file that its card describes`);
  }
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

async function readCard<T>(folder: string, schema: z.ZodType<T>): Promise<T> {
  const file = join(folder, 'card.json');
  let content: unknown;
  try {
    content = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new FreshetError('MODEL_INVALID', `${file} cannot be read`, { cause });
  }
  const parsed = schema.safeParse(content);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  throw new FreshetError('MODEL_INVALID', `${file}: ${problems.join('; ')}`);
}
