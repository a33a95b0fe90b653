/** What a task tells of itself, for metrics and status. Observers are called between two steps of work, so they return at once. */
import type { TaskState } from './life.ts';

export interface TaskRef {
  readonly kind: 'features' | 'join';
  readonly partition: number;
}

export interface CommitReport {
  /** Input records consumed. */
  readonly records: number;
  /** Records written, to any topic. */
  readonly outputs: number;
  /** Their keys and values. */
  readonly outputBytes: number;
  /** From the first read to the store's commit. */
  readonly durationMs: number;
  /** The log's commit alone. */
  readonly commitMs: number;
  /** The input offset to go on from; of a join that of its features. */
  readonly offset: number;
  /** Of the actions taken; null if there were none, and in a join. */
  readonly newestEventTimeMs: number | null;
  readonly newestArrivalTimeMs: number | null;
  /** Records of this commit by outcome. */
  readonly counts: ReadonlyMap<string, number>;
}

export interface TaskObserver {
  state?(task: TaskRef, state: TaskState): void;
  /** How far a restore has come, in offsets of the topic it reads. */
  restoring?(task: TaskRef, restored: number, total: number): void;
  committed?(task: TaskRef, commit: CommitReport): void;
}
