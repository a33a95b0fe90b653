/**
 * Softmax in arithmetic that IEEE 754 defines to the bit. `Math.exp` may round differently from one V8 to the next;
 * scores with equal scorer hashes must not, so the exponential here is made of + − × ÷ alone.
 */

// ln 2 in two parts: n · LN2_HIGH is exact for |n| < 2^20, as its low 21 bits are zero.
const LN2_HIGH = 0.69314718036912381649;
const LN2_LOW = 1.90821492927058770002e-10;
/** Below this, e^x is less than half an ulp of any float32 beside 1. */
const EXPONENT_MIN = -700;
/** Coefficients 1/n! of the Taylor series, highest first; the error on |r| ≤ ln 2 / 2 is below 1e-16. */
const COEFFICIENTS = taylor(14);
/** POWERS[n] = 2^-n, made by halving, which is exact. */
const POWERS = halvings(1024);

/** e^x for x ≤ 0, within 1e-14 relative; 0 below -700. */
export function expNegative(x: number): number {
  if (x < EXPONENT_MIN) return 0;
  const halvingCount = Math.floor(-x / (LN2_HIGH + LN2_LOW) + 0.5);
  const rest = x + halvingCount * LN2_HIGH + halvingCount * LN2_LOW;
  let sum = 0;
  // By index, here and below: as iterators these loops made a tenth of all garbage.
  for (let at = 0; at < COEFFICIENTS.length; at += 1) sum = sum * rest + COEFFICIENTS[at]!;
  return sum * (POWERS[halvingCount] ?? 0);
}

/** Writes the probabilities of `logits` [A], all finite, into `target` [A], which may be the same array. */
export function softmax(logits: Float32Array, target: Float32Array): void {
  let max = -Infinity;
  for (let at = 0; at < logits.length; at += 1) max = logits[at]! > max ? logits[at]! : max;
  let sum = 0;
  for (let at = 0; at < logits.length; at += 1) {
    const term = expNegative(logits[at]! - max);
    target[at] = term;
    sum += term;
  }
  for (let at = 0; at < target.length; at += 1) target[at]! /= sum;
}

function taylor(terms: number): number[] {
  const coefficients = [1];
  for (let n = 1, factorial = 1; n < terms; n += 1) {
    factorial *= n;
    coefficients.unshift(1 / factorial);
  }
  return coefficients;
}

function halvings(count: number): Float64Array {
  const powers = new Float64Array(count);
  for (let n = 0, power = 1; n < count; n += 1, power /= 2) powers[n] = power;
  return powers;
}
