/** A user as one features record will tell it: after one of its records or, emitted once a commit, after the last. */
import type { ItemTable } from '../intent/item-table.ts';
import type { Reduction } from '../../state/reducer.ts';
import type { WrittenState } from '../../state/state-writer.ts';
import type { UserState } from '../../state/user-state.ts';
import type { ScoreCache } from './score-cache.ts';

export interface Revision {
  readonly userId: string;
  /** Its number in the commit: revisions are emitted in this order, in whichever they are folded. */
  readonly place: number;
  /** Whether there was a user before it: one that is gone is told by a tombstone, one that never was by nothing. */
  readonly existed: boolean;
  /** How many revisions of the user have to be folded before this one, among those that are not folded yet. */
  readonly depth: number;
  state: UserState | null;
  /**
   * The fold of a first part of the window; null where it begins from zeros, or goes on from `previous`. Once folded:
   * that of all the window.
   */
  cache: ScoreCache | null;
  previous: Revision | null;
  /** The item vectors in force at the record. */
  table: ItemTable;
  /** Arrival of the record: the timestamp of what is written. */
  arrivalTimeMs: number;
  isFolded: boolean;
  /** The record before it of the user, as it was written; once it is written itself, its own. */
  written: WrittenState | null;
  /** It is one record further than the one before it: not two or more, taken into one. */
  isOneRecord: boolean;
  /** No other revision of the user is known to come after it. */
  isNewest: boolean;
  /** A further record of the user makes another revision. */
  isClosed: boolean;
  /** Its features are written; of one that is not emitted only the state is kept. */
  isEmitted: boolean;
}

/** What a revision is made from, when it is the first of its user. */
export interface UserBefore {
  readonly userId: string;
  readonly state: UserState | null;
  readonly cache: ScoreCache | null;
}

export type RevisionPlace = Pick<Revision, 'place' | 'table' | 'arrivalTimeMs' | 'isClosed' | 'isEmitted'>;

/**
 * The revision that a record makes. One that is folded from zeros waits for no other, so that long runs of a busy user
 * fall into parts which are folded side by side: at the latest a seal, after K + C actions, begins a new one.
 */
export function revisionAfter(
  last: Revision | undefined,
  before: UserBefore,
  { state, fold }: Reduction,
  place: RevisionPlace,
): Revision {
  const { table } = place;
  const existed = before.state !== null;
  const goesOn = existed && state !== null && fold !== 'refold';
  if (last !== undefined) last.isNewest = false;
  // Under another version a window is folded from zeros anyway.
  const from = goesOn && last?.table.version === table.version ? last : undefined;
  const previous = from === undefined || from.isFolded ? null : from;
  const known = last === undefined ? before.cache : (from?.cache ?? null);
  return {
    // Field by field, as one is made for every record: a spread takes several times as long.
    place: place.place,
    table,
    arrivalTimeMs: place.arrivalTimeMs,
    isClosed: place.isClosed,
    isEmitted: place.isEmitted,
    userId: before.userId,
    existed,
    depth: previous === null ? 0 : previous.depth + 1,
    state,
    cache: goesOn && previous === null ? known : null,
    previous,
    isFolded: false,
    written: previous === null ? (from?.written ?? null) : null,
    isOneRecord: true,
    isNewest: true,
  };
}

/** The same revision after a further record, where not every one is emitted. */
export function reviseInPlace(revision: Revision, { state, fold }: Reduction, table: ItemTable, timeMs: number): void {
  if (revision.state === null || state === null || fold === 'refold') {
    revision.cache = null;
    revision.previous = null;
  }
  revision.isOneRecord = false;
  revision.written = null;
  revision.state = state;
  revision.table = table;
  revision.arrivalTimeMs = timeMs;
}
