/** When a worker is live and when it is ready, and what it says of the reasons. */
import { beforeEach, describe, expect, it } from 'vitest';
import { ERRORS, FreshetError } from '../src/base/errors.ts';
import { MOST_REASONS } from '../src/observe/health.ts';
import { ProcessObserver } from '../src/observe/process-observer.ts';
import { WorkerHealth } from '../src/observe/worker-health.ts';
import { stallMsOf } from '../src/observe/worker-observer.ts';
import type { TaskRef } from '../src/task/observer.ts';

const STALL_MS = 300_000;
const TASK: TaskRef = { kind: 'features', partition: 0 };
const OTHER: TaskRef = { kind: 'join', partition: 0 };

let nowMs: number;
let health: WorkerHealth;
const reset = (): void => {
  nowMs = 1_000_000;
  health = new WorkerHealth({ stallMs: STALL_MS, now: () => nowMs });
};

const run = (...tasks: TaskRef[]): void => {
  for (const task of tasks) for (const state of ['FENCING', 'RESTORING', 'RUNNING'] as const) health.state(task, state);
};
const codes = (): string[] => health.report().reasons.map(({ code }) => code);

describe('ready', () => {
  beforeEach(reset);

  it('once the worker has joined and every task that it was given runs', () => {
    expect(health.report()).toMatchObject({ live: true, ready: false, reasons: [{ code: 'NOT_JOINED' }] });
    health.joined([TASK, OTHER]);
    expect(health.report().reasons).toMatchObject([
      { code: 'TASK_NOT_RUNNING', task: 'features', partition: 0, state: 'CREATED' },
      { code: 'TASK_NOT_RUNNING', task: 'join', partition: 0, state: 'CREATED' },
    ]);
    run(TASK);
    expect(health.report().ready).toBe(false);
    run(OTHER);
    expect(health.report()).toEqual({ live: true, ready: true, reasons: [] });
  });

  it('not while a task restores, and it says how far that is', () => {
    health.joined([TASK]);
    health.state(TASK, 'FENCING');
    health.state(TASK, 'RESTORING');
    health.restoring(TASK, 300, 1_200);
    expect(health.report()).toMatchObject({
      live: true,
      ready: false,
      reasons: [{ state: 'RESTORING', progress: 0.25 }],
    });
  });

  it('with nothing to do, where there are more workers than partitions', () => {
    health.joined([]);
    expect(health.report().ready).toBe(true);
  });

  it('not during a rebalance; after it only what is assigned then counts', () => {
    health.joined([TASK]);
    run(TASK);
    health.left();
    expect(codes()).toEqual(['NOT_JOINED']);
    health.joined([OTHER]);
    // The end of the task that has gone elsewhere.
    health.state(TASK, 'CLOSING');
    health.committed(TASK);
    health.state(TASK, 'CLOSED');
    expect(health.report().reasons).toMatchObject([{ task: 'join' }]);
    run(OTHER);
    expect(health.report().ready).toBe(true);
  });

  it('not while something outside is waited for: live, with code and remedy', () => {
    health.joined([TASK]);
    run(TASK);
    const position = { topic: 'user-actions', partition: 0, offset: 17, userHash: 'abcdef012345' };
    const error = new FreshetError('REGISTRY_UNAVAILABLE', 'https://user:secret@registry.internal', { position });
    health.waiting(error, TASK);
    nowMs += 20_000;
    health.waiting(error, TASK);
    const report = health.report();
    expect(report).toEqual({
      live: true,
      ready: false,
      reasons: [
        {
          code: 'REGISTRY_UNAVAILABLE',
          message: ERRORS.REGISTRY_UNAVAILABLE.message,
          remedy: ERRORS.REGISTRY_UNAVAILABLE.remedy,
          task: 'features',
          topic: 'user-actions',
          partition: 0,
          offset: 17,
          forSeconds: 20,
        },
      ],
    });
    expect(JSON.stringify(report)).not.toMatch(/secret|registry\.internal|abcdef/);
    health.committed(TASK);
    expect(health.report().ready).toBe(true);
  });

  it('not while the whole worker waits for the broker', () => {
    health.joined([TASK]);
    run(TASK);
    health.waiting(new FreshetError('LOG_UNAVAILABLE', 'no broker'));
    expect(codes()).toEqual(['LOG_UNAVAILABLE']);
    health.resumed();
    expect(health.report().ready).toBe(true);
  });
});

