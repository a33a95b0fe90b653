/** Why what was servable is not what was true, action by action of the windows. */
import { compareKeys, type Action, type ActionKey } from '../../state/action.ts';
import type { Layout } from '../../state/layout.ts';
import type { Fed, Judged } from './as-of.ts';
import type { PastRecord } from './user-past.ts';

export type DifferenceCause =
  /** It arrived when the features had been served. */
  | 'arrived_later'
  /** It arrived in time, behind newer actions that had been sealed: rejected. */
  | 'late'
  /** An expiry removed it. */
  | 'expired'
  /** It happened after the time, by the clock of who logged it. */
  | 'ahead_of_time'
  /** It was erased since. */
  | 'erased'
  /** Both know of it; in one of them it was sealed. */
  | 'sealed'
  /** The same action with another surface: of two records the greater bytes win, and one arrived later. */
  | 'surface';

export interface Difference {
  readonly sequence: string;
  /** In the window of which it stands alone; of both, with another surface. */
  readonly in: 'true' | 'servable' | 'both';
  readonly cause: DifferenceCause;
  readonly action: Action;
  /** Of its record: the first that says so. */
  readonly offset: number;
  readonly arrivalTimeMs: number;
}

export interface DifferenceOptions {
  readonly layout: Layout;
  readonly timeMs: number;
  readonly known: Fed;
  readonly servable: Fed;
  /** All records of the user, as the log has them now. */
  readonly now: readonly Judged[];
  readonly isServable: (record: PastRecord) => boolean;
}

/** Of all windows, newest first. */
export function differencesOf(options: DifferenceOptions): Difference[] {
  const { layout, known, servable, now } = options;
  const records = byKey(now);
  return layout.sequences.flatMap(({ name }, at) => {
    const windows = [known, servable].map(({ state }) => state?.sequences[at]?.window ?? []);
    const [inTrue, inServable] = windows.map((window) => new Map(window.map((each) => [keyOf(each), each])));
    const keys = new Set([...inTrue!.keys(), ...inServable!.keys()]);
    return [...keys]
      .flatMap((key): Difference[] => {
        const [a, b] = [inTrue!.get(key), inServable!.get(key)];
        if (a?.surface === b?.surface && a !== undefined) return [];
        const action = (a ?? b)!;
        const where = a === undefined ? 'servable' : b === undefined ? 'true' : 'both';
        const { cause, past } = causeOf(where, action, records.get(key)!, options);
        const { offset, arrivalTimeMs } = past.record;
        return [{ sequence: name, in: where, cause, action, offset, arrivalTimeMs }];
      })
      .sort((left, right) => compareKeys(right.action, left.action));
  });
}

/** Actions that are true and that the servable state has never counted or has lost, in windows or sealed, by cause. */
export function missingOf({ known, servable }: DifferenceOptions): Partial<Record<DifferenceCause, number>> {
  const missing: Partial<Record<DifferenceCause, number>> = {};
  const then = byKey(servable.judged);
  for (const key of byKey(known.judged).keys()) {
    const served = then.get(key) ?? [];
    const taken = served.filter(({ outcome }) => outcome === 'accepted');
    if (taken.some(({ removedBy }) => removedBy === null)) continue;
    const cause = taken.length > 0 ? 'expired' : served.length > 0 ? 'late' : 'arrived_later';
    missing[cause] = (missing[cause] ?? 0) + 1;
  }
  return missing;
}

function byKey(judged: readonly Judged[]): Map<string, Judged[]> {
  const records = new Map<string, Judged[]>();
  for (const past of judged) {
    if (past.record.kind !== 'action') continue;
    const key = keyOf(past.record.action);
    const held = records.get(key);
    if (held === undefined) records.set(key, [past]);
    else held.push(past);
  }
  return records;
}

function causeOf(
  where: Difference['in'],
  action: Action,
  records: readonly Judged[],
  { timeMs, servable, isServable }: DifferenceOptions,
): { cause: DifferenceCause; past: Judged } {
  const [first] = records as [Judged];
  if (where === 'servable') {
    if (action.eventTimeMs > timeMs) return { cause: 'ahead_of_time', past: first };
    const isErased = records.every(({ removedBy }) => removedBy === 'erase');
    return { cause: isErased ? 'erased' : 'sealed', past: first };
  }
  if (where === 'both') {
    const later = records.find((past) => !isServable(past));
    return { cause: 'surface', past: later ?? records.at(-1)! };
  }
  const inTime = records.find((past) => isServable(past) && past.removedBy !== 'erase');
  if (inTime === undefined)
    return { cause: 'arrived_later', past: records.find((past) => past.removedBy !== 'erase') ?? first };
  // As it was in the prefix: what was accepted there may have been removed since.
  const then = servable.judged.filter(
    ({ record }) => record.kind === 'action' && keyOf(record.action) === keyOf(action),
  );
  const taken = then.find(({ outcome }) => outcome === 'accepted');
  if (taken === undefined) return { cause: 'late', past: inTime };
  return { cause: taken.removedBy === 'expire' ? 'expired' : 'sealed', past: taken };
}

const keyOf = ({ eventTimeMs, itemId, actionType }: ActionKey): string =>
  JSON.stringify([eventTimeMs, itemId, actionType]);
