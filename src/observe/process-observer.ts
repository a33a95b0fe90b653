/** The newest report of each worker of the process, and what follows from them for the process as a whole. */
import { Registry } from 'prom-client';
import { MOST_REASONS, reason, secondsSince, type HealthReason, type HealthReport } from './health.ts';
import { instrument } from './instrument.ts';
import { countsOnly, mergedValues, mergeMetrics } from './merge-metrics.ts';
import type { MetricJson } from './metrics.ts';
import { processMetrics } from './runtime-metrics.ts';
import type { WorkerReport } from './worker-observer.ts';

export interface ProcessObserverOptions {
  readonly version: string;
  readonly partitions: number;
  /** A worker that has not reported for this long is stuck. */
  readonly staleMs?: number;
  /** A worker may take this long from its start to its first report: it loads and proves the model meanwhile. */
  readonly startMs?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

const STALE_MS = 30_000;
const START_MS = 120_000;

interface Worker {
  readonly startedMs: number;
  report: WorkerReport | undefined;
  reportedMs: number;
}

export class ProcessObserver {
  private readonly staleMs: number;
  private readonly startMs: number;
  private readonly now: () => number;
  private readonly registry = new Registry();
  private readonly workersGauge = instrument(this.registry, 'workers');
  private readonly workers = new Map<number, Worker>();
  /** Counters and histograms of workers that have ended. */
  private ended: MetricJson[] = [];

  constructor({ staleMs, startMs, now, ...about }: ProcessObserverOptions) {
    this.staleMs = staleMs ?? STALE_MS;
    this.startMs = startMs ?? START_MS;
    this.now = now ?? (() => performance.now());
    processMetrics(this.registry, about);
  }

  /** A worker is starting: until it ends the process is ready only if this worker is. */
  started(worker: number): void {
    const startedMs = this.now();
    this.workers.set(worker, { startedMs, report: undefined, reportedMs: startedMs });
  }

  reported(report: WorkerReport): void {
    const worker = this.workers.get(report.worker);
    // The last message of a worker may come after its end.
    if (worker === undefined) return;
    worker.report = report;
    worker.reportedMs = this.now();
  }

  stopped(worker: number): void {
    const report = this.workers.get(worker)?.report;
    this.workers.delete(worker);
    if (report !== undefined) this.ended = mergedValues([this.ended, countsOnly(report.metrics)]);
  }

  health(): HealthReport {
    const nowMs = this.now();
    const deadly: HealthReason[] = [];
    const pending: HealthReason[] = [];
    for (const [worker, { report, startedMs, reportedMs }] of this.workers) {
      if (report === undefined) {
        const isLate = nowMs - startedMs > this.startMs;
        const why = { ...reason('WORKER_STARTING'), worker, forSeconds: secondsSince(startedMs, nowMs) };
        (isLate ? deadly : pending).push(why);
      } else if (nowMs - reportedMs > this.staleMs) {
        deadly.push({ ...reason('WORKER_STUCK'), worker, forSeconds: secondsSince(reportedMs, nowMs) });
      } else {
        const { live, reasons } = report.health;
        (live ? pending : deadly).push(...reasons.map((each) => ({ ...each, worker })));
      }
    }
    if (this.workers.size === 0) pending.push(reason('WORKER_STARTING'));
    return {
      live: deadly.length === 0,
      ready: deadly.length + pending.length === 0,
      reasons: [...deadly, ...pending].slice(0, MOST_REASONS),
    };
  }

  /** All metrics as Prometheus reads them. */
  async metrics(): Promise<string> {
    const nowMs = this.now();
    const known = [...this.workers.values()];
    const isFresh = (worker: Worker): boolean => nowMs - worker.reportedMs <= this.staleMs;
    const fresh = known.filter((worker) => worker.report !== undefined && isFresh(worker)).length;
    this.workersGauge.set({ health: 'fresh' }, fresh);
    this.workersGauge.set({ health: 'stale' }, known.length - fresh);
    const merged = mergeMetrics([
      await this.registry.getMetricsAsJSON(),
      this.ended,
      // What is counted stays; where a stuck worker stood is not known any more.
      ...known.flatMap((each) => {
        if (each.report === undefined) return [];
        return [isFresh(each) ? each.report.metrics : countsOnly(each.report.metrics)];
      }),
    ]);
    return merged.metrics();
  }
}
