/**
 * A worker among others: it serves the partitions that the group gives it. Each partition has a features task and a join
 * task, and each task its own loop, so that one that waits or restores holds up no other. Partitions that stay are not
 * interrupted when others come and go.
 */
import type { Scorer } from '../intent/scorer.ts';
import type { LaggingTask } from '../observe/lag.ts';
import type { WorkerEvents } from '../observe/worker-observer.ts';
import type { TaskState } from '../task/life.ts';
import type { TaskObserver, TaskRef } from '../task/observer.ts';
import type { Deployment } from './deployment.ts';
import { confirmedLog } from './confirmed-log.ts';
import { closeWhateverHappens } from './forced-close.ts';
import type { Assignment, Membership } from './membership.ts';
import { PartitionTasks } from './partition-tasks.ts';
import { Permits } from './permits.ts';
import { Standby } from './standby.ts';
import type { LoopShared } from './task-loop.ts';
import { progressOf, resultOf } from './totals.ts';
import type { Progress, RunResult } from './worker.ts';

export interface GroupWorkerOptions {
  readonly deployment: Deployment;
  readonly scorer: Scorer;
  readonly membership: Membership;
  /** Ends the work: commits under way are finished, tasks closed, the group left. */
  readonly signal: AbortSignal;
  /** Ends the work when every partition is at the end that its input had when it was assigned. */
  readonly untilEnd?: boolean;
  /** With `untilEnd`: hears of it instead, since others may not be done yet; the work then ends at the signal. */
  readonly onCaughtUp?: (isCaughtUp: boolean, generation: number) => void;
  readonly observer?: WorkerEvents;
  readonly onProgress?: (progress: Progress) => void;
  /** Called at each step of a commit; tests stop processes there. */
  readonly onStep?: (task: TaskRef, point: string) => void | Promise<void>;
}

/** Restores under way at a time: each holds what it reads in memory. */
const RESTORES_AT_ONCE = 2;
const IDLE_MS = 5_000;
const UNTIL_END_IDLE_MS = 50;

export class GroupWorker {
  private readonly options: GroupWorkerOptions;
  private readonly shared: LoopShared;
  /** By partition; those that were served once stay, closed. */
  private readonly tasks = new Map<number, PartitionTasks>();
  private readonly standby: Standby | undefined;
  private readonly failed = Promise.withResolvers<never>();
  private readonly done = Promise.withResolvers<void>();
  private assignment: Assignment | undefined;
  /** The generation that `onCaughtUp` has heard of as caught up. */
  private caughtUpIn: number | null = null;
  /** Tasks that run, e.g. `join 3`. */
  private readonly running = new Set<string>();
  private saidRunning = false;

  constructor(options: GroupWorkerOptions) {
    const { log, config, logger, itemVersions } = options.deployment;
    this.options = options;
    this.shared = {
      log,
      logger,
      intervalMs: config.commit.intervalMs,
      commits: new Permits(config.kafka.commitsAtOnce),
      restores: new Permits(RESTORES_AT_ONCE),
      // A join learns by looking that there will be no more features.
      idleMs: options.untilEnd === true ? UNTIL_END_IDLE_MS : IDLE_MS,
      events: options.observer ?? {},
      whyWaiting: (version) => `version ${version}: ${itemVersions.reason(version) ?? 'not in the log'}`,
    };
    if (config.standby) this.standby = new Standby({ deployment: options.deployment });
    // Both are raced below, and maybe settled before that.
    this.failed.promise.catch(() => undefined);
  }

  async run(): Promise<RunResult> {
    const { membership, signal } = this.options;
    const stopped = Promise.withResolvers<void>();
    const stop = (): void => {
      stopped.resolve();
    };
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    const leave = new AbortController();
    const member = membership.run((assignment) => {
      this.serve(assignment);
    }, leave.signal);
    try {
      await Promise.race([stopped.promise, this.done.promise, this.failed.promise, member]);
      return resultOf(this.tasks.values(), this.served());
    } finally {
      signal.removeEventListener('abort', stop);
      this.assignment = undefined;
      this.shared.events.left?.();
      try {
        await this.close(leave);
      } finally {
        leave.abort();
        await member.catch((error: unknown) => {
          this.shared.logger.debug({ err: error }, 'the membership ended');
        });
      }
    }
  }

  /** The tasks of this worker, and where they stand. */
  *positions(): Generator<LaggingTask> {
    for (const tasks of this.served()) yield* tasks.positions();
  }

