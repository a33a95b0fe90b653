/** The store of the join is a cache of its output: lost, behind or damaged it is made again, and doubt stops the task. */
import { cpSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FreshetError } from '../src/base/errors.ts';
import { JoinTask, type JoinTaskOptions } from '../src/join/join-task.ts';
import type { Log, TaskWriter } from '../src/log/log.ts';
import { KeyedStore } from '../state/store.ts';
import type { RankingFeaturesRecord } from '../topics/records.ts';
import { action, codec, JoinStream } from './join-harness.ts';
import { actionRecord, Stream } from './support/stream.ts';
import { wrapLog } from '../src/log/wrapped-log.ts';

let stream: JoinStream;
beforeEach(async () => {
  stream = await JoinStream.open();
});
afterEach(() => stream.close());

const TASK_ID = 'freshet-join-0';

/** Commits in the name of the task: what it committed last, with some of it changed. */
async function forge({
  offset,
  metadata = {},
}: {
  offset?: number;
  metadata?: Record<string, unknown>;
}): Promise<void> {
  const writer = await stream.log.openWriter(TASK_ID);
  const inputs = ['sequence-features', 'user-embeddings'].map((topic) => ({ topic, partition: 0 }));
  const committed = await Promise.all(inputs.map((input) => writer.committed(input)));
  const before = JSON.parse(committed[0]!.metadata) as Record<string, unknown>;
  await writer.commit({
    outputs: [],
    offsets: inputs.map((input, index) => ({ input, offset: offset ?? committed[index]!.offset })),
    metadata: () => JSON.stringify({ ...before, ...metadata }),
  });
  await writer.close();
}

