/**
 * What a log may do to a task: refuse, fail before or after a commit, hand the partition to another owner. Whatever
 * comes in which order, what is written and kept in the end is what an undisturbed run writes and keeps, once.
 */
import { rmSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { FreshetError } from '../src/base/errors.ts';
import type { FeatureTask, StepResult } from '../src/task/feature-task.ts';
import { isRetryable } from '../src/task/retry.ts';
import type { TaskState } from '../src/task/life.ts';
import type { CommitReport, TaskObserver } from '../src/task/observer.ts';
import type { TopicName } from '../topics/index.ts';
import { FAULTS, FaultyLog, type Fault } from './support/faulty-log.ts';
import { inputs, Logs, nextPlace, outcome, run, type Lane } from './support/lanes.ts';
import { FC_OPTIONS } from './support/seed.ts';
import { actionRecord, Stream } from './support/stream.ts';

const UNDISTURBED = new Logs({ commitMaxRecords: 5 });
const DISTURBED = new Logs({ commitMaxRecords: 5 });

afterAll(async () => {
  await UNDISTURBED.close();
  await DISTURBED.close();
});

const WRITTEN: readonly TopicName[] = ['sequence-features', 'action-history', 'rejected-actions'];

/** Every record that was written, not only the newest. */
async function written({ stream, partition }: Lane): Promise<string[]> {
  const topics = await Promise.all(WRITTEN.map((topic) => stream.read(topic, partition)));
  return topics.flatMap((records, at) =>
    records.map(({ key, value, timestampMs }) =>
      [WRITTEN[at], key?.toString('hex'), value?.toString('hex'), timestampMs].join(),
    ),
  );
}

/** Drives a task as a worker does: again after what passes by itself, a new one after another owner. */
async function drive(lane: Lane, faults: readonly Fault[]): Promise<{ task: FeatureTask; left: readonly Fault[] }> {
  const { stream, partition } = lane;
  const takeOver = async (): Promise<void> => {
    const elsewhere = `${stream.storeFolder(partition)}-elsewhere`;
    const other = stream.newTask(partition, { storeFolder: elsewhere });
    await other.start();
    await other.step();
    await other.close();
    rmSync(elsewhere, { recursive: true });
  };
  const { log, left } = new FaultyLog(stream.log, faults, takeOver);
  let task = stream.newTask(partition, { log });
  let started = false;
  for (;;) {
    try {
      if (!started) await task.start();
      started = true;
      while ((await task.step()).records > 0);
      if ((await task.lag()) === 0) return { task, left };
    } catch (error) {
      if (isRetryable(error)) continue;
      if (!(error instanceof FreshetError && error.code === 'FENCED')) throw error;
      await task.close();
      task = stream.newTask(partition, { log });
      started = false;
    }
  }
}

describe('a task whose log fails', () => {
  it('writes and keeps what an undisturbed one does, in whatever order it fails', async () => {
    const seen = new Set<Fault>();
    const faults = fc.array(fc.constantFrom(...FAULTS), { maxLength: 8, size: 'max' });
    await fc.assert(
      fc.asyncProperty(inputs, faults, async (records, sequence) => {
        const place = nextPlace();
        const calm = await UNDISTURBED.lane(place, records);
        const undisturbed = await run(calm);
        const lane = await DISTURBED.lane(place, records);
        const { task, left } = await drive(lane, sequence);
        sequence.slice(0, sequence.length - left.length).forEach((fault) => seen.add(fault));
        expect({ counts: task.counts, outcome: await outcome(lane, task) }).toEqual(undisturbed);
        await task.close();
        expect(await written(lane)).toEqual(await written(calm));
      }),
      { ...FC_OPTIONS, numRuns: 400 },
    );
    expect([...seen].sort()).toEqual([...FAULTS].sort());
  });
});

/** A started task, two records before it, on a log with these faults; and what it tells. */
async function faulty(
  faults: readonly Fault[],
  use: (task: FeatureTask, told: { states: TaskState[]; commits: CommitReport[] }) => Promise<void>,
): Promise<void> {
  const stream = await Stream.open();
  await stream.append(actionRecord({ userId: 'a', eventTimeMs: 1 }), actionRecord({ userId: 'b', eventTimeMs: 2 }));
  const told = { states: [] as TaskState[], commits: [] as CommitReport[] };
  const observer: TaskObserver = {
    state: (_, state) => void told.states.push(state),
    committed: (_, commit) => void told.commits.push(commit),
  };
  const { log, left } = new FaultyLog(stream.log, [], () => Promise.resolve());
  const task = stream.newTask(0, { log, observer });
  try {
    await task.start();
    left.push(...faults);
    await use(task, told);
    await task.close();
    expect(await stream.read('sequence-features')).toHaveLength(2);
  } finally {
    await stream.close();
  }
}

describe('the life of a task', () => {
  const STARTED = ['FENCING', 'RESTORING', 'RUNNING'];
  const DONE: StepResult = { records: 2, features: 2, waitingFor: null };

  it.each([
    'commit fails, nothing written',
    'commit is unknown, nothing written',
    'commit is unknown, all written',
  ] as const)('%s: it fences and restores, and the step is done once', async (fault) => {
    await faulty([fault, 'closing a writer fails'], async (task, { states, commits }) => {
      expect(await task.step()).toEqual(DONE);
      expect(states).toEqual([...STARTED, ...STARTED]);
      expect(commits).toMatchObject([{ records: 2, outputs: 2, offset: 2, newestEventTimeMs: 2 }]);
      expect(commits[0]!.counts).toEqual(new Map([['accepted', 2]]));
      expect(await task.step()).toEqual({ ...DONE, records: 0, features: 0 });
    });
  });

  it('that fails a second time in a step is for the caller to wait out', async () => {
    await faulty(['commit is unknown, all written', 'opening a writer fails'], async (task, { states }) => {
      await expect(task.step()).rejects.toMatchObject({ code: 'LOG_UNAVAILABLE' });
      expect(task.state).toBe('FENCING');
      expect(await task.step()).toEqual(DONE);
      expect(states).toEqual([...STARTED, ...STARTED]);
    });
  });

  it('goes on from where a restore failed, without fencing again', async () => {
    const faults: Fault[] = ['commit is unknown, nothing written', 'committed offset fails'];
    await faulty(faults, async (task, { states }) => {
      await expect(task.step()).rejects.toMatchObject({ code: 'LOG_UNAVAILABLE' });
      expect(task.state).toBe('RESTORING');
      expect(await task.step()).toEqual(DONE);
      expect(states).toEqual([...STARTED, ...STARTED]);
    });
  });

  it('is not changed by a read that fails', async () => {
    await faulty(['read fails'], async (task, { states }) => {
      await expect(task.step()).rejects.toMatchObject({ code: 'LOG_UNAVAILABLE' });
      expect(task.state).toBe('RUNNING');
      expect(await task.step()).toEqual(DONE);
      expect(states).toEqual(STARTED);
    });
  });

  it('ends where another owner has come: nothing is fenced in turn', async () => {
    const stream = await Stream.open();
    await stream.append(actionRecord({ userId: 'a', eventTimeMs: 1 }));
    const { log } = new FaultyLog(stream.log, ['commit finds another owner'], () => Promise.resolve());
    const task = stream.newTask(0, { log });
    await task.start();
    await expect(task.step()).rejects.toMatchObject({ code: 'FENCED' });
    expect(task.state).toBe('RUNNING');
    await expect(task.step()).rejects.toMatchObject({ code: 'FENCED' });
    await task.close();
    expect(task.state).toBe('CLOSED');
    await stream.close();
  });

  it('takes one call at a time, and closing twice is closing once', async () => {
    await faulty([], async (task) => {
      const step = task.step();
      await expect(task.step()).rejects.toMatchObject({ code: 'INTERNAL' });
      // Closing waits for the step.
      const closed = task.close();
      expect(await step).toEqual(DONE);
      await closed;
      await task.close();
      expect(task.state).toBe('CLOSED');
    });
  });
});

describe('which errors pass by themselves', () => {
  it.each([
    ['LOG_UNAVAILABLE', true],
    ['COMMIT_UNKNOWN', true],
    ['REGISTRY_UNAVAILABLE', true],
    ['SCHEMA_PENDING', true],
    ['FENCED', false],
    ['STORE_DAMAGED', false],
    ['OFFSET_OUT_OF_RANGE', false],
  ] as const)('%s: %s', (code, retryable) => {
    expect(isRetryable(new FreshetError(code, ''))).toBe(retryable);
  });

  it('no error of anything else', () => {
    expect(isRetryable(new Error('LOG_UNAVAILABLE'))).toBe(false);
  });
});
