/** The health of one worker thread, from what its tasks tell. */
import type { FreshetError } from '../base/errors.ts';
import type { TaskState } from '../task/life.ts';
import type { TaskObserver, TaskRef } from '../task/observer.ts';
import { MOST_REASONS, reason, secondsSince, waitingReason } from './health.ts';
import type { HealthReason, HealthReport, Waiting } from './health.ts';

export interface WorkerHealthOptions {
  /** A task that makes no progress for this long, though it could, is stalled. */
  readonly stallMs: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

interface TaskHealth {
  readonly task: TaskRef;
  state: TaskState;
  lag: number;
  progress: number | undefined;
  /** When it last did something, or had nothing to do, or said what it waits for. */
  aliveMs: number;
  waiting: Waiting | undefined;
}

export class WorkerHealth implements TaskObserver {
  private readonly stallMs: number;
  private readonly now: () => number;
  private readonly tasks = new Map<string, TaskHealth>();
  private waitingWorker: Waiting | undefined;
  private isJoined = false;

  constructor({ stallMs, now = () => performance.now() }: WorkerHealthOptions) {
    this.stallMs = stallMs;
    this.now = now;
  }

  /** The worker has its assignment: these tasks, each of which has to run before the worker is ready. */
  joined(tasks: readonly TaskRef[]): void {
    this.isJoined = true;
    const assigned = new Set(tasks.map(keyOf));
    for (const key of this.tasks.keys()) if (!assigned.has(key)) this.tasks.delete(key);
    for (const task of tasks) if (!this.tasks.has(keyOf(task))) this.add(task);
  }

  /** The assignment is gone: a rebalance, or the end. */
  left(): void {
    this.isJoined = false;
    this.tasks.clear();
  }

  state(task: TaskRef, state: TaskState): void {
    // A task that is closed because its partition has gone is no concern of this worker any more.
    const health = this.tasks.get(keyOf(task)) ?? (ENDING.has(state) ? undefined : this.add(task));
    if (health === undefined) return;
    health.state = state;
    if (state === 'RESTORING') health.progress = 0;
    this.alive(health, state === 'RUNNING' ? undefined : health.waiting);
  }

  restoring(task: TaskRef, restored: number, total: number): void {
    const health = this.tasks.get(keyOf(task));
    const progress = total === 0 ? 1 : restored / total;
    if (health === undefined || progress === health.progress) return;
    health.progress = progress;
    this.alive(health);
  }

  committed(task: TaskRef): void {
    const health = this.tasks.get(keyOf(task));
    if (health !== undefined) this.alive(health);
    this.waitingWorker = undefined;
  }

  lag(task: TaskRef, records: number): void {
    const health = this.tasks.get(keyOf(task));
    if (health === undefined) return;
    // From no input to some: the time in which there was nothing to do does not count.
    if (records === 0 || health.lag === 0) this.alive(health, health.waiting);
    health.lag = records;
  }

  /** Work is put off: of one task, or of all. To be said again at every retry, else the task counts as stalled. */
  waiting(error: FreshetError, task?: TaskRef): void {
    if (task === undefined) {
      this.waitingWorker = this.waitFor(error, this.waitingWorker);
      for (const health of this.tasks.values()) health.aliveMs = this.now();
      return;
    }
    const health = this.tasks.get(keyOf(task));
    if (health !== undefined) this.alive(health, this.waitFor(error, health.waiting));
  }

  /** What was waited for is there. */
  resumed(task?: TaskRef): void {
    if (task === undefined) this.waitingWorker = undefined;
    else {
      const health = this.tasks.get(keyOf(task));
      if (health !== undefined) this.alive(health);
    }
  }

  report(): HealthReport {
    const nowMs = this.now();
    const stalled = this.stalled(nowMs);
    const pending = this.isJoined ? [] : [reason('NOT_JOINED')];
    if (this.waitingWorker !== undefined) pending.push(waitingReason(this.waitingWorker, nowMs));
    for (const { task, state, progress, waiting } of this.tasks.values()) {
      const about = { task: task.kind, partition: task.partition };
      if (state !== 'RUNNING') {
        const share = state === 'RESTORING' ? { progress: progress ?? 0 } : {};
        pending.push({ ...reason('TASK_NOT_RUNNING'), ...about, state, ...share });
      }
      if (waiting !== undefined) pending.push({ ...about, ...waitingReason(waiting, nowMs) });
    }
    return {
      live: stalled.length === 0,
      ready: stalled.length + pending.length === 0,
      reasons: [...stalled.map((health) => stalledReason(health, nowMs)), ...pending].slice(0, MOST_REASONS),
    };
  }

  private stalled(nowMs: number): TaskHealth[] {
    const all = [...this.tasks.values()];
    const newestMs = Math.max(...all.map(({ aliveMs }) => aliveMs));
    return all.filter(({ state, lag, aliveMs }) => {
      if (state === 'RUNNING' && lag === 0) return false;
      // A task that is not started yet waits for the others' turn.
      return nowMs - (state === 'CREATED' ? newestMs : aliveMs) > this.stallMs;
    });
  }

  private alive(health: TaskHealth, waiting?: Waiting): void {
    health.aliveMs = this.now();
    health.waiting = waiting;
  }

  private waitFor({ code, position }: FreshetError, before: Waiting | undefined): Waiting {
    return { code, position, sinceMs: before?.code === code ? before.sinceMs : this.now() };
  }

  private add(task: TaskRef): TaskHealth {
    const aliveMs = this.now();
    const health: TaskHealth = { task, state: 'CREATED', lag: 0, progress: undefined, aliveMs, waiting: undefined };
    this.tasks.set(keyOf(task), health);
    return health;
  }
}

const ENDING: ReadonlySet<TaskState> = new Set<TaskState>(['CLOSING', 'CLOSED']);

const keyOf = ({ kind, partition }: TaskRef): string => `${kind}-${partition}`;

const stalledReason = ({ task, state, aliveMs }: TaskHealth, nowMs: number): HealthReason => ({
  ...reason('TASK_STALLED'),
  task: task.kind,
  partition: task.partition,
  state,
  forSeconds: secondsSince(aliveMs, nowMs),
});
