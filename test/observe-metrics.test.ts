/** What Prometheus reads: names, labels and values, of one thread and of several. */
import { describe, expect, it } from 'vitest';
import { BoundedLabel } from '../src/observe/instrument.ts';
import { countsOnly, mergedValues, mergeMetrics } from '../src/observe/merge-metrics.ts';
import { METRICS } from '../src/observe/metric-table.ts';
import { Metrics } from '../src/observe/metrics.ts';
import { ProcessObserver } from '../src/observe/process-observer.ts';
import { EventLoopDelay } from '../src/observe/runtime-metrics.ts';
import type { CommitReport, TaskRef } from '../src/task/observer.ts';

const NOW = 1_700_000_000_000;
const FEATURES: TaskRef = { kind: 'features', partition: 3 };
const JOIN: TaskRef = { kind: 'join', partition: 3 };

const commit = (overrides: Partial<CommitReport> = {}): CommitReport => ({
  records: 100,
  outputs: 40,
  outputBytes: 56_000,
  durationMs: 80,
  commitMs: 30,
  offset: 100,
  newestEventTimeMs: NOW - 2_000,
  newestArrivalTimeMs: NOW - 500,
  counts: new Map([
    ['accepted', 90],
    ['duplicate', 7],
    ['late', 3],
  ]),
  ...overrides,
});

