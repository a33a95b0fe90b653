/** What became of the input, as people and scripts are told it. */

export interface Tally {
  /** Actions read: accepted and rejected together. Control records and erases are not actions. */
  readonly actionsRead: number;
  readonly accepted: number;
  /** By cause; `duplicate`, `late` and `future` are always there. */
  readonly rejected: Readonly<Record<string, number>>;
}

/** Outcomes of input records that are not actions. */
const NOT_ACTIONS = new Set(['activation', 'removed', 'kept', 'skipped']);

export function tallyOf(counts: Readonly<Record<string, number>>): Tally {
  const rejected: Record<string, number> = { duplicate: 0, late: 0, future: 0 };
  for (const [outcome, count] of Object.entries(counts)) {
    if (outcome !== 'accepted' && !NOT_ACTIONS.has(outcome)) rejected[outcome] = count;
  }
  const accepted = counts['accepted'] ?? 0;
  const actionsRead = Object.values(rejected).reduce((sum, count) => sum + count, accepted);
  return { actionsRead, accepted, rejected };
}
