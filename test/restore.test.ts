/**
 * Bringing a store to what the log has committed: L is how far the store has come, C what is committed. The store is a
 * cache of the log, so whatever happens to it changes nothing; what happens to the log needs a person.
 */
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Log, NewRecord, ReadLimits, TopicPartition } from '../src/log/log.ts';
import { encodeMetadata, type CommitMetadata } from '../src/task/commit-metadata.ts';
import type { FeatureTask, FeatureTaskOptions } from '../src/task/feature-task.ts';
import { UserStore } from '../src/task/user-store.ts';
import { StateCodec } from '../state/state-codec.ts';
import { layoutOf, stateLayoutHash } from '../state/layout.ts';
import { actionRecord, Stream, type RawRecord } from './support/stream.ts';
import { wrapLog } from '../src/log/wrapped-log.ts';

const INPUT = { topic: 'user-actions', partition: 0 };
const FEATURES = { topic: 'sequence-features', partition: 0 };
const FLAGS = { commitMaxRecords: 2, cacheUsers: 1 };

const erase = (userId: string): RawRecord => ({ key: Buffer.from(userId), value: null, timestampMs: 1 });
const act = (userId: string, eventTimeMs: number): RawRecord => actionRecord({ userId, eventTimeMs });

/** Two records a commit; the features topic holds 1, 3, 5, 6 and 8 records after the commits (a tombstone is one). */
const RECORDS = [
  act('a', 1),
  act('a', 2),
  act('a', 3),
  act('b', 4),
  act('c', 5),
  erase('b'),
  act('a', 7),
  act('a', 8),
  act('b', 9),
  act('c', 10),
];
const COMMITS = 5;

const SILENT = pino({ enabled: false });

/** What stands in the log and the store after all records. */
async function outcome(stream: Stream): Promise<object> {
  return { newest: await stream.newestFeatures(), states: await stream.states() };
}

let stream: Stream;
let undisturbed: object;

beforeEach(async () => {
  const other = await Stream.open(FLAGS);
  await other.append(...RECORDS);
  await other.run();
  undisturbed = await outcome(other);
  await other.close();
  stream = await Stream.open(FLAGS);
  await stream.append(...RECORDS);
});

afterEach(() => stream.close());

interface Watch {
  /** Sees a read of the features topic before it happens; may throw. */
  readonly onRead?: () => void;
  readonly maxRecords?: number;
}

/** The log of the stream, counting what is read of the features topic. */
function watched(
  log: Log,
  { onRead = () => undefined, maxRecords = Infinity }: Watch = {},
): { log: Log; read: () => number } {
  let count = 0;
  const read = async (at: TopicPartition, offset: number, limits: ReadLimits) => {
    if (at.topic !== FEATURES.topic) return log.read(at, offset, limits);
    onRead();
    const records = await log.read(at, offset, { ...limits, maxRecords: Math.min(maxRecords, limits.maxRecords) });
    count += records.length;
    return records;
  };
  return { read: () => count, log: wrapLog(log, { read }) };
}

const newTask = (log: Log = stream.log, flags: Partial<Stream['config']> = {}): FeatureTask =>
  stream.newTask(0, { log, config: { ...stream.config, ...flags } });

async function steps(count: number): Promise<void> {
  const task = await stream.task();
  for (let step = 0; step < count; step += 1) await task.step();
  await task.close();
}

/** Starts a task and closes it again; how many features records it read. */
async function restored(given: Partial<FeatureTaskOptions> = {}): Promise<number> {
  const { log, read } = watched(stream.log);
  const task = stream.newTask(0, { log, ...given });
  await task.start();
  expect(task.state).toBe('RUNNING');
  await task.close();
  return read();
}

const saveStore = (): void => cpSync(stream.storeFolder(), join(stream.folder, 'saved'), { recursive: true });
function putStoreBack(): void {
  stream.deleteStore();
  cpSync(join(stream.folder, 'saved'), stream.storeFolder(), { recursive: true });
}

