/**
 * Exponential decay whose bits are the same on every machine and Node version: only additions and multiplications,
 * which IEEE 754 rounds correctly. Math.exp and Math.pow may differ between V8 versions, and a replay must not.
 * 2^-x is taken apart as 2^-whole · 2^-(step/64) · 2^-rest with rest < 1/64, so that a short series is enough.
 */

/** HALVES[n] = 2^-n, exact. From 2^-1022 on, the smallest normal number, precision would be lost. */
const HALVES = new Float64Array(1022);
for (let n = 0, value = 1; n < HALVES.length; n += 1, value *= 0.5) HALVES[n] = value;

/** Coefficients of 2^-f = Σ c_k f^k, c_k = (−ln 2)^k / k!: enough for the last bit over 0 ≤ f < 1. */
const COEFFICIENTS = new Float64Array(18);
for (let k = 0, value = 1; k < COEFFICIENTS.length; k += 1, value *= -0.6931471805599453 / k) COEFFICIENTS[k] = value;
const [C0 = 0, C1 = 0, C2 = 0, C3 = 0, C4 = 0, C5 = 0, C6 = 0] = COEFFICIENTS;

const STEPS = 64;
/** ROOTS[n] = 2^-(n/64). */
const ROOTS = Float64Array.from({ length: STEPS }, (_, n) =>
  COEFFICIENTS.reduceRight((sum, coefficient) => sum * (n / STEPS) + coefficient, 0),
);

/** 2^(−age / halfLife): 1 at age 0, exact at whole halvings, 0 from 1,022 of them on. Age is not negative. */
export function decay(ageMs: number, halfLifeMs: number): number {
  if (ageMs === 0) return 1;
  const halvings = ageMs / halfLifeMs;
  const whole = Math.floor(halvings);
  if (whole >= HALVES.length) return 0;
  const fraction = (halvings - whole) * STEPS;
  const step = Math.floor(fraction);
  const rest = (fraction - step) / STEPS;
  const series = C0 + rest * (C1 + rest * (C2 + rest * (C3 + rest * (C4 + rest * (C5 + rest * C6)))));
  return series * ROOTS[step]! * HALVES[whole]!;
}
