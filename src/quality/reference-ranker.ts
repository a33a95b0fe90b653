/**
 * The reference ranker: TransAct-like. Each of the newest actions of the window is read together with each candidate
 * (early fusion), beside the features that the small rankers have, on top of the score of the best of these. One head an
 * outcome. It costs 0.5 MFLOP a candidate: for what one user is shown, not for every item there is.
 */
import { Tensor, type InferenceSession } from 'onnxruntime-node';
import { z } from 'zod';
import { FreshetError, invariant } from '../base/errors.ts';
import { packagePath } from '../base/package-root.ts';
import { writeItemVector } from '../intent/item-table.ts';
import { readCard, readModelFile, sha256, text, vouchedCard } from '../intent/vouched-card.ts';
import { openRankerSession } from './ranker-session.ts';
import { ARMS, RANKER_FEATURES, type Arm } from './rankers.ts';
import type { RankingRequest } from './ranking-request.ts';

export const HEADS = ['click', 'save'] as const;
export type Head = (typeof HEADS)[number];

const NAMES = 'item_vectors,action_types,real,candidates,context,base,scores';
/** Candidates a call: some milliseconds, so that other work of the process is not kept waiting. */
const CANDIDATES_MAX = 64;

const cardSchema = vouchedCard.extend({
  file: text,
  sha256,
  itemVectorSpace: text,
  heads: z.tuple([z.literal(HEADS[0]), z.literal(HEADS[1])]),
  /** Actions of the window that are read, and the width of an item vector. */
  dims: z.object({ L: z.int().min(1), D: z.int().min(1) }),
  actionTypes: z.array(text).min(1),
  features: z.array(text).refine((names) => names.join() === RANKER_FEATURES.join(), 'are not those of the rankers'),
  base: z.looseObject({ arm: z.enum(ARMS), sha256 }),
});
type Card = z.infer<typeof cardSchema>;

export class ReferenceRanker {
  /** The arm whose score it starts from. */
  readonly baseArm: Arm;
  /** Of the item vectors that it was trained with. */
  readonly space: string;
  readonly #session: InferenceSession;
  readonly #card: Card;

  private constructor(session: InferenceSession, card: Card) {
    this.#session = session;
    this.#card = card;
    this.baseArm = card.base.arm;
    this.space = card.itemVectorSpace;
  }

  /** Loads card.json and the model it names. MODEL_INVALID names the file or field that is missing or does not agree. */
  static async load(folder = packagePath('models', 'transact')): Promise<ReferenceRanker> {
    const card = await readCard(folder, cardSchema);
    await readModelFile(folder, card.parity.file);
    const bytes = await readModelFile(folder, card.file, card.sha256);
    return new ReferenceRanker(await openRankerSession(bytes, card.file, NAMES), card);
  }

  /**
   * float32 [N] of the request's candidates: comparable within one request and head.
   *
   * @param features - float32 [N][RANKER_FEATURES] of the request
   * @param base - float32 [N], what `baseArm` makes of them
   */
  async score(
    request: Pick<RankingRequest, 'window' | 'table' | 'candidates'>,
    features: Float32Array,
    base: Float32Array,
    head: Head,
  ): Promise<Float32Array> {
    const { candidates } = request;
    const width = RANKER_FEATURES.length;
    invariant(features.length === candidates.length * width && base.length === candidates.length, 'not one row each');
    const scores = new Float32Array(candidates.length);
    for (let from = 0; from < candidates.length; from += CANDIDATES_MAX) {
      const to = Math.min(from + CANDIDATES_MAX, candidates.length);
      const part = { ...request, candidates: candidates.slice(from, to) };
      const called = await this.#run(part, features.slice(from * width, to * width), base.subarray(from, to));
      for (let at = from; at < to; at += 1) scores[at] = called[(at - from) * HEADS.length + HEADS.indexOf(head)]!;
    }
    return scores;
  }

  /** float32 [N][HEADS] */
  async #run(
    { window, table, candidates }: Pick<RankingRequest, 'window' | 'table' | 'candidates'>,
    features: Float32Array,
    base: Float32Array,
  ): Promise<Float32Array> {
    const { dims, actionTypes } = this.#card;
    const newest = window.slice(-dims.L).reverse();
    // The model takes no window of no slots: that of an empty one is padding.
    const [count, size] = [candidates.length, Math.max(newest.length, 1)];
    const types = new Int32Array(size).fill(1 + actionTypes.length);
    for (const [slot, { actionType }] of newest.entries()) types[slot] = 1 + actionTypes.indexOf(actionType);
    const bases = Float32Array.from({ length: count * HEADS.length }, (_, at) => base[Math.floor(at / HEADS.length)]!);
    const vectorsOf = (itemIds: readonly string[], cells: number): Tensor => {
      const data = new Float32Array(cells * dims.D);
      for (const [cell, itemId] of itemIds.entries()) writeItemVector(data, cell, itemId, table, dims.D);
      return new Tensor('float32', data, [1, cells, dims.D]);
    };
    const inputs = {
      item_vectors: vectorsOf(
        newest.map(({ itemId }) => itemId),
        size,
      ),
      action_types: new Tensor('int32', types, [1, size]),
      real: new Tensor('float32', new Float32Array(size).fill(1, 0, newest.length), [1, size]),
      candidates: vectorsOf(candidates, count),
      context: new Tensor('float32', features, [1, count, RANKER_FEATURES.length]),
      base: new Tensor('float32', bases, [1, count, HEADS.length]),
    };
    try {
      const { scores } = await this.#session.run(inputs);
      if (scores?.data instanceof Float32Array && scores.data.length === count * HEADS.length) return scores.data;
    } catch (cause) {
      throw new FreshetError('MODEL_INVALID', `reference ranker: a call of ${count} candidates failed`, { cause });
    }
    throw new FreshetError(
      'MODEL_INVALID',
      `reference ranker: a call of ${count} candidates did not give as many scores`,
    );
  }
}
