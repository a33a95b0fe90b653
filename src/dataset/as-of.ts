/**
 * A user at a moment, by two clocks: what was true then, as known now, and what could be served then. Both are made by
 * the stream's reducer; what tells them apart is told action by action.
 */
import { compareKeys, type Action } from '../../state/action.ts';
import { describe } from '../../state/describe.ts';
import type { Layout } from '../../state/layout.ts';
import { reduce, type Outcome, type UserRecord } from '../../state/reducer.ts';
import type { SequenceState, UserState } from '../../state/user-state.ts';
import type { SessionRecord } from '../../topics/records.ts';
import { differencesOf, missingOf, type Difference, type DifferenceCause } from './as-of-differences.ts';
import type { LogMoment, PastRecord, UserPast } from './user-past.ts';

export interface ShownAction extends Action {
  readonly hidden: boolean;
}

export interface SequenceView {
  readonly name: string;
  /** Newest first, down to the K-th that is not hidden. */
  readonly actions: readonly ShownAction[];
  readonly sealed: number;
  /** For each action type one decayed count a half-life, as of the newest event. */
  readonly counters: Readonly<Record<string, readonly number[]>>;
}

export interface View {
  readonly sequences: readonly SequenceView[];
  readonly session: SessionRecord;
}

/** Null: nothing of the user. */
export interface UserAsOf {
  readonly userId: string;
  readonly partition: number;
  readonly timeMs: number;
  readonly true: View | null;
  readonly servable: (View & { readonly version: number; readonly itemVersion: string | null }) | null;
  /** The version that the user has now; null: the log holds nothing of it any more. */
  readonly newestVersion: number | null;
  /** Of the windows. */
  readonly differences: readonly Difference[];
  /** Actions, wherever they stand, that are true and that the servable sequences lack, by cause. */
  readonly missing: Readonly<Partial<Record<DifferenceCause, number>>>;
}

/** A time, or the place in the user's partition whose clock is the time. */
export type Moment = { readonly timeMs: number } | LogMoment;

/** A record, and what became of it in the order of the log. */
export interface Judged extends PastRecord {
  readonly outcome: Outcome;
  /** Of the record that removed what this one had left, an erase or an expiry. */
  removedBy: 'erase' | 'expire' | null;
}

/**
 * @param lagMs - from an arrival until features that know of it could be served.
 */
export function userAsOf(past: UserPast, moment: Moment, lagMs: number, layout: Layout): UserAsOf {
  const { userId, partition, records } = past;
  const timeMs = 'timeMs' in moment ? moment.timeMs : moment.clockMs;
  const isServable = ({ record, clockMs }: PastRecord): boolean =>
    'timeMs' in moment || lagMs > 0
      ? clockMs <= timeMs - lagMs && (!('offset' in moment) || record.offset < moment.offset)
      : record.offset < moment.offset;
  const owner = { userId, partition };
  const prefix = records.filter(isServable);
  const servable = fed(prefix, owner, layout);
  const now = fed(records, owner, layout);
  const known = fed(inKeyOrder(now.judged, timeMs, layout), owner, layout);
  const last = prefix.at(-1);
  const both = { layout, timeMs, known, servable, now: now.judged, isServable };
  return {
    ...{ userId, partition, timeMs },
    true: known.state === null ? null : viewOf(known.state, layout),
    servable:
      servable.state === null
        ? null
        : { ...viewOf(servable.state, layout), version: servable.state.version, itemVersion: last!.itemVersion },
    newestVersion: now.state?.version ?? null,
    differences: differencesOf(both),
    missing: missingOf(both),
  };
}

export interface Fed {
  readonly state: UserState | null;
  readonly judged: readonly Judged[];
}

function fed(records: readonly PastRecord[], owner: { userId: string; partition: number }, layout: Layout): Fed {
  let state: UserState | null = null;
  const judged: Judged[] = [];
  let living = 0;
  for (const past of records) {
    const reduction = reduce(state, past.record, owner, layout);
    const { kind } = past.record;
    if (reduction.outcome === 'removed' && (kind === 'erase' || kind === 'expire')) {
      for (const each of judged.slice(kind === 'erase' ? 0 : living)) each.removedBy = kind;
      living = judged.length;
    }
    judged.push({ ...past, outcome: reduction.outcome, removedBy: null });
    ({ state } = reduction);
  }
  return { state, judged };
}

/**
 * Every valid action up to the time, as if each had arrived in its turn: none is late then. What an erase has removed is
 * not known any more; an expiry removes what is kept of a user, not what happened.
 */
function inKeyOrder(judged: readonly Judged[], timeMs: number, layout: Layout): PastRecord[] {
  return judged
    .flatMap((past): (PastRecord & { record: UserRecord & { kind: 'action' } })[] => {
      const { record, removedBy } = past;
      if (record.kind !== 'action' || removedBy === 'erase' || record.action.eventTimeMs > timeMs) return [];
      if (record.action.eventTimeMs > record.arrivalTimeMs + layout.maxFutureMs) return [];
      return [{ ...past, record }];
    })
    .sort((a, b) => compareKeys(a.record.action, b.record.action) || a.record.offset - b.record.offset)
    .map((past, offset) => ({ ...past, record: { ...past.record, offset } }));
}

function viewOf(state: UserState, layout: Layout): View {
  const { views, session } = describe(state, UNSCORED, layout);
  const sequences = state.sequences.map((sequence, at): SequenceView => {
    const { name, hiddenPositions, counterTypes, counters } = views[at]!;
    const width = layout.halfLivesMs.length;
    return {
      name,
      actions: shownActions(sequence, new Set(hiddenPositions), layout.sequences[at]!.windowSize),
      sealed: sequence.base.sealed,
      counters: Object.fromEntries(
        counterTypes.map((type, index) => [type, counters.slice(index * width, (index + 1) * width)]),
      ),
    };
  });
  return { sequences, session };
}

function shownActions({ window }: SequenceState, hidden: ReadonlySet<number>, windowSize: number): ShownAction[] {
  const shown: ShownAction[] = [];
  let visible = 0;
  for (let at = 0; at < window.length && visible < windowSize; at += 1) {
    const isHidden = hidden.has(at);
    shown.push({ ...window[window.length - 1 - at]!, hidden: isHidden });
    if (!isHidden) visible += 1;
  }
  return shown;
}

/** Views and sessions depend on no model. */
const UNSCORED = {
  ...{ itemVersion: null, itemsWithVector: 0, outcomes: [], intent: [], actionTypes: [] },
  ...{ propensity: new Float32Array(0), finite: true, scorerHash: '' },
};
