/** The two tasks of a partition in a worker, and how far they are. */
import { FreshetError } from '../base/errors.ts';
import type { Scorer } from '../intent/scorer.ts';
import { JoinTask } from '../join/join-task.ts';
import type { Log } from '../log/log.ts';
import type { LaggingTask } from '../observe/lag.ts';
import { FeatureTask } from '../task/feature-task.ts';
import type { TaskObserver, TaskRef } from '../task/observer.ts';
import type { Deployment } from './deployment.ts';
import { TaskKeeper } from './task-keeper.ts';
import type { LoopProgress, LoopShared, LoopTask, Pace } from './task-loop.ts';

export interface PartitionTasksOptions {
  readonly deployment: Deployment;
  /** The deployment's, guarded by the membership. */
  readonly log: Log;
  readonly scorer: Scorer;
  readonly partition: number;
  readonly shared: LoopShared;
  readonly untilEnd: boolean;
  readonly observer: TaskObserver;
  readonly onStep?: (task: TaskRef, point: string) => void | Promise<void>;
  readonly onProgress: () => void;
  readonly onError: (error: unknown) => void;
}

export class PartitionTasks {
  /** Since the start of the worker: input records, features and ranking features. */
  readonly totals = { records: 0, features: 0, ranked: 0 };
  /** Input records known and not yet consumed. */
  lag = 0;
  private readonly options: PartitionTasksOptions;
  private readonly keepers: { readonly features: TaskKeeper; readonly join: TaskKeeper };
  private task: FeatureTask | undefined;
  private join: JoinTask | undefined;
  /** Where the input ended before the task was started. */
  private inputEnd: number | undefined;
  private readonly caughtUp = { features: false, join: false };
  private joinMayEnd = false;

  constructor(options: PartitionTasksOptions) {
    this.options = options;
    this.keepers = {
      features: this.keeper(
        () => this.makeFeatures(),
        (progress) => this.onFeatures(progress),
      ),
      join: this.keeper(
        () => this.makeJoin(),
        (progress) => this.onJoin(progress),
      ),
    };
  }

  /** Whether both tasks have been at the end that the input had when they started. */
  get isCaughtUp(): boolean {
    return this.caughtUp.features && this.caughtUp.join;
  }

  get isReleased(): boolean {
    return this.keepers.features.isReleased && this.keepers.join.isReleased;
  }

  /** Input records since the beginning, by outcome. */
  get counts(): Readonly<Record<string, number>> {
    return this.task?.counts ?? {};
  }

  /** Where the tasks stand in their inputs. */
  *positions(): Generator<LaggingTask> {
    const { partition } = this.options;
    if (this.task !== undefined) yield { task: { kind: 'features', partition }, positions: this.task.positions };
    if (this.join !== undefined) yield { task: { kind: 'join', partition }, positions: this.join.positions };
  }

  serve(generation: number): void {
    this.keepers.features.serve(generation);
    this.keepers.join.serve(generation);
  }

  async release(): Promise<void> {
    await Promise.all([this.keepers.features.release(), this.keepers.join.release()]);
  }

  private keeper(make: () => LoopTask, onProgress: (progress: LoopProgress) => Pace): TaskKeeper {
    const { deployment, shared, onError } = this.options;
    const { sessionTimeoutMs, heartbeatIntervalMs } = deployment.config.kafka;
    return new TaskKeeper({
      make,
      shared,
      onError,
      onProgress: (progress) => {
        const pace = onProgress(progress);
        this.options.onProgress();
        return pace;
      },
      // By then a worker that was taken for dead has heard of it.
      fencedMs: 2 * heartbeatIntervalMs,
      maxFencedMs: sessionTimeoutMs,
    });
  }

  private makeFeatures(): LoopTask {
    const { deployment, log, scorer, partition, observer, onStep } = this.options;
    const { codec, itemVersions, config, logger, deleteRetentionMs } = deployment;
    const ref: TaskRef = { kind: 'features', partition };
    const task = new FeatureTask({
      log,
      codec,
      scorer,
      itemVersions,
      config,
      partition,
      logger,
      deleteRetentionMs,
      storeFolder: deployment.storeFolder('user-actions', partition),
      observer,
      ...(onStep && { onStep: (point) => onStep(ref, point) }),
    });
    this.task = task;
    return {
      ref,
      start: async (signal) => {
        this.inputEnd ??= await log.endOffset({ topic: 'user-actions', partition });
        signal.throwIfAborted();
        await task.start();
      },
      step: async () => {
        const { records, features, waitingFor } = await task.step();
        this.totals.records += records;
        this.totals.features += features;
        return { records, waitingFor };
      },
      positions: () => task.positions,
      close: () => task.close(),
    };
  }

  private makeJoin(): LoopTask {
    const { deployment, log, partition, observer, onStep } = this.options;
    const { codec, config, logger, deleteRetentionMs } = deployment;
    const ref: TaskRef = { kind: 'join', partition };
    const task = new JoinTask({
      log,
      codec,
      config,
      partition,
      logger,
      deleteRetentionMs,
      storeFolder: deployment.storeFolder('join', partition),
      observer,
      ...(onStep && { onStep: (point) => onStep(ref, point) }),
    });
    this.join = task;
    return {
      ref,
      start: () => task.start(),
      step: async () => {
        const { records, ranked } = await task.step();
        this.totals.ranked += ranked;
        return { records, waitingFor: null };
      },
      positions: () => task.positions,
      close: () => task.close(),
    };
  }

  private onFeatures({ records, lag, waitingFor }: LoopProgress): Pace {
    this.lag = lag;
    if (!this.options.untilEnd || this.caughtUp.features) return steady(records, lag);
    if (records === 0 && waitingFor !== null) {
      throw new FreshetError('ITEM_VERSION_INCOMPLETE', this.options.shared.whyWaiting(waitingFor));
    }
    const [{ offset } = { offset: 0 }] = this.task?.positions ?? [];
    this.caughtUp.features = records === 0 || (this.inputEnd !== undefined && offset >= this.inputEnd);
    return 'at once';
  }

  private onJoin({ records, lag }: LoopProgress): Pace {
    if (!this.options.untilEnd || this.caughtUp.join) return steady(records, lag);
    // Of a step that began before the last features were there, nothing read does not mean the end.
    this.caughtUp.join = this.joinMayEnd && records === 0;
    this.joinMayEnd = this.caughtUp.features;
    return records > 0 || this.joinMayEnd ? 'at once' : 'on arrival';
  }
}

/** Where as much again is waiting the commit was closed by its size, or took as long as its interval: go on. */
const steady = (records: number, lag: number): Pace => (records > 0 && lag >= records ? 'at once' : 'by interval');
