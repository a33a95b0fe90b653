/** The distribution of many scores, from a sample of bounded size. */
import { invariant } from '../base/errors.ts';
import { bucketOf, quantitiesOf, quantityNames, type ScoreDistribution } from './score-distribution.ts';
import type { Score, Scorer } from './scorer.ts';

/** Kept of each quantity; beyond that each score replaces one of those before it as often as is fair. */
const SAMPLE_MAX = 100_000;
const BUCKETS = 10;
/** Digits of an edge: the shares are counted between the edges as they are written. */
const EDGE_DIGITS = 6;
const SHARE_DIGITS = 6;

export class ScoreSample {
  /** Scores that were given, not finite ones left out. */
  count = 0;
  private readonly names: readonly string[];
  private readonly values: Float64Array;
  private readonly sample: Float64Array[];
  /** Of a generator with this state alone (xorshift32): the same scores give the same sample. */
  private random = 1;

  constructor(scorer: Pick<Scorer, 'outcomes' | 'actionTypes'>) {
    this.names = quantityNames(scorer);
    this.values = new Float64Array(this.names.length);
    this.sample = [];
  }

  add(score: Score): void {
    if (!score.finite) return;
    this.count += 1;
    quantitiesOf(score, this.values);
    if (this.sample.length < SAMPLE_MAX) this.sample.push(this.values.slice());
    else {
      const place = this.nextBelow(this.count);
      if (place < SAMPLE_MAX) this.sample[place]!.set(this.values);
    }
  }

  /** At least one score; a quantity that is the same in all of them is left out. */
  distribution(): ScoreDistribution {
    invariant(this.count > 0, 'there is no distribution of no scores');
    const quantities = this.names.flatMap((name, place) => {
      const sorted = Float64Array.from(this.sample, (values) => values[place]!).sort();
      const edges = edgesOf(sorted);
      if (edges.length === 0) return [];
      const counts = new Array<number>(edges.length + 1).fill(0);
      for (const value of sorted) counts[bucketOf(value, edges)]! += 1;
      return { name, edges, shares: counts.map((count) => Number((count / sorted.length).toFixed(SHARE_DIGITS))) };
    });
    return { count: this.count, quantities };
  }

  private nextBelow(end: number): number {
    this.random ^= this.random << 13;
    this.random ^= this.random >>> 17;
    this.random ^= this.random << 5;
    return Math.floor(((this.random >>> 0) / 2 ** 32) * end);
  }
}

/** The quantiles between buckets, each once; those below which nothing lies are none. */
function edgesOf(sorted: Float64Array): number[] {
  const quantiles = Array.from({ length: BUCKETS - 1 }, (_, at) =>
    Number(sorted[Math.floor(((at + 1) * sorted.length) / BUCKETS)]!.toPrecision(EDGE_DIGITS)),
  );
  return [...new Set(quantiles)].filter((edge) => edge > sorted[0]!);
}
