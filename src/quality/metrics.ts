/** What a rank is worth: one relevant item a request, ranks from 1, ties at half. */

export const METRICS = ['mrr', 'recall10', 'ndcg10'] as const;
export type Metric = (typeof METRICS)[number];

const CUTOFF = 10;

/** The value of a rank, 0 to 1; its mean over requests is the metric. */
export const VALUE: Readonly<Record<Metric, (rank: number) => number>> = {
  mrr: (rank) => 1 / rank,
  recall10: (rank) => (rank <= CUTOFF ? 1 : 0),
  ndcg10: (rank) => (rank <= CUTOFF ? 1 / Math.log2(1 + rank) : 0),
};

/** The target's rank from 1; a tie counts half, so that a constant score ranks in the middle. */
export function rankOf(scores: Float32Array, target: number): number {
  const own = scores[target]!;
  let rank = 0.5;
  for (const score of scores) rank += score > own ? 1 : score === own ? 0.5 : 0;
  return rank;
}

/** 0 for no values. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(values.length, 1);
}
