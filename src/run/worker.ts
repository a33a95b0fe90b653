/**
 * Drives the tasks of a process, partition by partition: the features first, then the join that reads them. A step
 * takes what is there up to the limits of a commit, so the input waits in the log, never in memory.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { addCounts } from '../base/counts.ts';
import { FreshetError } from '../base/errors.ts';
import type { Scorer } from '../intent/scorer.ts';
import { JoinTask } from '../join/join-task.ts';
import type { LaggingTask } from '../observe/lag.ts';
import type { WorkerEvents } from '../observe/worker-observer.ts';
import { FeatureTask, type StepPoint } from '../task/feature-task.ts';
import type { Deployment } from './deployment.ts';

export interface Progress {
  /** Input records consumed since the start. */
  readonly records: number;
  /** Input records known and not yet consumed. */
  readonly lag: number;
  /** Features records written since the start. */
  readonly features: number;
}

export interface WorkerOptions {
  readonly deployment: Deployment;
  readonly scorer: Scorer;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  readonly onStep?: (point: StepPoint) => void | Promise<void>;
  readonly observer?: WorkerEvents;
}

export interface RunResult {
  readonly records: number;
  readonly features: number;
  readonly ranked: number;
  /** Input records since the beginning of the log, by outcome, over all partitions. */
  readonly counts: Readonly<Record<string, number>>;
}

export class Worker {
  private readonly options: WorkerOptions;
  private readonly tasks: FeatureTask[] = [];
  private readonly joins: JoinTask[] = [];
  private records = 0;
  private features = 0;
  private ranked = 0;

  constructor(options: WorkerOptions) {
    this.options = options;
  }

  async start(): Promise<void> {
    const { deployment, scorer, onStep, observer } = this.options;
    const { log, codec, itemVersions, config, logger } = deployment;
    for (let partition = 0; partition < config.partitions; partition += 1) {
      const shared = { log, codec, config, partition, logger, ...(observer && { observer }) };
      const task = new FeatureTask({
        ...shared,
        scorer,
        itemVersions,
        storeFolder: deployment.storeFolder('user-actions', partition),
        ...(onStep === undefined ? {} : { onStep }),
      });
      const join = new JoinTask({ ...shared, storeFolder: deployment.storeFolder('join', partition) });
      this.tasks.push(task);
      this.joins.push(join);
    }
    observer?.joined?.(Array.from(this.positions(), ({ task }) => task));
    for (const [index, task] of this.tasks.entries()) {
      await task.start();
      await this.joins[index]!.start();
    }
  }

  /** The tasks, and where they stand. */
  *positions(): Generator<LaggingTask> {
    for (const { partition, positions } of this.tasks) yield { task: { kind: 'features', partition }, positions };
    for (const { partition, positions } of this.joins) yield { task: { kind: 'join', partition }, positions };
  }

  /** Works until the input's end (`untilEnd`) or until the signal; whichever, the last commit is whole. */
  async run(untilEnd: boolean): Promise<RunResult> {
    const { deployment, signal } = this.options;
    const { intervalMs } = deployment.config.commit;
    while (signal?.aborted !== true) {
      const startedMs = performance.now();
      const { progressed, waitingFor } = await this.round();
      if (untilEnd && !progressed) {
        if (waitingFor === null) break;
        throw new FreshetError('ITEM_VERSION_INCOMPLETE', this.whyWaiting(waitingFor));
      }
      // While records are waiting go on at once; else the next commit closes when its interval is over.
      if (progressed && (await this.lag()) > 0) continue;
      const restMs = intervalMs - (performance.now() - startedMs);
      if (!untilEnd && restMs > 0) await sleep(restMs, undefined, { ...(signal && { signal }) }).catch(() => undefined);
    }
    return this.result();
  }

  async close(): Promise<void> {
    this.options.observer?.left?.();
    for (const task of [...this.tasks, ...this.joins]) await task.close();
  }

  /** One commit of every task. */
  private async round(): Promise<{ progressed: boolean; waitingFor: string | null }> {
    let progressed = false;
    let waitingFor: string | null = null;
    for (const [index, task] of this.tasks.entries()) {
      if (this.options.signal?.aborted === true) break;
      const step = await task.step();
      this.records += step.records;
      this.features += step.features;
      if (step.waitingFor !== null) {
        waitingFor = step.waitingFor;
        this.tellWaiting(task.partition, this.whyWaiting(step.waitingFor));
      }
      const joined = await this.joins[index]!.step();
      this.ranked += joined.ranked;
      progressed ||= step.records > 0 || joined.records > 0;
      this.options.onProgress?.({ records: this.records, lag: await this.lag(), features: this.features });
    }
    return { progressed, waitingFor };
  }

  private tellWaiting(partition: number, reason: string): void {
    const { deployment, observer } = this.options;
    const message = 'waiting for the item vectors that the log activates';
    deployment.logger.warn({ code: 'ITEM_VERSION_INCOMPLETE', partition, reason }, message);
    observer?.waiting?.(new FreshetError('ITEM_VERSION_INCOMPLETE', reason), { kind: 'features', partition });
  }

  private whyWaiting(version: string): string {
    return `version ${version}: ${this.options.deployment.itemVersions.reason(version) ?? 'not in the log'}`;
  }

  private async lag(): Promise<number> {
    const lags = await Promise.all(this.tasks.map((task) => task.lag()));
    return lags.reduce((sum, lag) => sum + lag, 0);
  }

  private result(): RunResult {
    const counts: Record<string, number> = {};
    for (const task of this.tasks) {
      addCounts(counts, Object.entries(task.counts));
    }
    return { records: this.records, features: this.features, ranked: this.ranked, counts };
  }
}
