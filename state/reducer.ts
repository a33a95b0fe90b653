/**
 * The reducer: one user's state and one input record give the next state. Pure: no clock, no I/O. Stream, replay,
 * backfill and point-in-time reads all call this function; there is no second implementation to drift.
 */
import type { Action } from './action.ts';
import type { Layout } from './layout.ts';
import { take, type Chunk, type FoldEffect } from './sequence.ts';
import { EMPTY_SEQUENCE, type UserState } from './user-state.ts';

/** An input record that belongs to a user, at its offset, with its arrival time (the record timestamp). */
export type UserRecord = { readonly offset: number; readonly arrivalTimeMs: number } & (
  | { readonly kind: 'action'; readonly action: Action }
  /** The record was rejected for a cause in its bytes; it is counted, and moves the version. */
  | { readonly kind: 'rejected' }
  /** The user leaves unless a record was consumed for it since the sweep saw `seenVersion`. */
  | { readonly kind: 'expire'; readonly seenVersion: number }
  /** Everything kept of the user goes; what follows in the log is a new user. */
  | { readonly kind: 'erase' }
);

export type Outcome =
  | 'accepted'
  | 'duplicate'
  | 'late'
  | 'future'
  | 'rejected'
  | 'removed' // by an erase or an expiry
  | 'kept' // an expiry that came too late
  | 'skipped'; // at or below the version: consumed before

/** The outcomes that the envelope counts. */
type CountedOutcome = 'accepted' | 'duplicate' | 'late' | 'future' | 'rejected';

export interface Reduction {
  /** Null: nothing is kept of the user. */
  readonly state: UserState | null;
  readonly outcome: Outcome;
  /** Sealed by this record, for the history. */
  readonly chunks: readonly Chunk[];
  /** What the record did to the window of the scored sequence. */
  readonly fold: FoldEffect;
}

export interface Owner {
  readonly userId: string;
  readonly partition: number;
}

export function reduce(state: UserState | null, record: UserRecord, owner: Owner, layout: Layout): Reduction {
  if (state !== null && record.offset <= state.version) return unchanged(state, 'skipped');
  switch (record.kind) {
    case 'erase':
      return unchanged(null, 'removed');
    case 'expire':
      if (state === null || state.version <= record.seenVersion) return unchanged(null, 'removed');
      return unchanged(consumed(state, record, null), 'kept');
    case 'rejected':
      return reject(state, record, 'rejected');
    case 'action':
      if (record.action.eventTimeMs > record.arrivalTimeMs + layout.maxFutureMs) return reject(state, record, 'future');
      return takeAction(state, record, record.action, owner, layout);
  }
}

function takeAction(
  state: UserState | null,
  record: UserRecord,
  action: Action,
  owner: Owner,
  layout: Layout,
): Reduction {
  const user = state ?? newUser(record, owner, layout);
  const chunks: Chunk[] = [];
  const sequences = user.sequences.slice();
  let outcome: 'accepted' | 'duplicate' | 'late' = 'late';
  let fold: FoldEffect = 'none';
  layout.sequences.forEach((sequenceLayout, index) => {
    const sequence = user.sequences[index]!;
    if (sequenceLayout.actionTypes !== null && !sequenceLayout.actionTypes.has(action.actionType)) return;
    const taken = take(sequence, action, sequenceLayout, layout.halfLivesMs);
    sequences[index] = taken.sequence;
    if (taken.chunk !== null) chunks.push(taken.chunk);
    if (index === layout.scored) fold = taken.fold;
    // The record counts once: as the best that any sequence made of it.
    if (taken.outcome === 'accepted' || outcome === 'late') outcome = taken.outcome;
  });
  return { state: consumed(user, record, outcome, action.eventTimeMs, sequences), outcome, chunks, fold };
}

/** A rejection creates no user: counts, envelopes and versions of users that exist are functions of the log. */
function reject(state: UserState | null, record: UserRecord, outcome: 'future' | 'rejected'): Reduction {
  if (state === null) return unchanged(null, outcome);
  return unchanged(consumed(state, record, outcome), outcome);
}

/**
 * Every record consumed for a user moves its version and its newest arrival, and counts as one `outcome`. Written out
 * field by field, as it runs for every record: spreads took five times as long.
 */
function consumed(
  state: UserState,
  record: UserRecord,
  outcome: CountedOutcome | null,
  eventTimeMs = 0,
  sequences = state.sequences,
): UserState {
  const { envelope } = state;
  const { newestEventTimeMs } = envelope;
  return {
    userId: state.userId,
    version: record.offset,
    firstOffset: state.firstOffset,
    partition: state.partition,
    envelope: {
      newestEventTimeMs: outcome === 'accepted' ? Math.max(newestEventTimeMs, eventTimeMs) : newestEventTimeMs,
      newestArrivalTimeMs: Math.max(envelope.newestArrivalTimeMs, record.arrivalTimeMs),
      accepted: envelope.accepted + (outcome === 'accepted' ? 1 : 0),
      duplicate: envelope.duplicate + (outcome === 'duplicate' ? 1 : 0),
      late: envelope.late + (outcome === 'late' ? 1 : 0),
      future: envelope.future + (outcome === 'future' ? 1 : 0),
      rejected: envelope.rejected + (outcome === 'rejected' ? 1 : 0),
    },
    sequences,
  };
}

const unchanged = (state: UserState | null, outcome: Outcome): Reduction => ({
  state,
  outcome,
  chunks: [],
  fold: 'none',
});

const newUser = (record: UserRecord, owner: Owner, layout: Layout): UserState => ({
  userId: owner.userId,
  version: -1,
  firstOffset: record.offset,
  partition: owner.partition,
  envelope: {
    newestEventTimeMs: 0,
    newestArrivalTimeMs: 0,
    accepted: 0,
    duplicate: 0,
    late: 0,
    future: 0,
    rejected: 0,
  },
  sequences: layout.sequences.map(() => EMPTY_SEQUENCE),
});