  /** Starts what came, closes what went, leaves the rest alone. */
  private serve(assignment: Assignment): void {
    if (this.options.signal.aborted) return;
    this.assignment = assignment;
    this.shared.events.joined?.(refsOf(assignment));
    const wanted = new Set(assignment.partitions);
    for (const [partition, tasks] of this.tasks) {
      if (!wanted.has(partition)) this.releasing(tasks, partition);
    }
    for (const partition of wanted) {
      let tasks = this.tasks.get(partition);
      if (tasks === undefined) this.tasks.set(partition, (tasks = this.makeTasks(partition)));
      const served = tasks;
      // A store has one owner: the standby lets go of it before the task opens it.
      const free = this.standby?.release(partition) ?? Promise.resolve();
      free.then(() => {
        if (this.assignment?.partitions.includes(partition) === true) served.serve(this.assignment.generation);
      }, this.failed.reject);
    }
    this.standBy();
    this.sayRunning();
    this.checkCaughtUp();
  }

  private releasing(tasks: PartitionTasks, partition: number): void {
    tasks.release().then(() => {
      if (this.assignment?.partitions.includes(partition) === false) this.standBy();
    }, this.failed.reject);
  }

  /** Keeps the stores of all partitions that others serve, as soon as they are free. */
  private standBy(): void {
    const { assignment } = this;
    if (this.standby === undefined || assignment === undefined) return;
    for (let partition = 0; partition < this.options.deployment.config.partitions; partition += 1) {
      const isFree = this.tasks.get(partition)?.isReleased ?? true;
      if (isFree && !assignment.partitions.includes(partition)) this.standby.keep(partition);
    }
  }

  private makeTasks(partition: number): PartitionTasks {
    const { deployment, scorer, membership, onStep, untilEnd } = this.options;
    return new PartitionTasks({
      deployment,
      log: confirmedLog(deployment.log, membership, partition),
      scorer,
      partition,
      shared: this.shared,
      untilEnd: untilEnd === true,
      observer: this.observer(),
      ...(onStep && { onStep }),
      onProgress: () => {
        this.options.onProgress?.(progressOf(this.tasks.values(), this.served()));
        this.checkCaughtUp();
      },
      onError: (error) => {
        this.failed.reject(error);
      },
    });
  }

  private observer(): TaskObserver {
    const { events } = this.shared;
    return {
      state: (task, state) => {
        events.state?.(task, state);
        this.told(task, state);
      },
      restoring: (...progress) => events.restoring?.(...progress),
      committed: (...commit) => events.committed?.(...commit),
    };
  }

  private told({ kind, partition }: TaskRef, state: TaskState): void {
    if (state === 'RUNNING') this.running.add(`${kind} ${partition}`);
    else this.running.delete(`${kind} ${partition}`);
    this.sayRunning();
  }

  /** Says once that all tasks that the worker was given run. */
  private sayRunning(): void {
    const { assignment } = this;
    if (this.saidRunning || assignment === undefined) return;
    if (!refsOf(assignment).every((task) => this.running.has(`${task.kind} ${task.partition}`))) return;
    this.saidRunning = true;
    this.shared.logger.info({ code: 'RUNNING', partitions: assignment.partitions }, 'running');
  }

  private checkCaughtUp(): void {
    const { untilEnd, onCaughtUp } = this.options;
    if (untilEnd !== true || this.assignment === undefined) return;
    const isCaughtUp = this.served().every((tasks) => tasks.isCaughtUp);
    if (onCaughtUp === undefined) {
      if (isCaughtUp) this.done.resolve();
      return;
    }
    const told = isCaughtUp ? this.assignment.generation : null;
    if (told !== this.caughtUpIn) onCaughtUp(isCaughtUp, this.assignment.generation);
    this.caughtUpIn = told;
  }

  private served(): PartitionTasks[] {
    return (this.assignment?.partitions ?? []).map((partition) => this.tasks.get(partition)!);
  }

  private async close(leave: AbortController): Promise<void> {
    const closed = [...this.tasks.values()].map((tasks) => tasks.release());
    await closeWhateverHappens(Promise.all([...closed, this.standby?.close()]), this.options.deployment, leave);
  }
}

const refsOf = ({ partitions }: Assignment): TaskRef[] =>
  partitions.flatMap((partition) => [{ kind: 'features', partition } as const, { kind: 'join', partition } as const]);