describe('restoring', () => {
  it('goes on where it was, and reads nothing, after a clean close', async () => {
    await stream.features({ userId: 'u' });
    await stream.run();
    await stream.vector({ userId: 'u' });
    const counts = await stream.run();
    expect(counts).toEqual({ features: 1, vectors: 1, ranked: 2 });
    expect(stream.lines.filter(({ code }) => code === 'RESTORED')).toEqual([]);
  });

  it('makes a deleted store from the newest pairs, of users that left too', async () => {
    await stream.features({ userId: 'gone' });
    await stream.features({ userId: 'u', window: [action('a', 1)] });
    await stream.vector({ userId: 'u', vector: [3, 4] });
    await stream.run();
    await stream.append('sequence-features', 'gone', null);
    await stream.run();
    stream.deleteStore();
    await stream.vector({ userId: 'u', vector: [5, 6] });
    await stream.vector({ userId: 'gone', vector: [7, 8] });
    await stream.run();

    const ranking = await stream.ranking();
    expect(ranking.get('u')).toMatchObject({ realtime: { offset: 1 }, longTerm: { vector: [5, 6] } });
    expect(ranking.get('gone')).toMatchObject({ hasRealtime: false, longTerm: { vector: [7, 8] } });
    const restored = stream.lines.filter(({ code }) => code === 'RESTORED');
    expect(restored).toMatchObject([{ topic: 'ranking-features', partition: 0, records: 3 }]);
  });

  /** An owner of the partition on another machine. */
  const otherOwner = (): JoinTask => newTask({ storeFolder: `${stream.storeFolder}-elsewhere` });
  const newTask = (given: Partial<JoinTaskOptions>): JoinTask => {
    const { log, config, storeFolder } = stream;
    return new JoinTask({ log, codec, config, partition: 0, storeFolder, logger: pino({ level: 'silent' }), ...given });
  };

  it('by an owner that slept while it read what is committed, and was replaced, takes nothing of two commits', async () => {
    await stream.features({ userId: 'u' });
    await stream.run();
    await stream.vector({ userId: 'u', vector: [3, 4] });
    const other = otherOwner();
    const openWriter: Log['openWriter'] = async (taskId) => {
      const writer = await stream.log.openWriter(taskId);
      const committed: TaskWriter['committed'] = async (input) => {
        if (input.topic === 'user-embeddings') {
          await other.start();
          await other.step();
        }
        return stream.log.committed('freshet', input);
      };
      return { committed, commit: (request) => writer.commit(request), close: () => writer.close() };
    };
    const asleep = newTask({ log: wrapLog(stream.log, { openWriter }) });
    await expect(asleep.start()).rejects.toMatchObject({ code: 'FENCED' });
    await asleep.close();
    await other.close();
    await stream.features({ userId: 'u' });
    await stream.run();
    expect((await stream.ranking()).get('u')).toMatchObject({ realtime: { offset: 1 }, longTerm: { vector: [3, 4] } });
  });

  it('where nothing was committed, by an owner that slept and was replaced, looks again', async () => {
    await stream.features({ userId: 'u' });
    const other = otherOwner();
    const startOffset: Log['startOffset'] = async (at) => {
      // What is committed has been read by then.
      if (other.state === 'CREATED') {
        await other.start();
        await other.step();
      }
      return stream.log.startOffset(at);
    };
    const asleep = newTask({ log: wrapLog(stream.log, { startOffset }) });
    await asleep.start();
    expect([asleep.state, asleep.counts]).toEqual(['RUNNING', { features: 1, ranked: 1 }]);
    await stream.features({ userId: 'v' });
    await expect(other.step()).rejects.toMatchObject({ code: 'FENCED' });
    await asleep.close();
    await other.close();
  });

  it('reads the tail that a process killed after the log’s commit did not store', async () => {
    await stream.features({ userId: 'u' });
    await stream.features({ userId: 'v' });
    await stream.run();
    await stream.vector({ userId: 'u', vector: [3, 4] });
    const task = await stream.task({
      onStep: (point) => {
        if (point === 'log-committed') throw new Error('killed');
      },
    });
    await expect(task.step()).rejects.toThrow('killed');
    await task.close();

    await stream.features({ userId: 'u', window: [action('b', 2)] });
    const counts = await stream.run();
    expect(counts).toEqual({ features: 3, vectors: 1, ranked: 4 });
    expect((await stream.ranking()).get('u')).toMatchObject({ realtime: { offset: 2 }, longTerm: { vector: [3, 4] } });
    expect(stream.lines.filter(({ code }) => code === 'RESTORED')).toMatchObject([{ records: 1 }]);
  });

  it.each([
    ['half of delete.retention.ms ago reads the tail', 500, 1],
    ['longer ago reads all: tombstones may be gone', 501, 3],
  ])('a store committed to %s', async (_, agoMs, read) => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_000_000 });
    await stream.features({ userId: 'u' });
    await stream.features({ userId: 'v' });
    await stream.run();
    cpSync(stream.storeFolder, `${stream.storeFolder}-saved`, { recursive: true });
    await stream.vector({ userId: 'u', vector: [3, 4] });
    await stream.run();
    stream.deleteStore();
    cpSync(`${stream.storeFolder}-saved`, stream.storeFolder, { recursive: true });
    vi.setSystemTime(1_000_000 + agoMs);
    const told: number[][] = [];
    const restoring = (_task: object, done: number, total: number): void => void told.push([done, total]);
    const task = await stream.task({ deleteRetentionMs: 1_000, observer: { restoring } });
    await task.close();
    vi.useRealTimers();
    expect(stream.lines.filter(({ code }) => code === 'RESTORED')).toMatchObject([{ records: read }]);
    expect(told).toEqual([[read, read]]);
  });

  it('makes a damaged store anew', async () => {
    for (const userId of ['u', 'v', 'w']) await stream.features({ userId });
    await stream.run();
    const table = readdirSync(stream.storeFolder).find((file) => /\.(log|ldb)$/.test(file))!;
    writeFileSync(join(stream.storeFolder, table), Buffer.alloc(100, 7));
    await stream.vector({ userId: 'u', vector: [3, 4] });
    await stream.run();
    expect((await stream.ranking()).get('u')).toMatchObject({ realtime: { offset: 0 }, longTerm: { vector: [3, 4] } });
    expect(stream.lines.filter(({ code }) => code === 'RESTORED')).toMatchObject([{ records: 3 }]);
  });
});

describe('a store that turns out to be damaged in a step', () => {
  it.each(['getMany', 'commit'] as const)('in %s is made anew, and nothing is lost or written twice', async (call) => {
    for (const userId of ['u', 'v']) await stream.features({ userId });
    await stream.run();
    const task = await stream.task();
    await stream.vector({ userId: 'u', vector: [3, 4] });
    const damage = new FreshetError('STORE_DAMAGED', 'an entry fails its checksum');
    const spy = vi.spyOn(KeyedStore.prototype, call).mockRejectedValueOnce(damage);
    expect(await task.step()).toEqual({ records: 1, ranked: 1 });
    spy.mockRestore();
    while ((await task.step()).records > 0);
    await stream.features({ userId: 'u', window: [action('b', 2)] });
    await task.step();
    await task.close();
    expect(task.counts).toEqual({ features: 3, vectors: 1, ranked: 4 });
    expect(await stream.read('ranking-features')).toHaveLength(4);
    expect((await stream.ranking()).get('u')).toMatchObject({ realtime: { offset: 2 }, longTerm: { vector: [3, 4] } });
    expect(stream.lines).toContainEqual(expect.objectContaining({ code: 'STORE_DAMAGED' }));
  });
});

