/** Ranks, their metrics, and intervals that resample users. */
import { describe, expect, it } from 'vitest';
import { clusteredInterval } from '../src/quality/bootstrap.ts';
import { mean, rankOf, VALUE } from '../src/quality/metrics.ts';

describe('a rank', () => {
  it('is 1 for the best, and the middle of its ties', () => {
    expect(rankOf(Float32Array.of(3, 1, 2), 0)).toBe(1);
    expect(rankOf(Float32Array.of(3, 1, 2), 1)).toBe(3);
    expect(rankOf(Float32Array.of(1, 1, 2), 0)).toBe(2.5);
    expect(rankOf(new Float32Array(5), 4)).toBe(3);
  });

  it('is worth what the metrics say', () => {
    expect([1, 4, 10, 10.5].map(VALUE.mrr)).toEqual([1, 0.25, 0.1, 1 / 10.5]);
    expect([1, 10, 10.5].map(VALUE.recall10)).toEqual([1, 1, 0]);
    expect([1, 3, 11].map(VALUE.ndcg10)).toEqual([1, 0.5, 0]);
    expect(mean([1, 2, 6])).toBe(3);
    expect(mean([])).toBe(0);
  });
});

describe('the interval of a mean', () => {
  const random = uniform(7);
  const draws = Array.from({ length: 400 }, () => normal(random));
  const own = draws.map((_, index) => `u${index}`);

  it('is that of the normal distribution where values are independent', () => {
    const { mean: centre, low, high } = clusteredInterval(draws, own);
    const deviation = Math.sqrt(mean(draws.map((value) => (value - centre) ** 2)));
    const expected = (1.96 * deviation) / Math.sqrt(draws.length);
    expect(centre).toBeCloseTo(mean(draws), 12);
    expect((high - low) / 2 / expected).toBeGreaterThan(0.93);
    expect((high - low) / 2 / expected).toBeLessThan(1.07);
  });

  it('does not narrow when a user says the same four times', () => {
    const often = clusteredInterval(
      draws.flatMap((value) => [value, value, value, value]),
      own.flatMap((u) => [u, u, u, u]),
    );
    const once = clusteredInterval(draws, own);
    expect(often.low).toBeCloseTo(once.low, 12);
    expect(often.high).toBeCloseTo(once.high, 12);
    const naive = clusteredInterval(
      draws.flatMap((value) => [value, value, value, value]),
      Array.from({ length: 4 * draws.length }, (_, index) => `${index}`),
    );
    expect((often.high - often.low) / (naive.high - naive.low)).toBeCloseTo(2, 0);
  });

  it('holds the true mean in about 95 of 100 experiments', () => {
    let held = 0;
    for (let experiment = 0; experiment < 400; experiment += 1) {
      const values: number[] = [];
      const users: string[] = [];
      for (let user = 0; user < 80; user += 1) {
        const taste = normal(random);
        for (let request = 0; request <= user % 5; request += 1) {
          values.push(taste + normal(random));
          users.push(`u${user}`);
        }
      }
      const { low, high } = clusteredInterval(values, users, { resamples: 1_000, seed: experiment });
      if (low <= 0 && 0 <= high) held += 1;
    }
    expect(held / 400).toBeGreaterThan(0.9);
    expect(held / 400).toBeLessThan(0.98);
  });

  it('is a point without variation, and the same for the same seed', () => {
    expect(clusteredInterval([2, 2, 2], ['a', 'b', 'b'])).toEqual({ mean: 2, low: 2, high: 2 });
    expect(clusteredInterval(draws, own)).toEqual(clusteredInterval(draws, own));
    expect(clusteredInterval(draws, own, { resamples: 2_000, seed: 2 })).not.toEqual(clusteredInterval(draws, own));
    expect(() => clusteredInterval([], [])).toThrow('needs values');
  });
});

/** Lehmer's generator, of another kind than the one under test. */
function uniform(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

const normal = (random: () => number): number => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
