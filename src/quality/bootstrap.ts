/**
 * Intervals by the clustered bootstrap: a user's requests are alike, so users are drawn, not requests. The generator is
 * seeded: the same measurements give the same interval.
 */
import { invariant } from '../base/errors.ts';

export interface Interval {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

export interface BootstrapOptions {
  readonly resamples: number;
  readonly seed: number;
}

export const BOOTSTRAP: BootstrapOptions = { resamples: 2_000, seed: 1 };
const CONFIDENCE = 0.95;

/** Mean of the values with its 95 % interval; `clusters` names the cluster of each value. At least one value. */
export function clusteredInterval(
  values: readonly number[],
  clusters: readonly string[],
  { resamples, seed }: BootstrapOptions = BOOTSTRAP,
): Interval {
  invariant(values.length > 0 && values.length === clusters.length, 'an interval needs values, each of one cluster');
  const { totals, counts } = sums(values, clusters);
  const random = randomIntegers(seed, totals.length);
  const means = Float64Array.from({ length: resamples }, () => {
    let total = 0;
    let count = 0;
    for (let draw = 0; draw < totals.length; draw += 1) {
      const cluster = random();
      total += totals[cluster]!;
      count += counts[cluster]!;
    }
    return total / count;
  }).sort();
  const tail = (1 - CONFIDENCE) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean, low: quantile(means, tail), high: quantile(means, 1 - tail) };
}

function sums(values: readonly number[], clusters: readonly string[]): { totals: Float64Array; counts: Float64Array } {
  const places = new Map<string, number>();
  for (const cluster of clusters) if (!places.has(cluster)) places.set(cluster, places.size);
  const totals = new Float64Array(places.size);
  const counts = new Float64Array(places.size);
  for (const [at, value] of values.entries()) {
    const place = places.get(clusters[at]!)!;
    totals[place]! += value;
    counts[place]! += 1;
  }
  return { totals, counts };
}

/** Of sorted numbers, linear between neighbours. */
function quantile(sorted: Float64Array, share: number): number {
  const at = share * (sorted.length - 1);
  const below = sorted[Math.floor(at)]!;
  return below + (sorted[Math.ceil(at)]! - below) * (at - Math.floor(at));
}

/** Integers from 0 to `end` - 1 by a Weyl sequence with a mixing step (mulberry32); `end` is far below 2^32. */
function randomIntegers(seed: number, end: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * end);
  };
}
