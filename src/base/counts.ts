/** Adds counts to the ones of the same names. */
export function addCounts(sum: Record<string, number>, more: Iterable<readonly [name: string, count: number]>): void {
  for (const [name, count] of more) sum[name] = (sum[name] ?? 0) + count;
}
