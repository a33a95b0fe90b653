/** A request to rank candidates for one user at one moment, and what each arm makes of it. */
import { FreshetError } from '../base/errors.ts';
import type { ItemTable, ItemVector } from '../intent/item-table.ts';
import type { Score, Scorer } from '../intent/scorer.ts';
import type { Action } from '../../state/action.ts';
import { NP_FEATURES } from './np-features.ts';
import { DOT_OUTCOMES, RANKER_FEATURES, type Arm, type Rankers } from './rankers.ts';

export interface RankingRequest {
  /** What the reducer holds of the user before the request, oldest first; empty: a user without a past. */
  readonly window: readonly Action[];
  /** [D], in the item vectors' space; null: the user has none. */
  readonly longTerm: Float32Array | null;
  /** The item vectors in force. */
  readonly table: ItemTable;
  /** Item ids [N]. */
  readonly candidates: readonly string[];
  /** [N][NP_FEATURES] */
  readonly npFeatures: Float32Array;
}

export interface RankingModels {
  readonly scorer: Scorer;
  readonly rankers: Pick<Rankers, 'score'>;
}

/** For each of the arms the scores [N] of each request, in the order of the requests. Windows share the scorer's calls. */
export async function scoreRequests<A extends Arm>(
  requests: readonly RankingRequest[],
  { scorer, rankers }: RankingModels,
  arms: readonly A[],
): Promise<Record<A, Float32Array[]>> {
  const rows = await featuresOf(requests, scorer);
  const scored: Partial<Record<Arm, Float32Array[]>> = {};
  for (const arm of arms) {
    const scores = await rankers.score(arm, rows);
    let from = 0;
    scored[arm] = requests.map(({ candidates }) => scores.subarray(from, (from += candidates.length)));
  }
  return scored as Record<A, Float32Array[]>;
}

/** float32 [N][RANKER_FEATURES] of each request, end to end. */
export async function featuresOf(requests: readonly RankingRequest[], scorer: Scorer): Promise<Float32Array> {
  const intents = await intentsOf(requests, scorer);
  const rows = new Float32Array(
    requests.reduce((sum, { candidates }) => sum + candidates.length, 0) * RANKER_FEATURES.length,
  );
  let end = 0;
  for (const [index, request] of requests.entries()) {
    writeRows(request, intents[index]!, rows.subarray(end));
    end += request.candidates.length * RANKER_FEATURES.length;
  }
  return rows;
}

/** For each request one vector an outcome of DOT_OUTCOMES, null for a user without a past. */
async function intentsOf(requests: readonly RankingRequest[], scorer: Scorer): Promise<(Float32Array | null)[][]> {
  const places = DOT_OUTCOMES.map((outcome) => scorer.outcomes.indexOf(outcome));
  if (places.includes(-1)) {
    const detail = `the intent model has the outcomes ${scorer.outcomes.join(', ')}; the rankers need ${DOT_OUTCOMES.join(', ')}`;
    throw new FreshetError('MODEL_INVALID', detail);
  }
  const rows = requests
    .filter(({ window }) => window.length > 0)
    .map(({ window, table }) => ({ hidden: null, previousEventTimeMs: null, actions: window, table }));
  const scores: readonly Score[] = rows.length === 0 ? [] : await scorer.fold(rows);
  let next = 0;
  return requests.map(({ window }) => {
    const score = window.length === 0 ? null : scores[next++]!;
    return places.map((place) => score?.intent[place] ?? null);
  });
}

function writeRows(request: RankingRequest, intents: readonly (Float32Array | null)[], rows: Float32Array): void {
  const queries = [...intents, request.longTerm];
  for (const [index, itemId] of request.candidates.entries()) {
    const start = index * RANKER_FEATURES.length;
    const npStart = index * NP_FEATURES.length;
    for (let at = 0; at < NP_FEATURES.length; at += 1) rows[start + at] = request.npFeatures[npStart + at]!;
    const item = request.table.vector(itemId);
    for (const [at, query] of queries.entries()) rows[start + NP_FEATURES.length + at] = dot(query, item);
  }
}

/** query · (q · scale); 0 where either is missing. Throws SPACE_MISMATCH. */
function dot(query: Float32Array | null, item: ItemVector | undefined): number {
  if (query === null || item === undefined) return 0;
  if (query.length !== item.values.length) {
    throw new FreshetError('SPACE_MISMATCH', `a user has ${query.length} dimensions, an item ${item.values.length}`);
  }
  let sum = 0;
  for (let at = 0; at < query.length; at += 1) sum += query[at]! * item.values[at]!;
  return sum * item.scale;
}
