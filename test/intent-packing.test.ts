import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BATCH_SIZES, CELLS_MAX, packBatches, STEPS_MAX } from '../src/intent/packing.ts';

describe('packing', () => {
  it('puts every row in one batch of a proved size that is long enough and no call may exceed', () => {
    const length = fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 132 }), fc.integer({ min: 1, max: STEPS_MAX }));
    fc.assert(
      fc.property(fc.array(length, { maxLength: 600 }), (lengths) => {
        const batches = packBatches(lengths);
        const placed = batches.flatMap((batch) => batch.rows);
        expect([...placed].sort((a, b) => a - b)).toEqual([...lengths.keys()]);
        for (const { rows, size, steps } of batches) {
          expect(BATCH_SIZES).toContain(size);
          expect(rows.length).toBeGreaterThan(0);
          expect(rows.length).toBeLessThanOrEqual(size);
          expect(steps).toBe(Math.max(...rows.map((row) => lengths[row]!)));
          expect(size * steps).toBeLessThanOrEqual(CELLS_MAX);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('wastes little on what a commit holds: mostly single steps, some whole windows', () => {
    const lengths = Array.from({ length: 5_000 }, (_, row) => (row % 32 === 0 ? 100 : 1));
    const cells = packBatches(lengths).reduce((sum, { size, steps }) => sum + size * steps, 0);
    const steps = lengths.reduce((sum, length) => sum + length, 0);
    expect(cells / steps).toBeLessThan(1.15);
    expect(packBatches(lengths).length).toBeLessThan(40);
  });

  it('uses the small size for a single row', () => {
    expect(packBatches([7])).toEqual([{ rows: [0], size: 16, steps: 7 }]);
    expect(packBatches([])).toEqual([]);
  });
});
