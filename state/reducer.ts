/**
 * The reducer: one user's state and one input record give the next state. Pure: no clock, no I/O. Stream, replay,
 * backfill and point-in-time reads all call this function; there is no second implementation to drift.
 */
import type { Action } from './action.ts';
import type { Layout } from './layout.ts';
import { take, type Chunk, type FoldEffect } from './sequence.ts';
import { EMPTY_SEQUENCE, type Envelope, type SequenceState, type UserState } from './user-state.ts';

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
      return unchanged(seen(state, record, {}), 'kept');
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
  const sequences: SequenceState[] = [];
  let outcome: 'accepted' | 'duplicate' | 'late' = 'late';
  let fold: FoldEffect = 'none';
  layout.sequences.forEach((sequenceLayout, index) => {
    const sequence = user.sequences[index]!;
    if (sequenceLayout.actionTypes !== null && !sequenceLayout.actionTypes.has(action.actionType)) {
      sequences.push(sequence);
      return;
    }
    const taken = take(sequence, action, sequenceLayout, layout.halfLivesMs);
    sequences.push(taken.sequence);
    if (taken.chunk !== null) chunks.push(taken.chunk);
    if (index === layout.scored) fold = taken.fold;
    // The record counts once: as the best that any sequence made of it.
    if (taken.outcome === 'accepted' || outcome === 'late') outcome = taken.outcome;
  });
  return { state: { ...seen(user, record, counted(user, outcome, action)), sequences }, outcome, chunks, fold };
}

function counted(user: UserState, outcome: 'accepted' | 'duplicate' | 'late', action: Action): Partial<Envelope> {
  const count = { [outcome]: user.envelope[outcome] + 1 };
  if (outcome !== 'accepted') return count;
  return { ...count, newestEventTimeMs: Math.max(user.envelope.newestEventTimeMs, action.eventTimeMs) };
}

/** A rejection creates no user: counts, envelopes and versions of users that exist are functions of the log. */
function reject(state: UserState | null, record: UserRecord, outcome: 'future' | 'rejected'): Reduction {
  if (state === null) return unchanged(null, outcome);
  return unchanged(seen(state, record, { [outcome]: state.envelope[outcome] + 1 }), outcome);
}

/** Every record consumed for a user moves its version and its newest arrival. */
const seen = (state: UserState, record: UserRecord, envelope: Partial<Envelope>): UserState => ({
  ...state,
  version: record.offset,
  envelope: {
    ...state.envelope,
    ...envelope,
    newestArrivalTimeMs: Math.max(state.envelope.newestArrivalTimeMs, record.arrivalTimeMs),
  },
});

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
