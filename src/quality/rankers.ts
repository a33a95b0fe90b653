/** The reference rankers: one small ONNX model an arm, all with the same non-personal features, as their card says. */
import { Tensor, type InferenceSession } from 'onnxruntime-node';
import { z } from 'zod';
import { FreshetError, invariant } from '../base/errors.ts';
import { packagePath } from '../base/package-root.ts';
import { readCard, readModelFile, sha256, text, vouchedCard } from '../intent/vouched-card.ts';
import { NP_FEATURES } from './np-features.ts';
import { openRankerSession } from './ranker-session.ts';

/** Non-personal; with the daily long-term vector; with the intent of the stream; with both. */
export const ARMS = ['np', 'np+longterm', 'np+intent', 'hybrid'] as const;
export type Arm = (typeof ARMS)[number];

/** Outcomes whose intent vector enters as its product with the item vector. */
export const DOT_OUTCOMES = ['click', 'save'] as const;
/** Columns of the matrix that all arms read from; each takes those that its card lists. */
export const RANKER_FEATURES: readonly string[] = [
  ...NP_FEATURES,
  ...DOT_OUTCOMES.map((outcome) => `dot_${outcome}`),
  'dot_longterm',
];

/** Rows a call: some milliseconds, so that other work of the process is not kept waiting. */
const ROWS_MAX = 4_096;

const armCard = z.looseObject({
  file: text,
  sha256,
  features: z.array(z.enum(RANKER_FEATURES)).min(1),
});
const cardSchema = vouchedCard.extend({
  arms: z.looseObject({ np: armCard, 'np+longterm': armCard, 'np+intent': armCard, hybrid: armCard }),
});

interface Model {
  readonly session: InferenceSession;
  /** Which columns of the matrix the model reads, in its order. */
  readonly columns: readonly number[];
}

export class Rankers {
  /** Nothing at or after this time trained or tuned a ranker, milliseconds since the epoch. */
  readonly trainedToMs: number;
  readonly #models: Readonly<Record<Arm, Model>>;

  private constructor(models: Readonly<Record<Arm, Model>>, trainedToMs: number) {
    this.#models = models;
    this.trainedToMs = trainedToMs;
  }

  /**
   * Loads card.json and the models it names; MODEL_INVALID names the file or field that is missing or does not agree.
   * One load a process: sessions that are created again leak memory.
   */
  static async load(folder = packagePath('models', 'ranker')): Promise<Rankers> {
    const card = await readCard(folder, cardSchema);
    await readModelFile(folder, card.parity.file);
    const open = async (arm: Arm): Promise<Model> => {
      const { file, sha256: hash, features } = card.arms[arm];
      const bytes = await readModelFile(folder, file, hash);
      return {
        session: await openRankerSession(bytes, file, 'features,score'),
        columns: features.map((name) => RANKER_FEATURES.indexOf(name)),
      };
    };
    const models = {
      np: await open('np'),
      'np+longterm': await open('np+longterm'),
      'np+intent': await open('np+intent'),
      hybrid: await open('hybrid'),
    };
    return new Rankers(models, Date.parse(card.trainedOn.toExclusive));
  }

  /** float32 [N]: an arm's scores of `rows`, float32 [N][RANKER_FEATURES]. Only scores of one request compare. */
  async score(arm: Arm, rows: Float32Array): Promise<Float32Array> {
    const width = RANKER_FEATURES.length;
    invariant(rows.length % width === 0, 'the features are not whole rows');
    const count = rows.length / width;
    const scores = new Float32Array(count);
    for (let from = 0; from < count; from += ROWS_MAX) {
      const part = rows.subarray(from * width, Math.min(from + ROWS_MAX, count) * width);
      scores.set(await runModel(this.#models[arm], part, arm), from);
    }
    return scores;
  }
}

async function runModel({ session, columns }: Model, rows: Float32Array, arm: Arm): Promise<Float32Array> {
  const width = RANKER_FEATURES.length;
  const count = rows.length / width;
  const input = new Float32Array(count * columns.length);
  let at = 0;
  for (let row = 0; row < rows.length; row += width) for (const column of columns) input[at++] = rows[row + column]!;
  try {
    const { score } = await session.run({ features: new Tensor('float32', input, [count, columns.length]) });
    if (score?.data instanceof Float32Array && score.data.length === count) return score.data;
  } catch (cause) {
    throw new FreshetError('MODEL_INVALID', `ranker ${arm}: a call of ${count} rows failed`, { cause });
  }
  throw new FreshetError('MODEL_INVALID', `ranker ${arm}: a call of ${count} rows did not give as many float32 scores`);
}
