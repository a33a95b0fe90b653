/**
 * Bringing the stores of whole tasks to what is committed, on a real broker. Whatever happens to a store, and whatever
 * else stands in the topics, the tasks go on as if nothing had been; test/restore.test.ts has the rules one by one.
 */
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LogRecord, NewRecord, TopicPartition } from '../src/log/log.ts';
import { readAll } from './log-conformance.ts';
import { KafkaJob, type JobOptions, type RestoredRecords } from './support/kafka-job.ts';

const FEATURES: TopicPartition = { topic: 'sequence-features', partition: 0 };
const RANKING: TopicPartition = { topic: 'ranking-features', partition: 0 };
const RECORDS = 200;
/** After all of them. */
const NOW_MS = Date.UTC(2026, 1, 1);

let job: KafkaJob;

const stores = (of = job): string => join(of.deployment.config.dataDir, 'state');
const saved = (of = job): string => join(of.deployment.config.dataDir, 'saved');
const deleteStores = (): void => rmSync(stores(), { recursive: true });
const saveStores = (): void => cpSync(stores(), saved(), { recursive: true });
function putStoresBack(of = job): void {
  rmSync(stores(), { recursive: true, force: true });
  cpSync(saved(of), stores(), { recursive: true });
}

/** An application with some input, the same each time. */
async function open(options: JobOptions = {}): Promise<void> {
  job = await KafkaJob.open(options);
  await job.log.append([job.userRecord('gone', 1)]);
  await job.append(RECORDS);
  await job.log.append(['user-0', 'user-1', 'gone', 'comes later'].map((userId) => job.longTermRecord(userId)));
}

/** How many records there are to restore stores from, behind an offset of each output. */
async function outputs(after: RestoredRecords = { features: 0, join: 0 }): Promise<RestoredRecords> {
  const count = async (at: TopicPartition, from: number): Promise<number> =>
    (await readAll(job.log, at)).filter(({ offset }) => offset >= from).length;
  return { features: await count(FEATURES, after.features), join: await count(RANKING, after.join) };
}

const ends = async (): Promise<RestoredRecords> => ({
  features: await job.log.endOffset(FEATURES),
  join: await job.log.endOffset(RANKING),
});

/** What the tasks read to start, which then have the states that they had. */
async function restored(states: ReadonlyMap<string, string>): Promise<RestoredRecords> {
  const read = await job.run({ commits: 0 });
  expect(await job.states()).toEqual(states);
  expect(await job.run({ commits: 0 })).toEqual({ features: 0, join: 0 });
  return read;
}

afterEach(async () => {
  // Further input meets what was restored: each side of the join, users that were there and users that were not.
  await job.append(100);
  await job.log.append([job.longTermRecord('user-2'), job.userRecord('comes later', NOW_MS)]);
  await job.run();
  await job.expectAsEmbedded();
  await job.close();
});

describe('stores', () => {
  beforeEach(() => open());

  it('that are not there, on a bare machine, are filled from all that the outputs hold', async () => {
    await job.run();
    const states = await job.states();
    deleteStores();
    expect(await restored(states)).toEqual(await outputs());
  });

  it('that are old read the tails alone', async () => {
    await job.run({ commits: 3 });
    saveStores();
    const tails = await ends();
    await job.run();
    const states = await job.states();
    putStoresBack();
    const read = await restored(states);
    expect(read).toEqual(await outputs(tails));
    expect(read.features).toBeLessThan((await outputs()).features);
  });

  it('that are ahead of the log, since it was brought back from an older copy, are made anew', async () => {
    await job.run();
    saveStores();
    const ahead = job;
    await open();
    await job.run({ commits: 3 });
    const states = await job.states();
    putStoresBack(ahead);
    expect(await restored(states)).toEqual(await outputs());
    await ahead.close();
  });

  it('that are damaged are noticed and made anew', async () => {
    await job.run();
    const states = await job.states();
    for (const kind of ['user-actions-0', 'join-0']) damage(join(stores(), kind));
    expect(await restored(states)).toEqual(await outputs());
  });
});

/** Inverts a byte of each file of a store that holds entries. */
function damage(folder: string): void {
  const files = readdirSync(folder).filter((name) => /\.(log|ldb)$/.test(name));
  for (const name of files) {
    const path = join(folder, name);
    const bytes = readFileSync(path);
    const middle = bytes.length >> 1;
    if (bytes.length > 0) bytes[middle] = bytes[middle]! ^ 0xff;
    writeFileSync(path, bytes);
  }
}

