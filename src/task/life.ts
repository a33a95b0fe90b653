/**
 * The life of a task. Transitions that are not listed are defects and throw.
 *
 *     CREATED ─► FENCING ─► RESTORING ─► RUNNING ─► CLOSING ─► CLOSED
 *                               ▲           │
 *                               └───────────┘  the store is damaged: it is made again from the log
 */
import { FreshetError, invariant, type Position } from '../base/errors.ts';

export type TaskState = 'CREATED' | 'FENCING' | 'RESTORING' | 'RUNNING' | 'CLOSING' | 'CLOSED';

const NEXT: Readonly<Record<TaskState, readonly TaskState[]>> = {
  CREATED: ['FENCING', 'CLOSING'],
  FENCING: ['RESTORING', 'CLOSING'],
  RESTORING: ['RUNNING', 'CLOSING'],
  RUNNING: ['RESTORING', 'CLOSING'],
  CLOSING: ['CLOSED'],
  CLOSED: [],
};

export class TaskLife {
  private current: TaskState = 'CREATED';
  private readonly position: Position;

  constructor(position: Position) {
    this.position = position;
  }

  get state(): TaskState {
    return this.current;
  }

  to(next: TaskState): void {
    if (!NEXT[this.current].includes(next)) {
      throw new FreshetError('INTERNAL', `a task cannot go from ${this.current} to ${next}`, {
        position: this.position,
      });
    }
    this.current = next;
  }

  /**
   * One step of a running task. When the store turns out to be damaged, `remake` wipes it and restores it from the log;
   * the step has then done nothing, or only what the log has committed, and `idle` is what it returns.
   */
  async step<T>(work: () => Promise<T>, remake: (damage: FreshetError) => Promise<void>, idle: T): Promise<T> {
    invariant(this.current === 'RUNNING', `a step in state ${this.current}`, this.position);
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof FreshetError && error.code === 'STORE_DAMAGED')) throw error;
      this.to('RESTORING');
      await remake(error);
      return idle;
    }
  }
}