describe('a join stops', () => {
  it('when another one has taken over', async () => {
    await stream.features({ userId: 'u' });
    const [first, second] = [await stream.task(), await stream.log.openWriter(TASK_ID)];
    await expect(first.step()).rejects.toMatchObject({ code: 'FENCED' });
    await first.close();
    await second.close();
    expect(await stream.read('ranking-features')).toEqual([]);
  });

  it.each([
    ['LOG_FORMAT', { metadata: { counts: 'many' } }],
    ['OUTPUT_TRUNCATED', { metadata: { rankingEnd: 9 } }],
    ['LAYOUT_CHANGED', { metadata: { layout: 'another' } }],
    ['OFFSET_OUT_OF_RANGE', { offset: 99 }],
  ])('with %s when what was committed cannot be gone on from', async (code, change) => {
    await stream.features({ userId: 'u' });
    await stream.run();
    await forge(change);
    await expect(stream.task()).rejects.toMatchObject({ code });
  });

  it('with OUTPUT_TRUNCATED when its output was deleted from the beginning', async () => {
    await stream.features({ userId: 'u' });
    await stream.run();
    const log = wrapLog(stream.log, { startOffset: async (at) => (at.topic === 'ranking-features' ? 1 : 0) });
    await expect(stream.task({ log })).rejects.toMatchObject({ code: 'OUTPUT_TRUNCATED' });
  });

  it('when its output is not empty, but nothing was committed', async () => {
    await stream.append('ranking-features', 'u', null);
    await expect(stream.task()).rejects.toMatchObject({ code: 'FEATURES_ORPHANED' });
  });

  it('when a joined record is newer than the input', async () => {
    await stream.vector({ userId: 'u' });
    await stream.run();
    const record = (await stream.ranking()).get('u')!;
    const newer: RankingFeaturesRecord = { ...record, longTerm: { ...record.longTerm!, offset: 5 } };
    const value = codec.encode('ranking-features-value', newer);
    await stream.append('ranking-features', 'u', value);
    await forge({ metadata: { rankingEnd: 2 } });
    stream.deleteStore();
    await expect(stream.task()).rejects.toMatchObject({ code: 'INPUT_RECREATED', position: { offset: 5 } });
  });
});

describe('behind a feature task', () => {
  it('joins what it writes, an erase included', async () => {
    const actions = await Stream.open();
    try {
      const { log, config } = actions;
      const logger = { info: () => undefined, warn: () => undefined } as never;
      const storeFolder = join(actions.folder, 'state', 'join-0');
      const task = new JoinTask({ log, codec, config, partition: 0, storeFolder, logger });
      await task.start();
      await actions.append(
        actionRecord({ userId: 'u', itemId: 'a', actionType: 'like', eventTimeMs: 1 }),
        actionRecord({ userId: 'u', itemId: 'b', eventTimeMs: 2 }),
        actionRecord({ userId: 'u', itemId: 'a', actionType: 'unlike', eventTimeMs: 3 }),
      );
      await actions.run();
      expect(await task.step()).toEqual({ records: 1, ranked: 1 });
      const [record] = await actions.read('ranking-features');
      const { realtime } = codec.decode<RankingFeaturesRecord>('ranking-features-value', record!.value!);
      expect(realtime).toMatchObject({ version: 2, windowLength: 3, envelope: { accepted: 3 } });
      expect(realtime!.sequences[0]).toMatchObject({ itemIds: ['b'], actionTypes: ['view'] });

      await actions.append({ key: Buffer.from('u'), value: null, timestampMs: 4 });
      await actions.run();
      expect(await task.step()).toEqual({ records: 1, ranked: 0 });
      expect((await actions.read('ranking-features')).at(-1)!.value).toBeNull();
      await task.close();
    } finally {
      await actions.close();
    }
  });
});