/** Inverts bytes in the middle of the values that the store's files hold; LevelDB's own structures stay whole. */
function damageValues(): void {
  const files = readdirSync(stream.storeFolder()).filter((name) => /\.(log|ldb)$/.test(name));
  let damaged = 0;
  for (const name of files) {
    const path = join(stream.storeFolder(), name);
    const bytes = readFileSync(path);
    for (let at = bytes.indexOf('engagement'); at >= 0; at = bytes.indexOf('engagement', at + 1)) {
      bytes[at] = bytes[at]! ^ 0xff;
      damaged += 1;
    }
    // In place: LevelDB has the file mapped into memory.
    writeFileSync(path, bytes, { flag: 'r+' });
  }
  expect(damaged).toBeGreaterThan(0);
}

describe('a store', () => {
  afterEach(async () => {
    await stream.run();
    expect(await outcome(stream)).toEqual(undisturbed);
  });

  it('that has come as far as the log (L = C) is taken as it is', async () => {
    await steps(3);
    expect(await restored()).toBe(0);
  });

  it('that is behind (L < C) reads the tail alone', async () => {
    await steps(2);
    saveStore();
    await steps(2);
    putStoreBack();
    expect(await restored()).toBe(3);
    expect(await restored()).toBe(0);
  });

  it('that is ahead of the log (L > C) is wiped and reads all', async () => {
    await steps(1);
    const logFolder = join(stream.folder, 'log');
    await stream.log.close();
    cpSync(logFolder, join(stream.folder, 'log-saved'), { recursive: true });
    stream = await Stream.open(FLAGS, { folder: stream.folder });
    await steps(2);
    await stream.log.close();
    rmSync(logFolder, { recursive: true });
    cpSync(join(stream.folder, 'log-saved'), logFolder, { recursive: true });
    stream = await Stream.open(FLAGS, { folder: stream.folder });
    expect(await restored()).toBe(1);
  });

  it('that was deleted reads all', async () => {
    await steps(4);
    stream.deleteStore();
    expect(await restored()).toBe(6);
  });

  it('of another log, where nothing is committed, is emptied', async () => {
    await steps(4);
    saveStore();
    const emptied = await Stream.open(FLAGS);
    await emptied.append(...RECORDS);
    cpSync(join(stream.folder, 'saved'), emptied.storeFolder(), { recursive: true });
    await stream.close();
    stream = emptied;
  });

  it('with bytes flipped is noticed when it is opened, and rebuilt', async () => {
    await steps(4);
    damageValues();
    expect(await restored()).toBe(6);
  });

  it('that turns out damaged while it runs is rebuilt, and the task goes on', async () => {
    await steps(3);
    const states: string[] = [];
    const { log, read } = watched(stream.log, { onRead: () => states.push(task.state) });
    const task = newTask(log);
    await task.start();
    expect(read()).toBe(0);
    damageValues();
    expect((await task.step()).records).toBe(2);
    expect(states).toEqual(['RESTORING']);
    expect(task.state).toBe('RUNNING');
    expect(read()).toBe(5);
    await task.close();
  });

  it('that holds keys of a commit which the log has lost (L = C, not whole) is wiped and reads all', async () => {
    await steps(2);
    const layout = layoutOf(stream.config);
    const stateCodec = new StateCodec(layout);
    const options = { layoutHash: stateLayoutHash(layout), stateCodec, logger: SILENT, rememberedKeys: 10 };
    const store = await UserStore.open(stream.storeFolder(), options);
    await store.add([{ userId: 'of-a-lost-commit', stateBody: Buffer.from('?'), cache: null }]);
    await store.close();
    expect(await restored()).toBe(3);
    expect(await restored()).toBe(0);
  });

  it.each([
    ['half of delete.retention.ms or less reads the tail', 500, 3],
    ['longer reads all: tombstones may be gone', 501, 6],
  ])('that was committed to %s', async (_, agoMs, read) => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_000_000 });
    await steps(2);
    saveStore();
    await steps(2);
    putStoreBack();
    vi.setSystemTime(1_000_000 + agoMs);
    expect(await restored({ deleteRetentionMs: 1_000 })).toBe(read);
    vi.setSystemTime(9_000_000);
    // Nothing is missing now, however old it is.
    expect(await restored({ deleteRetentionMs: 1_000 })).toBe(0);
    vi.useRealTimers();
  });

  it('whose restore is interrupted by closing the task goes on with it later', async () => {
    await steps(COMMITS);
    stream.deleteStore();
    let closed: Promise<void> | undefined;
    const onRead = (): void => {
      closed ??= Promise.resolve().then(() => task.close());
    };
    const task = newTask(watched(stream.log, { onRead, maxRecords: 2 }).log);
    await expect(task.start()).rejects.toMatchObject({ name: 'AbortError' });
    await closed;
    expect(task.state).toBe('CLOSED');
    expect(await restored()).toBe(8);
  });

  it('tells how far its restore has come', async () => {
    await steps(COMMITS);
    stream.deleteStore();
    const told: number[][] = [];
    const restoring = (_: unknown, done: number, total: number): void => void told.push([done, total]);
    const { log } = watched(stream.log, { maxRecords: 3 });
    expect(await restored({ log, observer: { restoring } })).toBe(0);
    expect(told).toEqual([
      [3, 8],
      [6, 8],
      [8, 8],
    ]);
  });

  it('whose owner slept after it had read that nothing is committed, and was replaced, looks again', async () => {
    const other = stream.newTask(0, { storeFolder: `${stream.storeFolder()}-elsewhere` });
    const endOffset: Log['endOffset'] = async (at) => {
      if (other.state === 'CREATED') {
        await other.start();
        await other.step();
      }
      return stream.log.endOffset(at);
    };
    await restored({ log: wrapLog(stream.log, { endOffset }) });
    await expect(other.step()).rejects.toMatchObject({ code: 'FENCED' });
    await other.close();
  });

  it('whose restore was cut short starts it again', async () => {
    await steps(COMMITS);
    stream.deleteStore();
    let reads = 0;
    const onRead = (): void => {
      reads += 1;
      if (reads === 3) throw new Error('cut short');
    };
    const task = newTask(watched(stream.log, { onRead, maxRecords: 2 }).log);
    await expect(task.start()).rejects.toThrow('cut short');
    await task.close();
    expect(await restored()).toBe(8);
  });

  it('whose restore of a tail was cut short starts that tail again', async () => {
    await steps(1);
    saveStore();
    await steps(COMMITS - 1);
    putStoreBack();
    let reads = 0;
    const onRead = (): void => {
      reads += 1;
      if (reads === 2) throw new Error('cut short');
    };
    const task = newTask(watched(stream.log, { onRead, maxRecords: 2 }).log);
    await expect(task.start()).rejects.toThrow('cut short');
    await task.close();
    expect(await restored()).toBe(7);
  });
});