/** The samples of a text, by name and labels. */
function samples(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

const read = async (metrics: Metrics): Promise<Map<string, number>> => samples(await metrics.registry.metrics());
const metricsAt = (nowMs = NOW): Metrics => new Metrics({ now: () => nowMs });

describe('names', () => {
  it.each(Object.values(METRICS))('$name follows the conventions', ({ name, type, labels, help }) => {
    expect(name).toMatch(/^(freshet|process)_[a-z][a-z0-9_]*$/);
    expect(name.endsWith('_total')).toBe(type === 'counter');
    expect(name).not.toMatch(/_(ms|millis|milliseconds|kb|mb|percent)(_|$)/);
    expect(help).toMatch(/^[A-Z0-9].*\.$/);
    // No user, item, offset or host: each of these would be a series of its own.
    const known = ['task', 'partition', 'outcome', 'state', 'code', 'class', 'health', 'version', 'quantity'];
    expect(known).toEqual(expect.arrayContaining([...labels]));
  });

  it('are each used once', () => {
    const names = Object.values(METRICS).map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('a commit', () => {
  it('is counted by partition, its records by outcome', async () => {
    const metrics = metricsAt();
    metrics.committed(FEATURES, commit());
    metrics.committed(FEATURES, commit({ records: 50, counts: new Map([['accepted', 50]]) }));
    const seen = await read(metrics);
    expect(seen.get('freshet_commits_total{task="features",partition="3"}')).toBe(2);
    expect(seen.get('freshet_input_records_total{task="features",partition="3"}')).toBe(150);
    expect(seen.get('freshet_output_records_total{task="features"}')).toBe(80);
    expect(seen.get('freshet_output_bytes_total{task="features"}')).toBe(112_000);
    expect(seen.get('freshet_records_total{task="features",outcome="accepted"}')).toBe(140);
    expect(seen.get('freshet_records_total{task="features",outcome="late"}')).toBe(3);
  });

  it('is measured in seconds, its batch in records', async () => {
    const metrics = metricsAt();
    metrics.committed(FEATURES, commit({ commitMs: 30, durationMs: 80, records: 100 }));
    const seen = await read(metrics);
    expect(seen.get('freshet_commit_duration_seconds_sum{task="features"}')).toBeCloseTo(0.03);
    expect(seen.get('freshet_commit_duration_seconds_bucket{le="0.025",task="features"}')).toBe(0);
    expect(seen.get('freshet_commit_duration_seconds_bucket{le="0.05",task="features"}')).toBe(1);
    expect(seen.get('freshet_step_duration_seconds_sum{task="features"}')).toBeCloseTo(0.08);
    expect(seen.get('freshet_commit_records_bucket{le="50",task="features"}')).toBe(0);
    expect(seen.get('freshet_commit_records_bucket{le="100",task="features"}')).toBe(1);
  });
});

describe('freshness', () => {
  it('is the age of the newest record when it is committed: since its event, and since its arrival', async () => {
    const metrics = metricsAt();
    metrics.committed(FEATURES, commit());
    const seen = await read(metrics);
    expect(seen.get('freshet_freshness_event_seconds_sum{task="features"}')).toBe(2);
    expect(seen.get('freshet_freshness_arrival_seconds_sum{task="features"}')).toBe(0.5);
  });

  it('of an outage of hours is told, of a replay is not', async () => {
    const metrics = metricsAt();
    const hours = NOW - 5 * 3_600_000;
    metrics.committed(FEATURES, commit({ newestArrivalTimeMs: hours, newestEventTimeMs: hours }));
    const years = NOW - 9 * 365 * 86_400_000;
    metrics.committed(FEATURES, commit({ newestArrivalTimeMs: years, newestEventTimeMs: years }));
    const seen = await read(metrics);
    expect(seen.get('freshet_freshness_arrival_seconds_count{task="features"}')).toBe(1);
    expect(seen.get('freshet_freshness_arrival_seconds_sum{task="features"}')).toBe(5 * 3_600);
    expect(seen.get('freshet_replay_commits_total{task="features"}')).toBe(1);
  });

  it('is zero for what a fast clock dates ahead, and absent where nothing was taken', async () => {
    const metrics = metricsAt();
    metrics.committed(FEATURES, commit({ newestEventTimeMs: NOW + 60_000 }));
    metrics.committed(JOIN, commit({ newestEventTimeMs: null, newestArrivalTimeMs: null }));
    const seen = await read(metrics);
    expect(seen.get('freshet_freshness_event_seconds_sum{task="features"}')).toBe(0);
    expect([...seen.keys()].filter((name) => /freshness.*join/.test(name))).toEqual([]);
  });
});

describe('the states of tasks', () => {
  it('are one gauge each, there from the beginning', async () => {
    const metrics = metricsAt();
    const before = await read(metrics);
    for (const task of ['features', 'join']) {
      for (const state of ['CREATED', 'FENCING', 'RESTORING', 'RUNNING', 'CLOSING']) {
        expect(before.get(`freshet_tasks{task="${task}",state="${state}"}`)).toBe(0);
      }
    }
    for (const state of ['FENCING', 'RESTORING', 'RUNNING'] as const) metrics.state(FEATURES, state);
    metrics.state({ kind: 'features', partition: 4 }, 'FENCING');
    const seen = await read(metrics);
    expect(seen.get('freshet_tasks{task="features",state="RUNNING"}')).toBe(1);
    expect(seen.get('freshet_tasks{task="features",state="FENCING"}')).toBe(1);
    expect(seen.get('freshet_tasks{task="features",state="RESTORING"}')).toBe(0);
    expect(seen.get('freshet_task_transitions_total{task="features",state="FENCING"}')).toBe(2);
  });

  it('a restore shows how far it is, and is counted once', async () => {
    const metrics = metricsAt();
    metrics.state(FEATURES, 'RESTORING');
    metrics.restoring(FEATURES, 250, 1_000);
    metrics.restoring(FEATURES, 750, 1_000);
    const partition = '{task="features",partition="3"}';
    let seen = await read(metrics);
    expect(seen.get(`freshet_restore_progress_ratio${partition}`)).toBe(0.75);
    metrics.state(FEATURES, 'RUNNING');
    // Again from the start, as after a damaged store.
    metrics.state(FEATURES, 'RESTORING');
    metrics.restoring(FEATURES, 100, 100);
    metrics.state(FEATURES, 'RUNNING');
    seen = await read(metrics);
    expect(seen.get(`freshet_restore_progress_ratio${partition}`)).toBe(1);
    expect(seen.get('freshet_restored_records_total{task="features"}')).toBe(850);
  });

  it('of a closed task nothing is left but what it has counted', async () => {
    const metrics = metricsAt();
    metrics.state(FEATURES, 'RESTORING');
    metrics.state(FEATURES, 'RUNNING');
    metrics.lag(FEATURES, 12);
    metrics.committed(FEATURES, commit());
    expect((await read(metrics)).get('freshet_lag_records{task="features",partition="3"}')).toBe(12);
    metrics.state(FEATURES, 'CLOSING');
    metrics.state(FEATURES, 'CLOSED');
    // A measurement that was under way.
    metrics.lag(FEATURES, 13);
    const seen = await read(metrics);
    const about = [...seen].filter(([name]) => name.includes('partition="3"')).map(([name]) => name.split('{')[0]);
    expect(about).toEqual(['freshet_commits_total', 'freshet_input_records_total']);
    expect([...seen].filter(([name, value]) => name.startsWith('freshet_tasks{') && value !== 0)).toEqual([]);
  });
});

describe('errors', () => {
  it('of the Kafka client are counted by class; others are none of its', async () => {
    const metrics = metricsAt();
    for (const code of ['FENCED', 'LOG_UNAVAILABLE', 'COMMIT_UNKNOWN', 'KAFKA_AUTHORIZATION'] as const)
      metrics.failed(code);
    for (const code of ['REGISTRY_UNAVAILABLE', 'ITEM_VERSION_INCOMPLETE', 'LAYOUT_CHANGED'] as const)
      metrics.failed(code);
    const counted = [...(await read(metrics)).keys()].filter((name) => name.startsWith('freshet_log_client_errors'));
    expect(counted.map((name) => name.slice(name.indexOf('{')))).toEqual([
      '{class="migrated",code="FENCED"}',
      '{class="retry",code="LOG_UNAVAILABLE"}',
      '{class="retry",code="COMMIT_UNKNOWN"}',
      '{class="fatal",code="KAFKA_AUTHORIZATION"}',
    ]);
  });
});

describe('cardinality', () => {
  it('of labels that others choose is bounded', async () => {
    const metrics = metricsAt();
    for (let at = 0; at < 1_000; at += 1) {
      metrics.retry(`CODE_${at}`);
      metrics.committed(FEATURES, commit({ counts: new Map([[`cause_${at}`, 1]]) }));
    }
    const seen = await read(metrics);
    expect([...seen.keys()].filter((name) => name.startsWith('freshet_retries_total'))).toHaveLength(65);
    expect(seen.get('freshet_retries_total{code="other"}')).toBe(1_000 - 64);
    expect(seen.get('freshet_records_total{task="features",outcome="other"}')).toBe(1_000 - 64);
    const label = new BoundedLabel(2);
    expect(['a', 'b', 'c', 'a', 'd'].map((value) => label.of(value))).toEqual(['a', 'b', 'other', 'a', 'other']);
  });
});

describe('several threads as one', () => {
  async function two(): Promise<[Metrics, Metrics]> {
    const [one, other] = [metricsAt(), metricsAt()];
    one.state(FEATURES, 'RUNNING');
    one.lag(FEATURES, 5);
    one.committed(FEATURES, commit());
    other.state(JOIN, 'RUNNING');
    other.lag(JOIN, 7);
    other.committed(FEATURES, commit({ commitMs: 3_000 }));
    return [one, other];
  }

  it('add up, histograms bucket by bucket', async () => {
    const [one, other] = await two();
    const merged = samples(await mergeMetrics([await one.snapshot(), await other.snapshot()]).metrics());
    expect(merged.get('freshet_commits_total{task="features",partition="3"}')).toBe(2);
    expect(merged.get('freshet_commit_duration_seconds_bucket{le="0.05",task="features"}')).toBe(1);
    expect(merged.get('freshet_commit_duration_seconds_bucket{le="+Inf",task="features"}')).toBe(2);
    expect(merged.get('freshet_commit_duration_seconds_sum{task="features"}')).toBeCloseTo(3.03);
    expect(merged.get('freshet_lag_records{task="features",partition="3"}')).toBe(5);
    expect(merged.get('freshet_lag_records{task="join",partition="3"}')).toBe(7);
    expect(merged.get('freshet_tasks{task="features",state="RUNNING"}')).toBe(1);
  });

  it('give the same when they are merged in steps, and after a copy between threads', async () => {
    const [one, other] = await two();
    const snapshots = [structuredClone(await one.snapshot()), structuredClone(await other.snapshot())];
    const [at, once] = [mergedValues([mergedValues(snapshots.slice(0, 1)), snapshots[1]!]), mergedValues(snapshots)];
    expect(at).toEqual(once);
  });

  it('of one that is stale only the counts go on', async () => {
    let nowMs = 0;
    const process = new ProcessObserver({ version: '1', partitions: 8, staleMs: 10_000, now: () => nowMs });
    const [one, other] = await two();
    const health = { live: true, ready: true, reasons: [] };
    process.started(0);
    process.started(1);
    process.reported({ worker: 0, metrics: await one.snapshot(), health });
    process.reported({ worker: 1, metrics: await other.snapshot(), health });
    nowMs = 9_000;
    process.reported({ worker: 1, metrics: await other.snapshot(), health });
    nowMs = 11_000;
    const seen = samples(await process.metrics());
    expect(seen.get('freshet_lag_records{task="features",partition="3"}')).toBeUndefined();
    expect(seen.get('freshet_lag_records{task="join",partition="3"}')).toBe(7);
    expect(seen.get('freshet_commits_total{task="features",partition="3"}')).toBe(2);
    expect(seen.get('freshet_workers{health="stale"}')).toBe(1);
    expect(seen.get('freshet_workers{health="fresh"}')).toBe(1);
  });

  it('of those that have ended the counts stay, whatever their number', async () => {
    const process = new ProcessObserver({ version: '1', partitions: 8 });
    for (let worker = 0; worker < 5; worker += 1) {
      const [one] = await two();
      process.started(worker);
      process.reported({ worker, metrics: await one.snapshot(), health: { live: true, ready: true, reasons: [] } });
      process.stopped(worker);
    }
    const seen = samples(await process.metrics());
    expect(seen.get('freshet_commits_total{task="features",partition="3"}')).toBe(5);
    expect(seen.get('freshet_commit_records_count{task="features"}')).toBe(5);
    expect([...seen.keys()].filter((name) => name.startsWith('freshet_lag_records'))).toEqual([]);
  });

  it('counts are counters and histograms', async () => {
    const [one] = await two();
    const names = countsOnly(await one.snapshot()).map(({ name }) => name);
    const declared = Object.values(METRICS).filter(
      ({ type, name }) => type !== 'gauge' && !name.startsWith('process_'),
    );
    expect(names.sort()).toEqual(declared.map(({ name }) => name).sort());
  });
});

describe('of the process', () => {
  it('memory, processor time, start and version', async () => {
    const seen = samples(await new ProcessObserver({ version: '1.2.3', partitions: 8 }).metrics());
    expect(seen.get('process_resident_memory_bytes')).toBeGreaterThan(10_000_000);
    expect(seen.get('process_cpu_seconds_total')).toBeGreaterThan(0);
    expect(Math.abs(seen.get('process_start_time_seconds')! - Date.now() / 1000 + process.uptime())).toBeLessThan(5);
    expect(seen.get('freshet_build_info{version="1.2.3"}')).toBe(1);
    expect(seen.get('freshet_partitions')).toBe(8);
  });

  it('processor time never goes back', async () => {
    const observer = new ProcessObserver({ version: '1', partitions: 1 });
    const first = samples(await observer.metrics()).get('process_cpu_seconds_total')!;
    for (let at = 0, until = performance.now() + 50; performance.now() < until; at += 1) Math.sqrt(at);
    expect(samples(await observer.metrics()).get('process_cpu_seconds_total')).toBeGreaterThan(first);
  });
});

describe('the delay of the event loop', () => {
  const turn = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

  it('shows a block, and forgets it when its window is over', async () => {
    const delay = new EventLoopDelay(400);
    await turn(100);
    for (const until = performance.now() + 250; performance.now() < until;);
    await turn(60);
    expect(delay.maxSeconds()).toBeGreaterThan(0.15);
    expect(delay.maxSeconds()).toBeLessThan(5);
    expect(delay.p99Seconds()).toBeLessThanOrEqual(delay.maxSeconds());
    const blocked = delay.maxSeconds();
    await expect.poll(() => delay.maxSeconds(), { timeout: 10_000 }).toBeLessThan(blocked / 2);
    delay.close();
  });
});
