/**
 * Everything that one worker thread tells about itself: its tasks report to it, and about once a second it hands metrics
 * and health to whoever answers for the process. In another thread that is a message; the report survives the copy.
 */
import type { FreshetError } from '../base/errors.ts';
import type { Scorer } from '../intent/scorer.ts';
import type { Log } from '../log/log.ts';
import type { TaskState } from '../task/life.ts';
import type { CommitReport, TaskObserver, TaskRef } from '../task/observer.ts';
import type { HealthReport } from './health.ts';
import { probeLag, type LaggingTask } from './lag.ts';
import { Metrics, type MetricJson } from './metrics.ts';
import { EventLoopDelay, threadMetrics } from './runtime-metrics.ts';
import { ScoreDrift, watchedScorer } from './score-drift.ts';
import { WorkerHealth } from './worker-health.ts';

export interface WorkerReport {
  /** Number of the worker in its process, from 0. */
  readonly worker: number;
  readonly metrics: readonly MetricJson[];
  readonly health: HealthReport;
}

/** What a worker tells, besides its tasks. */
export interface WorkerEvents extends TaskObserver {
  /** The worker has its assignment; without a group that is all partitions, once it starts. */
  joined?(tasks: readonly TaskRef[]): void;
  /** The assignment is gone: a rebalance, or the end. */
  left?(): void;
  /** Work is put off for this reason, of one task or of all; to be said again at every retry. */
  waiting?(error: FreshetError, task?: TaskRef): void;
  /** What was waited for is there. A commit says so as well. */
  resumed?(task?: TaskRef): void;
  /** A task has ended by this error: another worker has fenced it, or a person has to act. */
  failed?(error: FreshetError, task: TaskRef): void;
}

export interface WorkerObserverOptions {
  readonly worker: number;
  /** See `WorkerHealth`: `stallMsOf(config)`. */
  readonly stallMs: number;
  readonly send: (report: WorkerReport) => void;
  readonly reportIntervalMs?: number;
  readonly lagIntervalMs?: number;
}

const REPORT_INTERVAL_MS = 1_000;
const LAG_INTERVAL_MS = 5_000;
/** A session is a measure of how long the deployment lets a worker be silent; a stall is many of them. */
const STALL_SESSIONS = 10;

export const stallMsOf = (sessionTimeoutMs: number): number => STALL_SESSIONS * sessionTimeoutMs;

export class WorkerObserver implements WorkerEvents {
  private readonly options: WorkerObserverOptions;
  private readonly metrics = new Metrics();
  private readonly health: WorkerHealth;
  private readonly delay = new EventLoopDelay();
  private readonly closing = new AbortController();
  private readonly timer: NodeJS.Timeout;

  constructor(options: WorkerObserverOptions) {
    this.options = options;
    this.health = new WorkerHealth(options);
    threadMetrics(this.metrics.registry, this.delay);
    this.timer = setInterval(() => void this.report(), options.reportIntervalMs ?? REPORT_INTERVAL_MS);
    this.timer.unref();
  }

  state(task: TaskRef, state: TaskState): void {
    this.metrics.state(task, state);
    this.health.state(task, state);
  }

  restoring(task: TaskRef, restored: number, total: number): void {
    this.metrics.restoring(task, restored, total);
    this.health.restoring(task, restored, total);
  }

  committed(task: TaskRef, commit: CommitReport): void {
    this.metrics.committed(task, commit);
    this.health.committed(task);
  }

  joined(tasks: readonly TaskRef[]): void {
    this.health.joined(tasks);
  }

  left(): void {
    this.health.left();
  }

  waiting(error: FreshetError, task?: TaskRef): void {
    this.metrics.retry(error.code);
    this.metrics.failed(error.code);
    this.health.waiting(error, task);
  }

  resumed(task?: TaskRef): void {
    this.health.resumed(task);
  }

  failed(error: FreshetError): void {
    this.metrics.failed(error.code);
  }

  /** Measures from now on how far these tasks are behind. */
  watchLag(log: Pick<Log, 'endOffset' | 'read'>, tasks: () => Iterable<LaggingTask>): void {
    const measured = (task: TaskRef, records: number): void => {
      this.metrics.lag(task, records);
      this.health.lag(task, records);
    };
    const intervalMs = this.options.lagIntervalMs ?? LAG_INTERVAL_MS;
    void probeLag({ log, tasks, measured, intervalMs, signal: this.closing.signal });
  }

  /** The same scorer; what it gives is compared with training from now on, if the model's card says how that was. */
  watchScores(scorer: Scorer): Scorer {
    if (scorer.trainedScores === undefined) return scorer;
    const drift = new ScoreDrift(scorer, scorer.trainedScores);
    this.metrics.watchDrift(drift);
    return watchedScorer(scorer, (score) => {
      drift.add(score);
    });
  }

  /** Reports now; otherwise it happens by itself. */
  async report(): Promise<void> {
    const { worker, send } = this.options;
    send({ worker, metrics: await this.metrics.snapshot(), health: this.health.report() });
  }

  /** The last report goes out: what was counted until now stays counted. */
  async close(): Promise<void> {
    clearInterval(this.timer);
    this.closing.abort();
    this.delay.close();
    await this.report();
  }
}