describe('a start that needs a person', () => {
  const refusal = (code: string, detail: RegExp, position: object): object => ({
    code,
    exitCode: 4,
    detail: expect.stringMatching(detail) as string,
    remedy: expect.stringMatching(/./) as string,
    position,
  });

  /** The start of a task fails and nothing is written. */
  async function refused(error: object, flags: Partial<Stream['config']> = {}, log: Log = stream.log): Promise<void> {
    const before = await log.endOffset(FEATURES);
    const task = newTask(log, flags);
    await expect(task.start()).rejects.toMatchObject(error);
    await expect(task.step()).rejects.toMatchObject(error);
    expect(task.state).toBe('RESTORING');
    await task.close();
    expect(task.state).toBe('CLOSED');
    expect(await log.endOffset(FEATURES)).toBe(before);
  }

  const METADATA: CommitMetadata = {
    featuresEnd: 0,
    historyEnd: 0,
    rejectedEnd: 0,
    featuresStart: 0,
    activation: null,
    layout: '',
    counts: {},
  };

  /** Commits in the name of the task, as another program or a damaged log might have. */
  async function committed(
    offset: number,
    metadata: string | Partial<CommitMetadata>,
    outputs: NewRecord[] = [],
  ): Promise<void> {
    const writer = await stream.log.openWriter(`${stream.config.appId}-user-actions-0`);
    const layout = stateLayoutHash(layoutOf(stream.config));
    const text = typeof metadata === 'string' ? metadata : encodeMetadata({ ...METADATA, layout, ...metadata });
    await writer.commit({ outputs, offsets: [{ input: INPUT, offset }], metadata: () => text });
    await writer.close();
  }

  it('LAYOUT_CHANGED: another K was configured; undone, it goes on', async () => {
    await steps(2);
    const [sequence] = stream.config.sequences;
    const sequences = [{ ...sequence!, windowSize: 5 }];
    await refused(refusal('LAYOUT_CHANGED', /was written, .* is configured/, INPUT), { sequences });
    await stream.run();
    expect(await outcome(stream)).toEqual(undisturbed);
  });

  it('FEATURES_ORPHANED: another app id finds features that it did not write', async () => {
    await steps(2);
    await refused(refusal('FEATURES_ORPHANED', /not empty/, FEATURES), { appId: 'other' });
    await stream.run();
    expect(await outcome(stream)).toEqual(undisturbed);
  });

  it('OUTPUT_TRUNCATED: the features end before what was committed', async () => {
    await committed(2, { featuresEnd: 7 });
    await refused(refusal('OUTPUT_TRUNCATED', /ends at 0, committed was 7/, FEATURES));
  });

  it('OUTPUT_TRUNCATED: features were deleted from the beginning of their topic', async () => {
    await steps(2);
    const cut = wrapLog(stream.log, { startOffset: async (at) => (at.topic === FEATURES.topic ? 1 : 0) });
    await refused(refusal('OUTPUT_TRUNCATED', /begins at 1, but was written from 0 on/, FEATURES), {}, cut);
    await stream.run();
    expect(await outcome(stream)).toEqual(undisturbed);
  });

  it.each([
    ['action-history', { historyEnd: 3 }],
    ['rejected-actions', { rejectedEnd: 3 }],
  ])('OUTPUT_TRUNCATED: %s ends before what was committed', async (topic, ends) => {
    await committed(2, ends);
    await refused(refusal('OUTPUT_TRUNCATED', /ends at 0, committed was 3/, { topic, partition: 0 }));
  });

  it('INPUT_RECREATED: a restored user is newer than the committed offset', async () => {
    await steps(1);
    const features = await stream.read('sequence-features');
    await stream.close();
    stream = await Stream.open(FLAGS);
    await stream.append(...RECORDS.slice(0, 1));
    // The record is of version 1: the offset after the only record of this input.
    await committed(
      1,
      { featuresEnd: 1 },
      features.map((record) => ({ ...record, ...FEATURES })),
    );
    await refused(refusal('INPUT_RECREATED', /version 1 .* offset 1/, { ...FEATURES, offset: 0 }));
  });

  it('OFFSET_OUT_OF_RANGE: the input ends before the committed offset', async () => {
    await committed(RECORDS.length + 1, {});
    await refused(refusal('OFFSET_OUT_OF_RANGE', /offsets 0 to 10/, { ...INPUT, offset: 11 }));
  });

  it('OFFSET_OUT_OF_RANGE: the input begins after the committed offset', async () => {
    await committed(2, {});
    const cut = wrapLog(stream.log, { startOffset: async (at) => (at.topic === INPUT.topic ? 3 : 0) });
    await refused(refusal('OFFSET_OUT_OF_RANGE', /offsets 3 to 10/, { ...INPUT, offset: 2 }), {}, cut);
  });

  it.each([
    ['no JSON', '{'],
    ['of another shape', '{"featuresEnd":-1}'],
  ])('LOG_FORMAT: the metadata are %s', async (_, metadata) => {
    await committed(2, metadata);
    await refused(refusal('LOG_FORMAT', /metadata/, INPUT));
  });
});

describe('a features topic that starts later than offset 0', () => {
  it('because it was emptied before the first commit is gone on from', async () => {
    // The embedded log cannot delete: record 0 of another application stands for what was there before.
    await stream.log.append([{ ...FEATURES, timestampMs: 0, key: Buffer.from('x'), value: null }]);
    const cut = wrapLog(stream.log, { startOffset: async (at) => (at.topic === FEATURES.topic ? 1 : 0) });
    for (let records = 1; records > 0;) {
      const task = newTask(cut);
      await task.start();
      ({ records } = await task.step());
      await task.close();
      stream.deleteStore();
    }
    expect(await stream.read('sequence-features')).toHaveLength(9);
  });
});

describe('an input that starts later than offset 0', () => {
  it('is consumed from its start where nothing is committed', async () => {
    const cut = wrapLog(stream.log, { startOffset: async (at) => (at.topic === INPUT.topic ? 4 : 0) });
    const task = newTask(cut);
    await task.start();
    expect(await task.lag()).toBe(6);
    await task.close();
  });
});
