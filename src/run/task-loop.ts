/**
 * One task at work: started, then stepped whenever there is something to read, until it is told to stop or another worker
 * has taken over. What passes by itself is waited out here; what does not is thrown.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { FreshetError } from '../base/errors.ts';
import type { AwaitedPosition, Log } from '../log/log.ts';
import type { WorkerEvents } from '../observe/worker-observer.ts';
import type { TaskRef } from '../task/observer.ts';
import { isRetryable } from '../task/retry.ts';
import { patiently } from './patience.ts';
import type { Permits } from './permits.ts';

/** What the loop needs of a task; both kinds are that. */
export interface LoopTask {
  readonly ref: TaskRef;
  /** Rejects with the signal's reason if that comes before the task has begun: it is closed then. */
  start(signal: AbortSignal): Promise<void>;
  /** `waitingFor`: the item-vector version without which the task cannot go on. */
  step(): Promise<{ readonly records: number; readonly waitingFor: string | null }>;
  /** Where the next record of each input is expected. */
  positions(): readonly AwaitedPosition[];
  close(): Promise<void>;
}

/** What all tasks of a worker share. */
export interface LoopShared {
  readonly log: Pick<Log, 'knownEnd' | 'waitForRecords'>;
  readonly logger: Logger;
  /** The shortest time between two commits that are not full. */
  readonly intervalMs: number;
  /** Bound the memory of the commits and of the restores in the making. */
  readonly commits: Permits;
  readonly restores: Permits;
  /** After this long a task looks for records without having heard of any. */
  readonly idleMs: number;
  /** Why the table of an item-vector version is not complete. */
  readonly whyWaiting: (version: string) => string;
  readonly events: WorkerEvents;
}

/** How far the task is, after every step. */
export interface LoopProgress {
  readonly records: number;
  /** Records known and not yet consumed. */
  readonly lag: number;
  readonly waitingFor: string | null;
}

export interface LoopOptions {
  readonly task: LoopTask;
  readonly shared: LoopShared;
  /** Hears of every step, and says when the next one is to be. */
  readonly onProgress: (progress: LoopProgress) => Pace;
}

/** At once; when a record arrives; or when one has arrived and the commit interval is over. */
export type Pace = 'at once' | 'on arrival' | 'by interval';

/** How long the store may be held by its earlier owner, e.g. another thread that is closing it. */
const STORE_RELEASE_MS = 30_000;

export class TaskLoop {
  private readonly task: LoopTask;
  private readonly options: LoopOptions;
  private told: string | null = null;

  constructor(options: LoopOptions) {
    this.options = options;
    this.task = options.task;
  }

  /** Ends with the task closed: at the signal, or when another worker has fenced it. */
  async run(signal: AbortSignal): Promise<'stopped' | 'fenced'> {
    const { task } = this;
    const { shared } = this.options;
    // Interrupts a restore; a step that is under way ends first.
    const close = (): void => void task.close().catch(() => undefined); // Below it is waited for.
    signal.addEventListener('abort', close, { once: true });
    try {
      await this.patiently(() => shared.restores.use(() => task.start(signal), signal), signal);
      for (;;) await this.round(signal);
    } catch (error) {
      const isOver = signal.aborted && (error === signal.reason || isRetryable(error) || isAbort(error));
      if (isOver) return 'stopped';
      if (error instanceof FreshetError) shared.events.failed?.(error, task.ref);
      if (error instanceof FreshetError && error.code === 'FENCED') {
        const detail = { code: error.code, ...task.ref, detail: error.detail };
        shared.logger.warn(detail, 'another worker has taken over this partition');
        return 'fenced';
      }
      throw error;
    } finally {
      signal.removeEventListener('abort', close);
      await task.close();
    }
  }

  private async round(signal: AbortSignal): Promise<void> {
    const { task } = this;
    const { shared, onProgress } = this.options;
    const startedMs = performance.now();
    const { records, waitingFor } = await this.patiently(() => shared.commits.use(() => task.step(), signal), signal);
    this.tell(waitingFor);
    const pace = onProgress({ records, lag: this.lag(), waitingFor });
    if (pace === 'at once') return;
    const restMs = pace === 'by interval' ? shared.intervalMs - (performance.now() - startedMs) : 0;
    if (restMs > 0) await sleep(restMs, undefined, { signal });
    await this.patiently(() => shared.log.waitForRecords(task.positions(), shared.idleMs, signal), signal);
    signal.throwIfAborted();
  }

  /** As the step's own reads told it: to ask once more would cost a request a step. */
  private lag(): number {
    const { log } = this.options.shared;
    return this.task
      .positions()
      .reduce((lag, { at, offset }) => lag + Math.max(0, (log.knownEnd(at) ?? offset) - offset), 0);
  }

  private patiently<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const { ref } = this.task;
    const { logger, events } = this.options.shared;
    return patiently(work, {
      signal,
      logger,
      who: ref,
      onWait: (error) => events.waiting?.(error, ref),
      onResume: () => events.resumed?.(ref),
      passes: (code, waitedMs) => code === 'DATA_DIR_IN_USE' && waitedMs < STORE_RELEASE_MS,
    });
  }

  /** To people once a version, to those who watch at every step. */
  private tell(waitingFor: string | null): void {
    const { logger, whyWaiting, events } = this.options.shared;
    const { ref } = this.task;
    if (waitingFor !== null) {
      const reason = whyWaiting(waitingFor);
      const message = 'waiting for the item vectors that the log activates';
      if (waitingFor !== this.told) logger.warn({ code: 'ITEM_VERSION_INCOMPLETE', ...ref, reason }, message);
      events.waiting?.(new FreshetError('ITEM_VERSION_INCOMPLETE', reason), ref);
    } else if (this.told !== null) events.resumed?.(ref);
    this.told = waitingFor;
  }
}

const isAbort = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError';