describe('topics that were compacted meanwhile', () => {
  /** Each batch closes the segment before it, and the cleaner takes every closed segment at once. */
  const COMPACTED = { 'segment.ms': '1', 'min.cleanable.dirty.ratio': '0.001', 'min.compaction.lag.ms': '0' };

  /** Goes on by a commit at a time until what stands before the last one is as the cleaner leaves it. */
  async function compacted(isClean: (records: readonly LogRecord[]) => boolean): Promise<void> {
    const deadlineMs = performance.now() + 50_000;
    for (let atMs = NOW_MS; ; atMs += 1) {
      const closed = await ends();
      await job.log.append([job.userRecord('ticks', atMs)]);
      await job.run();
      const [features, ranking] = [await readAll(job.log, FEATURES), await readAll(job.log, RANKING)];
      const isFeaturesClean = isClean(features.filter(({ offset }) => offset < closed.features));
      if (isFeaturesClean && isClean(ranking.filter(({ offset }) => offset < closed.join))) return;
      if (performance.now() > deadlineMs) throw new Error('the topics are not compacted');
      await sleep(200);
    }
  }

  const keysOf = (records: readonly LogRecord[]): Set<string> => new Set(records.map(({ key }) => key!.toString()));
  const isUnique = (records: readonly LogRecord[]): boolean => keysOf(records).size === records.length;

  /** The cleaner goes on meanwhile. */
  async function restoredFrom(states: ReadonlyMap<string, string>, after?: RestoredRecords): Promise<void> {
    const most = await outputs(after);
    const read = await restored(states);
    const least = await outputs(after);
    for (const kind of ['features', 'join'] as const) {
      expect(read[kind]).toBeGreaterThanOrEqual(least[kind]);
      expect(read[kind]).toBeLessThanOrEqual(most[kind]);
    }
  }

  it('give bare machines, and stores that are not too old, the newest of each user', async () => {
    await open({ settings: COMPACTED });
    await job.run({ commits: 2 });
    saveStores();
    const tails = await ends();
    await job.log.append([job.userRecord('gone', null), { ...job.longTermRecord('gone'), value: null }]);
    await job.run();
    await compacted(isUnique);
    const states = await job.states();
    expect(states.has('gone')).toBe(false);
    putStoresBack();
    await restoredFrom(states, tails);
    deleteStores();
    await restoredFrom(states);
  });

  it('make stores anew that are so old that tombstones may be gone', async () => {
    await open({ settings: { ...COMPACTED, 'delete.retention.ms': '1000' }, deleteRetentionMs: 1_000 });
    await job.run({ commits: 2 });
    expect((await job.states()).has('gone')).toBe(true);
    saveStores();
    await job.log.append([job.userRecord('gone', null), { ...job.longTermRecord('gone'), value: null }]);
    await job.run();
    await compacted((records) => isUnique(records) && !keysOf(records).has('gone'));
    const states = await job.states();
    putStoresBack();
    await restoredFrom(states);
  });
});

describe('what stands in the topics', () => {
  it('aborted records and markers at the ends of the outputs are not restored, nor taken for orphans', async () => {
    await open();
    const abort = async (): Promise<void> => {
      const before = await ends();
      const fails = (point: string): void => {
        if (point === 'sent') throw new Error('stopped when sent');
      };
      for (const task of [job.featuresTask(0, { onStep: fails }), job.joinTask(0, { onStep: fails })]) {
        await task.start();
        await expect(task.step()).rejects.toThrow('stopped when sent');
        await task.close();
      }
      // The next owner settles what they left open.
      await job.run({ commits: 0 });
      const after = await ends();
      expect(after.features).toBeGreaterThan(before.features + 1);
      expect(after.join).toBeGreaterThan(before.join + 1);
    };
    // A join aborts only what it has read.
    await job.log.append([job.longTermRecord('user-3')]);
    await abort();
    expect(await outputs()).toEqual({ features: 0, join: 0 });
    await job.run({ commits: 2 });
    saveStores();
    const tails = await ends();
    await job.run({ commits: 2 });
    const states = await job.states();
    await abort();
    await abort();
    putStoresBack();
    expect(await restored(states)).toEqual(await outputs(tails));
    deleteStores();
    expect(await restored(states)).toEqual(await outputs());
  });

  it('users whose id is 00000000, in characters or in bytes, are users like others', async () => {
    await open();
    const zeros = ['00000000', '\0\0\0\0', '\0'.repeat(8)];
    const acts = (atMs: number): NewRecord[] => zeros.map((userId) => job.userRecord(userId, atMs));
    await job.log.append([...acts(NOW_MS), ...zeros.map((userId) => job.longTermRecord(userId)), ...acts(NOW_MS + 1)]);
    await job.run();
    await job.log.append([...acts(NOW_MS + 2), job.userRecord(zeros[2]!, null)]);
    const stopped = job.featuresTask(0, {
      onStep: (point) => {
        if (point === 'sent') throw new Error('stopped when sent');
      },
    });
    await stopped.start();
    await expect(stopped.step()).rejects.toThrow('stopped when sent');
    await stopped.close();
    await job.run();
    const states = await job.states();
    expect(zeros.map((userId) => states.has(userId))).toEqual([true, true, false]);
    deleteStores();
    expect(await restored(states)).toEqual(await outputs());
  });
});
