import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expNegative, softmax } from '../src/intent/softmax.ts';

const logit = fc.float({ min: -300, max: 300, noNaN: true });
const probabilitiesOf = (logits: readonly number[]): Float32Array => {
  const target = new Float32Array(logits.length);
  softmax(Float32Array.from(logits), target);
  return target;
};

describe('softmax', () => {
  it('has an exponential within 1e-14 of the exact one', () => {
    fc.assert(
      fc.property(fc.double({ min: -690, max: 0, noNaN: true }), (x) => {
        expect(Math.abs(expNegative(x) / Math.exp(x) - 1)).toBeLessThan(1e-14);
      }),
      { numRuns: 10_000 },
    );
    expect([expNegative(0), expNegative(-0), expNegative(-701), expNegative(-Infinity)]).toEqual([1, 1, 0, 0]);
  });

  it('gives probabilities, in the order of the logits, whatever is added to all of them', () => {
    fc.assert(
      fc.property(fc.array(logit, { minLength: 1, maxLength: 12 }), (logits) => {
        const found = probabilitiesOf(logits);
        expect(found.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5);
        const max = Math.max(...logits);
        const exact = logits.map((x) => Math.exp(x - max));
        const sum = exact.reduce((a, b) => a + b, 0);
        for (const [at, p] of found.entries()) expect(Math.abs(p - exact[at]! / sum)).toBeLessThan(2e-7);
      }),
      { numRuns: 2_000 },
    );
  });

  it('gives these bits on every version of Node', () => {
    const bits = Buffer.from(probabilitiesOf([0.5, -1.25, 3, 0, -20, 2.75, 1e-3, -0.125]).buffer).toString('hex');
    expect(bits).toMatchInlineSnapshot(`"4a8d263d008ae73b90a0fd3ea509ca3ccc915f2e6b86c53e653dca3c314cb23c"`);
  });

  it('may write over its input', () => {
    const logits = Float32Array.of(1, 2, 3);
    const expected = probabilitiesOf([1, 2, 3]);
    softmax(logits, logits);
    expect(logits).toEqual(expected);
  });
});
