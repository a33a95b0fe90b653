/**
 * How a model's scores are distributed, in a few numbers: for each outcome the length of the intent vector, for each
 * action type its propensity, as shares between quantiles. The card has that of training; `run` compares with it.
 */
import { z } from 'zod';
import type { Score, Scorer } from './scorer.ts';

const EDGES_MAX = 64;
const SUM_TOLERANCE = 1e-3;

const quantity = z
  .looseObject({
    /** `intent:OUTCOME` or `propensity:TYPE`. */
    name: z.string().min(1),
    /** Ascending; bucket n holds what is at least edge n − 1 and below edge n. */
    edges: z.array(z.number()).min(1).max(EDGES_MAX).refine(isAscending, 'is not ascending'),
    /** Of all scores, one share a bucket. */
    shares: z.array(z.number().min(0).max(1)),
  })
  .refine(({ edges, shares }) => shares.length === edges.length + 1, 'needs one share more than edges')
  .refine(({ shares }) => Math.abs(sum(shares) - 1) < SUM_TOLERANCE, 'has shares that do not add up to 1');

/** What a card may say under `scores`. */
export const scoreDistribution = z.looseObject({
  /** How many scores were looked at. */
  count: z.int().min(1),
  quantities: z.array(quantity).min(1),
});

export type ScoreDistribution = z.infer<typeof scoreDistribution>;
type Named = Pick<Scorer, 'outcomes' | 'actionTypes'>;

/** The quantities of a scorer, in the order of `quantitiesOf`. */
export const quantityNames = ({ outcomes, actionTypes }: Named): string[] => [
  ...outcomes.map((outcome) => `intent:${outcome}`),
  ...actionTypes.map((type) => `propensity:${type}`),
];

/** Writes the quantities of a score into `values` [O + A]. */
export function quantitiesOf(score: Score, values: Float64Array): void {
  let at = 0;
  for (const vector of score.intent) {
    let squares = 0;
    for (let each = 0; each < vector.length; each += 1) squares += vector[each]! * vector[each]!;
    values[at++] = Math.sqrt(squares);
  }
  const { propensity } = score;
  for (let each = 0; each < propensity.length; each += 1) values[at++] = propensity[each]!;
}

/** Place of the bucket that holds a value. */
export function bucketOf(value: number, edges: readonly number[]): number {
  let bucket = 0;
  while (bucket < edges.length && value >= edges[bucket]!) bucket += 1;
  return bucket;
}

/**
 * Population stability index: Σ (found − expected) · ln(found / expected) over buckets. 0 is the same distribution; above
 * 0.1 it has moved, above 0.25 it is another one. Half a score in each bucket keeps it finite.
 */
export function stabilityIndex(counts: Readonly<Uint32Array>, shares: readonly number[]): number {
  const total = counts.reduce((all, count) => all + count, 0);
  const smooth = (count: number): number => (count + 0.5) / (total + 0.5 * shares.length);
  return shares.reduce((index, share, bucket) => {
    const [found, expected] = [smooth(counts[bucket] ?? 0), smooth(share * total)];
    return index + (found - expected) * Math.log(found / expected);
  }, 0);
}

/** Strictly. */
export function isAscending(numbers: readonly number[]): boolean {
  return numbers.every((value, index) => index === 0 || value > numbers[index - 1]!);
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
