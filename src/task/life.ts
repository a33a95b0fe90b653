/**
 * The life of a task, and the only place that opens and drops its writer. Transitions that are not listed are defects
 * and throw.
 *
 *     CREATED ─► FENCING ─► RESTORING ─► RUNNING ─► CLOSING ─► CLOSED
 *                   ▲           ▲ │       │   │
 *                   │           └─┼───────┘   │  the store is damaged: it is made again from the log
 *                   └─────────────┴───────────┘  a commit failed, or the log contradicts what was committed: the writer
 *                                                is dropped and another fences it
 *
 * What a start or a step throws leaves the task where the next step can take it up, unless it is closed.
 */
import type { Logger } from 'pino';
import { FreshetError, invariant, type Position } from '../base/errors.ts';
import type { CommitRequest, TaskWriter } from '../log/log.ts';
import type { TaskObserver, TaskRef } from './observer.ts';
import { contradictsLog, isRetryable } from './retry.ts';

export type TaskState = 'CREATED' | 'FENCING' | 'RESTORING' | 'RUNNING' | 'CLOSING' | 'CLOSED';

const NEXT: Readonly<Record<TaskState, readonly TaskState[]>> = {
  CREATED: ['FENCING', 'CLOSING'],
  FENCING: ['RESTORING', 'CLOSING'],
  RESTORING: ['FENCING', 'RUNNING', 'CLOSING'],
  RUNNING: ['FENCING', 'RESTORING', 'CLOSING'],
  CLOSING: ['CLOSED'],
  CLOSED: [],
};

/** Once more after a failure that can be mended; what fails again is for the caller to wait out. */
const ATTEMPTS = 2;

export interface TaskLifeOptions {
  readonly task: TaskRef;
  readonly position: Position;
  readonly logger: Pick<Logger, 'warn'>;
  readonly observer: TaskObserver | undefined;
  /** Fences every earlier writer of the task. */
  readonly openWriter: () => Promise<TaskWriter>;
  /** Forgets what is in memory and brings the store to what is committed; ends early, with its reason, on the signal. */
  readonly restore: (writer: TaskWriter, signal: AbortSignal) => Promise<void>;
  /** Empties the store, also a damaged one. */
  readonly wipeStore: () => Promise<void>;
  readonly closeStore: () => Promise<void>;
}

export class TaskLife {
  private readonly options: TaskLifeOptions;
  private readonly closing = new AbortController();
  private current: TaskState = 'CREATED';
  private writer: TaskWriter | undefined;
  private storeDamaged = false;
  /** How far the commit of the present step has come. */
  private committing: 'no' | 'log' | 'store' = 'no';
  private call: Promise<unknown> | undefined;
  private closed: Promise<void> | undefined;

  constructor(options: TaskLifeOptions) {
    this.options = options;
  }

  get state(): TaskState {
    return this.current;
  }

  /** Fences earlier owners, then brings the store to what is committed. May be called again where it failed. */
  start(): Promise<void> {
    return this.once(() => {
      invariant(this.current !== 'RUNNING', 'a second start', this.options.position);
      return this.attempt(() => Promise.resolve());
    });
  }

  /**
   * One step of a started task. A damaged store is made again, and after a failed commit the task fences and restores;
   * either way `work` then begins anew from what is committed.
   */
  step<T>(work: () => Promise<T>): Promise<T> {
    return this.once(() => {
      invariant(this.current !== 'CREATED', 'a step of a task that was not started', this.options.position);
      return this.attempt(work);
    });
  }

  /** The log's half of a commit, once a step; the rest of the step belongs to the store's half. */
  async commit(request: CommitRequest): Promise<void> {
    invariant(this.writer !== undefined, 'a commit before fencing', this.options.position);
    this.committing = 'log';
    await this.writer.commit(request);
    this.committing = 'store';
  }

  /** Interrupts a restore, waits for a step that is under way, and ends the task for good. Closing again does nothing. */
  close(): Promise<void> {
    this.closed ??= this.end();
    return this.closed;
  }

  private async end(): Promise<void> {
    this.closing.abort(new DOMException('the task is closed', 'AbortError'));
    await this.call?.catch(() => undefined); // Its caller has the error.
    this.to('CLOSING');
    try {
      await this.options.closeStore();
    } finally {
      await this.dropWriter();
      this.to('CLOSED');
    }
  }

  private async once<T>(work: () => Promise<T>): Promise<T> {
    invariant(this.closed === undefined, 'a call of a closed task', this.options.position);
    invariant(this.call === undefined, 'two calls of a task at once', this.options.position);
    const call = work();
    this.call = call;
    try {
      return await call;
    } finally {
      this.call = undefined;
    }
  }

  private async attempt<T>(work: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        if (this.current !== 'RUNNING') await this.recover();
        const result = await work();
        this.committing = 'no';
        return result;
      } catch (error) {
        const isLast = attempt === ATTEMPTS || this.closing.signal.aborted;
        if (!this.canMend(error, isLast) || isLast) throw error;
      }
    }
  }

  private async recover(): Promise<void> {
    const { openWriter, restore, wipeStore } = this.options;
    if (this.current !== 'RESTORING') {
      if (this.current !== 'FENCING') this.to('FENCING');
      await this.dropWriter();
      this.writer = await openWriter();
      this.to('RESTORING');
    }
    if (this.storeDamaged) await wipeStore();
    this.storeDamaged = false;
    this.closing.signal.throwIfAborted();
    await restore(this.writer!, this.closing.signal);
    this.to('RUNNING');
  }

  /** Puts the task where the failure can be mended; whether it may be tried at once. */
  private canMend(error: unknown, isLast: boolean): boolean {
    const { logger, position } = this.options;
    const { committing } = this;
    this.committing = 'no';
    const code = error instanceof FreshetError ? error.code : undefined;
    // Another one owns the partition: to fence it in turn would be to fight it.
    if (code === 'FENCED') return false;
    if (code === 'STORE_DAMAGED') {
      logger.warn({ code, ...position }, 'the store is damaged; it is made again');
      this.storeDamaged = true;
      if (this.current === 'RUNNING') this.to('RESTORING');
      return true;
    }
    if (contradictsLog(error) && committing === 'no' && !isLast) {
      this.to('FENCING');
      return true;
    }
    // The log has the commit and the store may not.
    if (committing === 'store') this.to('RESTORING');
    if (committing !== 'log') return false;
    // A writer that failed once is in doubt, whatever the reason.
    this.to('FENCING');
    if (!isRetryable(error)) return false;
    logger.warn({ code, detail: error.detail, ...position }, 'a commit failed; its outcome is read from the log');
    return true;
  }

  private async dropWriter(): Promise<void> {
    const { writer } = this;
    this.writer = undefined;
    try {
      await writer?.close();
    } catch (error) {
      const { logger, position } = this.options;
      logger.warn({ err: error, ...position }, 'the writer could not be closed; the next one fences it');
    }
  }

  private to(next: TaskState): void {
    const { task, position, observer } = this.options;
    const allowed = NEXT[this.current].includes(next);
    invariant(allowed, `a task cannot go from ${this.current} to ${next}`, position);
    this.current = next;
    observer?.state?.(task, next);
  }
}