describe('live', () => {
  beforeEach(reset);

  it('for as long as it likes without input', () => {
    health.joined([TASK]);
    run(TASK);
    health.lag(TASK, 0);
    nowMs += 100 * STALL_MS;
    expect(health.report()).toMatchObject({ live: true, ready: true });
    // Input that has only just come was not left lying all that time.
    health.lag(TASK, 5);
    expect(health.report()).toMatchObject({ live: true, ready: true });
  });

  it('not when a task has had input for too long and made no progress', () => {
    health.joined([TASK, OTHER]);
    run(TASK, OTHER);
    health.lag(TASK, 5);
    nowMs += STALL_MS;
    health.lag(TASK, 9);
    health.committed(OTHER);
    expect(health.report().live).toBe(true);
    nowMs += 1;
    expect(health.report()).toMatchObject({
      live: false,
      ready: false,
      reasons: [{ code: 'TASK_STALLED', task: 'features', partition: 0, state: 'RUNNING', forSeconds: 300 }],
    });
    health.committed(TASK);
    expect(health.report().live).toBe(true);
  });

  it('not when a restore stands still; while it goes on it may take as long as it needs', () => {
    health.joined([TASK]);
    health.state(TASK, 'FENCING');
    health.state(TASK, 'RESTORING');
    for (let restored = 1; restored <= 10; restored += 1) {
      nowMs += STALL_MS;
      health.restoring(TASK, restored, 100);
      expect(health.report().live).toBe(true);
    }
    for (let again = 0; again < 2; again += 1) {
      nowMs += STALL_MS;
      health.restoring(TASK, 10, 100);
    }
    expect(codes()[0]).toBe('TASK_STALLED');
  });

  it('while what is waited for is said again at each retry, and not when nothing is said any more', () => {
    health.joined([TASK]);
    run(TASK);
    health.lag(TASK, 5);
    const error = new FreshetError('LOG_UNAVAILABLE', 'no broker');
    for (let retry = 0; retry < 20; retry += 1) {
      nowMs += STALL_MS / 2;
      health.waiting(error, TASK);
      health.lag(TASK, 5);
    }
    expect(health.report()).toMatchObject({ live: true, reasons: [{ code: 'LOG_UNAVAILABLE', forSeconds: 2_850 }] });
    nowMs += STALL_MS + 1;
    expect(codes()).toEqual(['TASK_STALLED', 'LOG_UNAVAILABLE']);
  });

  it('while tasks wait for the restores of others', () => {
    health.joined([TASK, OTHER]);
    health.state(TASK, 'FENCING');
    health.state(TASK, 'RESTORING');
    for (let restored = 1; restored <= 5; restored += 1) {
      nowMs += STALL_MS;
      health.restoring(TASK, restored, 100);
    }
    expect(health.report().live).toBe(true);
    nowMs += STALL_MS + 1;
    expect(health.report().reasons).toMatchObject([
      { code: 'TASK_STALLED', state: 'RESTORING' },
      { code: 'TASK_STALLED', state: 'CREATED' },
      { code: 'TASK_NOT_RUNNING' },
      { code: 'TASK_NOT_RUNNING' },
    ]);
  });

  it('is judged by the session time-out', () => {
    expect(stallMsOf(30_000)).toBe(STALL_MS);
  });

  it('names so many reasons and no more', () => {
    health.joined(Array.from({ length: 1_000 }, (_, partition) => ({ kind: 'features', partition })));
    expect(health.report().reasons).toHaveLength(MOST_REASONS);
  });
});

describe('the process', () => {
  const READY = { live: true, ready: true, reasons: [] };
  let process: ProcessObserver;
  beforeEach(() => {
    reset();
    process = new ProcessObserver({
      version: '1',
      partitions: 8,
      staleMs: 30_000,
      startMs: 120_000,
      now: () => nowMs,
    });
  });
  const report = (worker: number, its: Parameters<ProcessObserver['reported']>[0]['health'] = READY): void =>
    process.reported({ worker, metrics: [], health: its });

  it('is ready when all of its workers are', () => {
    expect(process.health()).toMatchObject({ live: true, ready: false, reasons: [{ code: 'WORKER_STARTING' }] });
    process.started(0);
    process.started(1);
    report(0);
    expect(process.health()).toMatchObject({ ready: false, reasons: [{ code: 'WORKER_STARTING', worker: 1 }] });
    report(1);
    expect(process.health()).toEqual(READY);
    const [reason] = [{ code: 'TASK_NOT_RUNNING', message: '', state: 'RESTORING', partition: 4 } as const];
    report(1, { live: true, ready: false, reasons: [reason] });
    expect(process.health()).toEqual({ live: true, ready: false, reasons: [{ ...reason, worker: 1 }] });
  });

  it('is not live when a worker is not, or is silent', () => {
    process.started(0);
    process.started(1);
    report(0, { live: false, ready: false, reasons: [{ code: 'TASK_STALLED', message: '', partition: 2 }] });
    report(1);
    expect(process.health()).toMatchObject({ live: false, reasons: [{ code: 'TASK_STALLED', worker: 0 }] });
    report(0);
    nowMs += 30_000;
    report(0);
    expect(process.health().live).toBe(true);
    nowMs += 1_000;
    expect(process.health()).toMatchObject({
      live: false,
      reasons: [{ code: 'WORKER_STUCK', worker: 1, forSeconds: 31 }],
    });
    process.stopped(1);
    expect(process.health()).toEqual(READY);
    // The last message of a worker may come after its end.
    report(1);
    expect(process.health()).toEqual(READY);
  });

  it('gives a worker time to start, and not for ever', () => {
    process.started(0);
    nowMs += 120_000;
    expect(process.health()).toMatchObject({ live: true, ready: false });
    nowMs += 1_000;
    expect(process.health()).toMatchObject({ live: false, reasons: [{ code: 'WORKER_STARTING', forSeconds: 121 }] });
  });
});
