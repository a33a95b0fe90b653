/** Which rows share a call of the model: few fixed shapes, little padding, calls that stay short. */

/** Rows a call; loading a model proves that a row's result is the same at every position of each. */
export const BATCH_SIZES = [16, 64, 256] as const;
export type BatchSize = (typeof BATCH_SIZES)[number];
/** Rows × steps of one call: about 12 ms on one core at H = 48, well under the 50 ms a call may block its thread. */
export const CELLS_MAX = 8_192;
/** Steps of one call; longer rows are cut, as stepwise equals ragged. */
export const STEPS_MAX = CELLS_MAX / BATCH_SIZES[0];
/** Part of the scorer hash: raise it whenever packing or encoding could change a bit of a score. */
export const PACKING_VERSION = 1;
/** What a call costs beside its cells, in cells (measured: about 0.1 ms at 800 cells a millisecond). */
const CALL_COST_CELLS = 80;

export interface Batch {
  /** Indices of the rows, at most `size`; what is missing is padded. */
  readonly rows: readonly number[];
  readonly size: BatchSize;
  /** The longest of the rows. */
  readonly steps: number;
}

/** Packs rows of these lengths (1 to STEPS_MAX each), the longest first, at the least cost a useful step. */
export function packBatches(lengths: readonly number[]): Batch[] {
  const at = (row: number): number => lengths[row] ?? 0;
  const order = Array.from(lengths.keys());
  // Most calls are of one step for every row.
  if (lengths.some((length) => length !== lengths[0])) order.sort((a, b) => at(b) - at(a));
  const stepsBefore = new Float64Array(order.length + 1);
  for (const [place, row] of order.entries()) stepsBefore[place + 1] = (stepsBefore[place] ?? 0) + at(row);

  const batches: Batch[] = [];
  for (let start = 0; start < order.length;) {
    const steps = at(order[start] ?? 0);
    let size: BatchSize = BATCH_SIZES[0];
    let cheapest = Infinity;
    for (const candidate of BATCH_SIZES) {
      if (candidate * steps > CELLS_MAX) break;
      const end = Math.min(start + candidate, order.length);
      const cost = (CALL_COST_CELLS + candidate * steps) / ((stepsBefore[end] ?? 0) - (stepsBefore[start] ?? 0));
      if (cost < cheapest) [size, cheapest] = [candidate, cost];
    }
    batches.push({ rows: order.slice(start, start + size), size, steps });
    start += size;
  }
  return batches;
}
