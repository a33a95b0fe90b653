/** What is kept of one user. Values are never changed in place: the reducer makes new ones. */
import type { Action, ActionKey } from './action.ts';

/** What is older than the window, counted. No model state: it could not survive a new model. */
export interface Base {
  /** Key of the last sealed action: whatever is at or below it is late. */
  readonly leftEdge: ActionKey | null;
  /** Actions sealed. */
  readonly sealed: number;
  /** Chunks sent to the history; the next one has this number. */
  readonly chunks: number;
  /** Action types of `counters`, in order of their bytes. */
  readonly counterTypes: readonly string[];
  /** Decayed counts of the sealed actions as of the left edge: for each of counterTypes one a half-life. */
  readonly counters: readonly number[];
}

export interface SequenceState {
  readonly base: Base;
  /** Oldest first; at most K + C − 1 actions between two records. */
  readonly window: readonly Action[];
}

/** Counts and times of what was consumed for the user; they depend on arrival by their nature. */
export interface Envelope {
  readonly newestEventTimeMs: number;
  readonly newestArrivalTimeMs: number;
  readonly accepted: number;
  readonly duplicate: number;
  readonly late: number;
  readonly future: number;
  readonly rejected: number;
}

export interface UserState {
  readonly userId: string;
  /** Offset of the last input record consumed for the user, whatever became of that record. */
  readonly version: number;
  readonly firstOffset: number;
  readonly partition: number;
  readonly envelope: Envelope;
  /** In the order of the layout. */
  readonly sequences: readonly SequenceState[];
}

export const EMPTY_SEQUENCE: SequenceState = {
  base: { leftEdge: null, sealed: 0, chunks: 0, counterTypes: [], counters: [] },
  window: [],
};
