/** What one user would be shown at the end of a log, without and with what the stream knows. */
import { FreshetError } from '../base/errors.ts';
import type { ItemTable } from '../intent/item-table.ts';
import { compareUtf8, type Action } from '../../state/action.ts';
import type { Layout } from '../../state/layout.ts';
import { reduce } from '../../state/reducer.ts';
import type { UserState } from '../../state/user-state.ts';
import type { NpFeatures } from './np-features.ts';
import { featuresOf, type RankingModels } from './ranking-request.ts';
import type { ReferenceRanker } from './reference-ranker.ts';

export interface UserRankingOptions extends RankingModels {
  readonly layout: Layout;
  readonly reference: Pick<ReferenceRanker, 'score' | 'baseArm' | 'space'>;
  /** Popularity up to the request, e.g. that of an evaluation's end. */
  readonly popularity: NpFeatures;
  /** The item vectors in force. */
  readonly table: ItemTable;
  readonly state: UserState;
  /** [D]; null: the user has none. */
  readonly longTerm: Float32Array | null;
  /** When the user asks, milliseconds since the epoch: after every action that `popularity` counted. */
  readonly timeMs: number;
  /** Items of each list. */
  readonly top: number;
}

export interface RankedItem {
  readonly itemId: string;
  readonly score: number;
  /** Softmax of the score over all candidates, 0 to 1. */
  readonly probability: number;
}

export interface UserRanking {
  /** How many items were ranked. */
  readonly candidates: number;
  /** Best first: non-personal features and the long-term vector. */
  readonly withoutRealtime: readonly RankedItem[];
  /** Best first: the same, the intent of the user's window, and the window itself beside each candidate. */
  readonly withRealtime: readonly RankedItem[];
}

/** Throws MODEL_INVALID, SPACE_MISMATCH, and INTERNAL for a request before the end of `popularity`. */
export async function rankForUser(options: UserRankingOptions): Promise<UserRanking> {
  const { layout, scorer, rankers, reference, popularity, table, state, longTerm, timeMs, top } = options;
  if (reference.space !== scorer.space) {
    const detail = `the reference ranker is of ${reference.space}, the intent model of ${scorer.space}`;
    throw new FreshetError('SPACE_MISMATCH', detail);
  }
  const window = state.sequences[layout.scored]?.window ?? [];
  const candidates = popularity.candidates(timeMs, window);
  const npFeatures = popularity.features(timeMs, candidates);
  const request = { window, longTerm, table, candidates, npFeatures };
  const features = await featuresOf([request], scorer);
  const base = await rankers.score(reference.baseArm, features);
  return {
    candidates: candidates.length,
    withoutRealtime: best(candidates, await rankers.score('np+longterm', features), top),
    withRealtime: best(candidates, await reference.score(request, features, base, 'click'), top),
  };
}

/**
 * The user's state after one more action, by the reducer: what would the stream make of it? INPUT_MALFORMED if it takes
 * the action as late or as a duplicate.
 */
export function withAction(state: UserState, action: Action, layout: Layout): UserState {
  const record = { kind: 'action', offset: state.version + 1, arrivalTimeMs: action.eventTimeMs, action } as const;
  const reduction = reduce(state, record, { userId: state.userId, partition: state.partition }, layout);
  if (reduction.state !== null && reduction.outcome === 'accepted') return reduction.state;
  throw new FreshetError('INPUT_MALFORMED', `one more action: the reducer takes it as ${reduction.outcome}`);
}

/** Equal scores stand in order of their ids, so that a list never depends on the order of the log. */
function best(itemIds: readonly string[], scores: Float32Array, top: number): RankedItem[] {
  const highest = scores.reduce((max, score) => Math.max(max, score), -Infinity);
  const total = scores.reduce((sum, score) => sum + Math.exp(score - highest), 0);
  return itemIds
    .map((itemId, index) => ({ itemId, score: scores[index]! }))
    .sort((a, b) => b.score - a.score || compareUtf8(a.itemId, b.itemId))
    .slice(0, top)
    .map(({ itemId, score }) => ({ itemId, score, probability: Math.exp(score - highest) / total }));
}
