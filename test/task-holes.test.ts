/**
 * Offsets with holes: the markers of transactions, aborted records and compaction take some that no record has. No end
 * is the offset of a last record plus one, and nothing may depend on it.
 */
import { cpSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { JoinTask } from '../src/join/join-task.ts';
import type { Log } from '../src/log/log.ts';
import { ItemVersions } from '../src/intent/item-versions.ts';
import type { FeatureTask } from '../src/task/feature-task.ts';
import type { SequenceFeaturesRecord } from '../topics/records.ts';
import { holeyLog } from './support/holey-log.ts';
import { ACTIVATE_TEST_VERSION, publishTestVersion } from './support/item-version.ts';
import { actionRecord, Stream, type RawRecord } from './support/stream.ts';

const act = (userId: string, eventTimeMs: number, itemId = 'i1'): RawRecord =>
  actionRecord({ userId, eventTimeMs, itemId });
const RECORDS = [
  act('a', 1),
  act('a', 2),
  ACTIVATE_TEST_VERSION['v1']!,
  act('b', 4),
  { key: Buffer.from('a'), value: null, timestampMs: 5 },
  act('b', 6),
  act('c', 7),
];

let stream: Stream;
let log: Log;

beforeEach(async () => {
  stream = await Stream.open({ commitMaxRecords: 2 });
  await publishTestVersion(stream);
  await stream.append(...RECORDS);
  log = holeyLog(stream.log);
});

afterEach(() => stream.close());

async function started(): Promise<FeatureTask> {
  const itemVersions = new ItemVersions({ log, codec: stream.codec });
  const task = stream.newTask(0, { log, itemVersions });
  await task.start();
  return task;
}

async function features(): Promise<[string, number | null][]> {
  return (await stream.read('sequence-features')).map(({ key, value }) => [
    key!.toString(),
    value === null ? null : stream.codec.decode<SequenceFeaturesRecord>('sequence-features-value', value).version,
  ]);
}

const EMITTED = [
  ['a', 3],
  ['b', 7],
  ['a', null],
  ['b', 11],
  ['c', 13],
];

describe('a feature task', () => {
  it('starts on topics that hold nothing but markers, and takes what comes', async () => {
    const task = await started();
    const steps: number[] = [];
    for (let step = await task.step(); step.records > 0; step = await task.step()) steps.push(step.records);
    expect(steps).toEqual([2, 2, 2, 1]);
    expect(await features()).toEqual(EMITTED);
    await task.close();
  });

  it('stands behind the markers at the end, where nothing is left to wait for', async () => {
    const task = await started();
    while ((await task.step()).records > 0);
    expect(await task.lag()).toBe(0);
    expect(task.positions).toEqual([{ at: { topic: 'user-actions', partition: 0 }, offset: 15 }]);
    await stream.append(act('d', 8));
    expect(await task.lag()).toBeGreaterThan(0);
    expect((await task.step()).records).toBe(1);
    await task.close();
  });

  it.each(['deleted', 'behind', 'kept'] as const)('goes on with its store %s after each commit', async (kind) => {
    const saved = join(stream.folder, 'saved');
    for (let records = 1; records > 0;) {
      const task = await started();
      ({ records } = await task.step());
      await task.close();
      if (kind === 'deleted') stream.deleteStore();
      if (kind !== 'behind') continue;
      const hasSaved = existsSync(saved);
      if (hasSaved) stream.deleteStore();
      cpSync(hasSaved ? saved : stream.storeFolder(), hasSaved ? stream.storeFolder() : saved, { recursive: true });
    }
    rmSync(saved, { recursive: true, force: true });
    expect(await features()).toEqual(EMITTED);
    const task = await started();
    const states = await Array.fromAsync(task.states(), ({ userId, state }) => [userId, state.version]);
    expect(states).toEqual([
      ['b', 11],
      ['c', 13],
    ]);
    expect(task.counts).toEqual({ accepted: 5, activation: 1, removed: 1 });
    await task.close();
  });
});

describe('a join', () => {
  it('starts, goes on and restores likewise', async () => {
    const task = await started();
    while ((await task.step()).records > 0);
    await task.close();
    const storeFolder = join(stream.folder, 'state', 'join-0');
    for (let records = 1; records > 0;) {
      const { codec, config } = stream;
      const logger = pino({ enabled: false });
      const joined = new JoinTask({ log, codec, config, partition: 0, storeFolder, logger });
      await joined.start();
      ({ records } = await joined.step());
      if (records === 0) {
        expect(joined.positions.map(({ offset }) => offset)).toEqual([11, 1]);
        expect(joined.counts).toEqual({ features: 4, featuresRemoved: 1, ranked: 4, removed: 1 });
      }
      await joined.close();
      rmSync(storeFolder, { recursive: true });
    }
  });
});
