/** The metrics of one worker thread, written by its tasks as they go. */
import { Registry } from 'prom-client';
import type { ErrorCode } from '../base/errors.ts';
import type { TaskState } from '../task/life.ts';
import type { CommitReport, TaskObserver, TaskRef } from '../task/observer.ts';
import { BoundedLabel, instrument } from './instrument.ts';
import type { METRICS } from './metric-table.ts';
import type { ScoreDrift } from './score-drift.ts';

/** A metric as a thread hands it to another one: what prom-client calls JSON, fit for a structured clone. */
export interface MetricJson {
  readonly name: string;
  readonly type: unknown;
  readonly values: readonly object[];
}

export interface MetricsOptions {
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

/** A commit of older records than this replays a log: how old its records are says nothing about the service. */
const REPLAY_MS = 86_400_000;

/** See src/log/kafka-errors.ts; the others that come from there are fatal. */
const CLIENT_ERRORS: Readonly<Partial<Record<ErrorCode, 'migrated' | 'retry'>>> = {
  FENCED: 'migrated',
  LOG_UNAVAILABLE: 'retry',
  COMMIT_UNKNOWN: 'retry',
};

const STATES: readonly TaskState[] = ['CREATED', 'FENCING', 'RESTORING', 'RUNNING', 'CLOSING'];
const KINDS = ['features', 'join'] as const;

export class Metrics implements TaskObserver {
  readonly registry = new Registry();
  private readonly now: () => number;
  private readonly states = new Map<string, TaskState>();
  private readonly restored = new Map<string, number>();
  private readonly outcomeLabel = new BoundedLabel();
  private readonly codeLabel = new BoundedLabel();

  private readonly lagRecords = this.make('lag');
  private readonly commits = this.make('commits');
  private readonly inputRecords = this.make('inputRecords');
  private readonly outputRecords = this.make('outputRecords');
  private readonly outputBytes = this.make('outputBytes');
  private readonly outcomes = this.make('outcomes');
  private readonly commitSeconds = this.make('commitSeconds');
  private readonly stepSeconds = this.make('stepSeconds');
  private readonly commitRecords = this.make('commitRecords');
  private readonly eventFreshness = this.make('eventFreshness');
  private readonly arrivalFreshness = this.make('arrivalFreshness');
  private readonly replayCommits = this.make('replayCommits');
  private readonly tasks = this.make('tasks');
  private readonly transitions = this.make('transitions');
  private readonly restoreProgress = this.make('restoreProgress');
  private readonly restoredRecords = this.make('restoredRecords');
  private readonly retries = this.make('retries');
  private readonly clientErrors = this.make('clientErrors');
  private readonly scoresCompared = this.make('scoresCompared');
  private readonly scoreDrift = this.make('scoreDrift');
  private drift: ScoreDrift | undefined;

  constructor({ now = Date.now }: MetricsOptions = {}) {
    this.now = now;
    // A series that is absent until something happens cannot be alerted on.
    for (const task of KINDS) for (const state of STATES) this.tasks.set({ task, state }, 0);
  }

  state(task: TaskRef, state: TaskState): void {
    const key = keyOf(task);
    const before = this.states.get(key);
    if (before !== undefined) this.tasks.dec({ task: task.kind, state: before });
    this.transitions.inc({ task: task.kind, state });
    if (state === 'RESTORING') this.restored.set(key, 0);
    if (state === 'RUNNING') this.restoreProgress.set(labelsOf(task), 1);
    if (state !== 'CLOSED') {
      this.states.set(key, state);
      this.tasks.inc({ task: task.kind, state });
      return;
    }
    // Another worker goes on with the partition: what is said of it here is over.
    this.states.delete(key);
    this.restored.delete(key);
    this.lagRecords.remove(labelsOf(task));
    this.restoreProgress.remove(labelsOf(task));
  }

  restoring(task: TaskRef, restored: number, total: number): void {
    const key = keyOf(task);
    this.restoredRecords.inc({ task: task.kind }, Math.max(0, restored - (this.restored.get(key) ?? 0)));
    this.restored.set(key, restored);
    this.restoreProgress.set(labelsOf(task), total === 0 ? 1 : Math.min(1, restored / total));
  }

  committed(task: TaskRef, commit: CommitReport): void {
    const kind = { task: task.kind };
    this.commits.inc(labelsOf(task));
    this.inputRecords.inc(labelsOf(task), commit.records);
    this.outputRecords.inc(kind, commit.outputs);
    this.outputBytes.inc(kind, commit.outputBytes);
    this.commitSeconds.observe(kind, commit.commitMs / 1000);
    this.stepSeconds.observe(kind, commit.durationMs / 1000);
    this.commitRecords.observe(kind, commit.records);
    for (const [outcome, count] of commit.counts) {
      if (count > 0) this.outcomes.inc({ ...kind, outcome: this.outcomeLabel.of(outcome) }, count);
    }
    this.freshness(task, commit);
  }

  /** Input records not consumed. */
  lag(task: TaskRef, records: number): void {
    // A measurement that comes back after the task is closed would stay for ever.
    if (this.states.has(keyOf(task))) this.lagRecords.set(labelsOf(task), records);
  }

  retry(code: string): void {
    this.retries.inc({ code: this.codeLabel.of(code) });
  }

  /** Counts what came from the Kafka client; other errors are not its business. */
  failed(code: ErrorCode): void {
    const kind = CLIENT_ERRORS[code] ?? (code.startsWith('KAFKA_') ? 'fatal' : undefined);
    if (kind !== undefined) this.clientErrors.inc({ class: kind, code });
  }

  /** Tells from now on how far the scores have moved. */
  watchDrift(drift: ScoreDrift): void {
    this.drift = drift;
  }

  /** All values, for `mergeMetrics` in the thread that is asked for them. */
  async snapshot(): Promise<MetricJson[]> {
    this.tellDrift();
    return this.registry.getMetricsAsJSON();
  }

  /** The index costs a logarithm a bucket: it is made when it is asked for, not at each score. */
  private tellDrift(): void {
    if (this.drift === undefined) return;
    this.scoresCompared.reset();
    this.scoresCompared.inc(this.drift.compared);
    for (const { quantity, index } of this.drift.indices()) this.scoreDrift.set({ quantity }, index);
  }

  private freshness(task: TaskRef, { newestEventTimeMs, newestArrivalTimeMs }: CommitReport): void {
    const nowMs = this.now();
    if (newestArrivalTimeMs === null) return;
    if (nowMs - newestArrivalTimeMs > REPLAY_MS) {
      this.replayCommits.inc({ task: task.kind });
      return;
    }
    this.arrivalFreshness.observe({ task: task.kind }, secondsBetween(newestArrivalTimeMs, nowMs));
    if (newestEventTimeMs === null) return;
    this.eventFreshness.observe({ task: task.kind }, secondsBetween(newestEventTimeMs, nowMs));
  }

  private make<K extends keyof typeof METRICS>(key: K) {
    return instrument(this.registry, key);
  }
}

const keyOf = ({ kind, partition }: TaskRef): string => `${kind}-${partition}`;
const labelsOf = ({ kind, partition }: TaskRef) => ({ task: kind, partition: String(partition) });

/** Clocks differ: what seems to come from the future is fresh. */
const secondsBetween = (fromMs: number, toMs: number): number => Math.max(0, toMs - fromMs) / 1000;
