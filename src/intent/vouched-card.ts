/**
 * What a card must say of a model before anything of its folder is used: what it was trained on, by what, how good it
 * is, and where the fixture stands that proves it to be the same here. Without that nobody can say what runs.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { FreshetError } from '../base/errors.ts';

export const text = z.string().min(1);
export const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'is no SHA-256 in hex');

/** One arm against another in a metric, with the 95 % interval. */
const difference = z.looseObject({ arm: text, mean: z.number(), low: z.number(), high: z.number() });

/** Every card is this and more; what is missing is named. */
export const vouchedCard = z.looseObject({
  name: text,
  data: z.looseObject({ file: text, sha256 }),
  quality: z.looseObject({ differences: z.array(difference).min(1) }),
  parity: z.looseObject({ file: text }),
  script: text,
  trainedOn: z.looseObject({ fromInclusive: z.iso.datetime(), toExclusive: z.iso.datetime() }),
});

/** Reads card.json of a folder. MODEL_INVALID names each field that is missing or not what it should be. */
export async function readCard<T>(folder: string, schema: z.ZodType<T>): Promise<T> {
  const file = path.join(folder, 'card.json');
  const bytes = await readModelFile(folder, 'card.json');
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new FreshetError('MODEL_INVALID', `${file} is not JSON`, { cause });
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'it'}: ${issue.message}`);
  throw new FreshetError('MODEL_INVALID', `${file}: ${problems.join('; ')}`);
}

/** Reads a file that a card names; with `hash` it must be the file that the card describes. */
export async function readModelFile(folder: string, file: string, hash?: string): Promise<Buffer> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path.join(folder, file));
  } catch (cause) {
    throw new FreshetError('MODEL_INVALID', `${path.join(folder, file)} cannot be read`, { cause });
  }
  const found = createHash('sha256').update(bytes).digest('hex');
  if (hash !== undefined && found !== hash) {
    const detail = `${path.join(folder, 'card.json')}: sha256 is ${hash}, but ${file} has ${found}`;
    throw new FreshetError('MODEL_INVALID', detail);
  }
  return bytes;
}
