/** The embedded log: what it promises beyond the port, and how it answers damage. */
import { cpSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FreshetError } from '../src/base/errors.ts';
import { decodeManifest, manifestKey } from '../src/log/embedded-manifest.ts';
import { RecordEncoder, decodeRecord, recordKey, sealed } from '../src/log/embedded-record.ts';
import { EmbeddedLog } from '../src/log/embedded.ts';
import type { NewRecord, TopicPartition } from '../src/log/log.ts';
import { declareTopics } from '../topics/index.ts';
import { describeLogConformance, readAll, record, valuesOf } from './log-conformance.ts';
import { tempDir } from './support/temp-dir.ts';

const input: TopicPartition = { topic: 'user-actions', partition: 1 };
const features: TopicPartition = { topic: 'sequence-features', partition: 2 };
const TOPIC_IDS = new Map(declareTopics(3).map(({ name }, id): [string, number] => [name, id]));
const AMPLE = { maxRecords: 10_000, maxBytes: 64 * 1024 * 1024 };

describeLogConformance('embedded', async () => {
  const folder = tempDir();
  return { open: () => EmbeddedLog.open(folder), dispose: async () => undefined };
});

async function openLog(folder = tempDir()): Promise<{ folder: string; log: EmbeddedLog }> {
  const log = await EmbeddedLog.open(folder);
  await log.createTopics(declareTopics(3));
  return { folder, log };
}

/** Works on the closed log's LevelDB directly. */
async function tamper(folder: string, change: (level: ClassicLevel<Buffer, Buffer>) => Promise<void>): Promise<void> {
  const level = new ClassicLevel<Buffer, Buffer>(folder, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
  await change(level);
  await level.close();
}

const keyOf = (at: TopicPartition, offset: number): Buffer => recordKey(TOPIC_IDS.get(at.topic)!, at.partition, offset);

const lengths = (count: number): string[] => Array.from({ length: count }, (_, index) => `value ${index}`);

test('what an application has committed is its own, also if its name begins like another one', async () => {
  const { log } = await openLog();
  const commit = async (taskId: string, offset: number): Promise<void> => {
    const writer = await log.openWriter(taskId);
    await writer.commit({ outputs: [], offsets: [{ input, offset }], metadata: () => taskId });
  };
  await commit('shop-eu-user-actions-1', 5);
  await commit('shop-user-actions-1', 7);
  expect(await log.committed('shop', input)).toEqual({ offset: 7, metadata: 'shop-user-actions-1' });
  expect(await log.committed('shop-eu', input)).toEqual({ offset: 5, metadata: 'shop-eu-user-actions-1' });
  expect(await log.committed('sho', input)).toBeUndefined();
  await log.close();
});

describe('offsets', () => {
  test('are dense from 0, whoever writes', async () => {
    const { log } = await openLog();
    expect(await log.append([record(input, 'a'), record(features, 'b'), record(input, 'c')])).toEqual([0, 0, 1]);
    const writer = await log.openWriter('task');
    await writer.commit({ outputs: [record(features, 'd')], offsets: [], metadata: () => '' });
    expect(await log.append([record(features, 'e')])).toEqual([2]);
    expect([await log.startOffset(features), await log.endOffset(features)]).toEqual([0, 3]);
    await log.close();
  });

  test('are given in the order of the calls, also between appends and commits', async () => {
    const { log } = await openLog();
    const writer = await log.openWriter('task');
    const commit = { outputs: [record(features, 'b'), record(features, 'c')], offsets: [], metadata: () => '' };
    const calls = [log.append([record(features, 'a')]), writer.commit(commit), log.append([record(features, 'd')])];
    await Promise.all(calls);
    expect(valuesOf(await readAll(log, features))).toEqual(['a', 'b', 'c', 'd']);
    await log.close();
  });
});

describe('limits', () => {
  test('writes that nobody waits for are refused in time', async () => {
    const { log } = await openLog();
    const calls = Array.from({ length: 1_100 }, () => log.append([record(input, 'x')]));
    const settled = await Promise.allSettled(calls);
    const refused = settled.filter(({ status }) => status === 'rejected').length;
    expect(refused).toBe(1_100 - 1_024);
    expect(await log.endOffset(input)).toBe(1_024);
    await log.close();
  });

  test('an oversized record is refused with its position and takes nothing along', async () => {
    const { log } = await openLog();
    const append = log.append([record(input, 'x'), record(input, Buffer.alloc(5 * 1024 * 1024))]);
    await expect(append).rejects.toMatchObject({ code: 'INPUT_MALFORMED', position: { ...input, offset: 1 } });
    expect(await log.endOffset(input)).toBe(0);
    await log.close();
  });

  test('metadata that Kafka would refuse is refused', async () => {
    const { log } = await openLog();
    const writer = await log.openWriter('task');
    const commit = writer.commit({ outputs: [], offsets: [{ input, offset: 1 }], metadata: () => 'x'.repeat(4_097) });
    await expect(commit).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(await writer.committed(input)).toBeUndefined();
    await log.close();
  });

  test('a closed log takes no calls, and closing twice is one close', async () => {
    const { log } = await openLog();
    const last = log.append([record(input, 'x')]);
    await Promise.all([log.close(), log.close()]);
    expect(await last).toEqual([0]);
    await expect(log.append([record(input, 'y')])).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect(log.read(input, 0, AMPLE)).rejects.toMatchObject({ code: 'INTERNAL' });
  });
});

describe('record bytes', () => {
  const at: TopicPartition = input;
  const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array));
  const anyRecord: fc.Arbitrary<NewRecord> = fc.record({
    topic: fc.constant(at.topic),
    partition: fc.constant(at.partition),
    timestampMs: fc.integer({ min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER }),
    key: fc.option(bytes),
    value: fc.option(bytes),
    headers: fc.dictionary(fc.string({ maxLength: 8 }), bytes, { maxKeys: 3, noNullPrototype: true }),
  });
  const encoder = new RecordEncoder();

  test('decode(encode(record)) = record', () => {
    fc.assert(
      fc.property(anyRecord, fc.nat(2 ** 31), (written, offset) => {
        const { timestampMs, key, value, headers } = written;
        expect(decodeRecord(encoder.encode(1, offset, written), at, offset)).toEqual({
          ...{ offset, timestampMs, key, value, headers },
        });
      }),
      { numRuns: 2_000 },
    );
  });

  test('any flipped bit, and any record in another place, is noticed', () => {
    fc.assert(
      fc.property(anyRecord, fc.nat(), fc.nat(1_000), (written, bit, offset) => {
        const stored = encoder.encode(1, offset, written);
        const damaged = Buffer.from(stored.value);
        const target = bit % (damaged.length * 8);
        damaged[target >> 3]! ^= 1 << (target & 7);
        const corrupt = { code: 'LOG_CORRUPT', position: { ...at, offset } };
        expect(failure(() => decodeRecord({ ...stored, value: damaged }, at, offset))).toMatchObject(corrupt);
        const elsewhere = { key: recordKey(1, at.partition, offset + 1), value: stored.value };
        expect(failure(() => decodeRecord(elsewhere, at, offset))).toMatchObject(corrupt);
      }),
      { numRuns: 1_000 },
    );
  });
});

function failure(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error;
  }
}

describe('damage', () => {
  async function filledLog(): Promise<string> {
    const { folder, log } = await openLog();
    await log.append(lengths(20).map((value) => record(input, value)));
    await log.append([record(features, 'feature')]);
    await log.close();
    return folder;
  }

  test('a missing record is a gap, named with its position', async () => {
    const folder = await filledLog();
    await tamper(folder, (level) => level.del(keyOf(input, 7)));
    const log = await EmbeddedLog.open(folder);
    const position = { ...input, offset: 7 };
    await expect(log.read(input, 0, AMPLE)).rejects.toMatchObject({ code: 'LOG_GAP', position });
    expect(valuesOf(await log.read(input, 8, AMPLE))).toEqual(lengths(20).slice(8));
    await log.close();
  });

  test('a record missing at the end, or standing after it, shows at open', async () => {
    const folder = await filledLog();
    await tamper(folder, (level) => level.del(keyOf(input, 19)));
    const last = { ...input, offset: 19 };
    await expect(EmbeddedLog.open(folder)).rejects.toMatchObject({ code: 'LOG_GAP', position: last });
    await tamper(folder, (level) => level.put(keyOf(input, 19), Buffer.alloc(30)));
    await tamper(folder, (level) => level.put(keyOf(features, 1), Buffer.alloc(30)));
    const after = { ...features, offset: 1 };
    await expect(EmbeddedLog.open(folder)).rejects.toMatchObject({ code: 'LOG_GAP', position: after });
  });

  test('a flipped byte in a stored record is corruption, named with its position', async () => {
    const folder = await filledLog();
    await tamper(folder, async (level) => {
      const value = (await level.get(keyOf(input, 3)))!;
      value[25]! ^= 0x10;
      await level.put(keyOf(input, 3), value);
    });
    const log = await EmbeddedLog.open(folder);
    const position = { ...input, offset: 3 };
    await expect(log.read(input, 0, AMPLE)).rejects.toMatchObject({ code: 'LOG_CORRUPT', position });
    expect(valuesOf(await log.read(input, 0, { ...AMPLE, maxRecords: 3 }))).toEqual(lengths(3));
    await log.close();
  });

  test('a commit that LevelDB lost inside its write-ahead log is a gap at open', async () => {
    const { folder, log } = await openLog();
    // Big enough that each batch begins in another 32 KiB block of LevelDB's log: a damaged block costs one batch.
    const padding = Buffer.alloc(100_000, 'p');
    await log.append([record(input, padding)]);
    await log.append([record(features, Buffer.concat([Buffer.from('LOST'), padding]))]);
    await log.append([record(input, padding)]);
    await log.append([record(input, padding)]);
    await log.close();
    const walFile = writeAheadLog(folder);
    const wal = readFileSync(walFile);
    wal[wal.indexOf('LOST') + 50_000]! ^= 0xff;
    writeFileSync(walFile, wal);
    const position = { ...features, offset: 0 };
    await expect(EmbeddedLog.open(folder)).rejects.toMatchObject({ code: 'LOG_GAP', position });
  });

  test('a torn tail of the write-ahead log costs whole commits only', async () => {
    for (const cut of [1, 500, 5_000, 40_000]) {
      const { folder, log } = await openLog();
      const writer = await log.openWriter('task');
      for (let offset = 1; offset <= 20; offset += 1) {
        const outputs = Array.from({ length: 5 }, () => record(features, `${offset}`.padStart(1_000)));
        await writer.commit({ outputs, offsets: [{ input, offset }], metadata: () => `${offset}` });
      }
      await log.close();
      const walFile = writeAheadLog(folder);
      truncateSync(walFile, statSync(walFile).size - cut);
      const reopened = await EmbeddedLog.open(folder);
      const committed = await (await reopened.openWriter('task')).committed(input);
      expect(committed?.offset).toBeLessThan(20);
      expect(await reopened.endOffset(features)).toBe(5 * committed!.offset);
      const values = valuesOf(await readAll(reopened, features));
      expect(values.at(-1)?.trim()).toBe(`${committed!.offset}`);
      await reopened.close();
    }
  });

  test('a byte flipped anywhere in the write-ahead log gives a prefix of the commits or an error, nothing else', async () => {
    const { folder, log } = await openLog();
    const writer = await log.openWriter('task');
    const commits = Array.from({ length: 24 }, (_, index) => index + 1);
    for (const offset of commits) {
      const output = { topic: 'sequence-features', partition: offset % 3 };
      const outputs = Array.from({ length: 3 }, () => record(output, `${offset}`.padStart(2_500, '.')));
      await writer.commit({ outputs, offsets: [{ input, offset }], metadata: () => `${offset}` });
    }
    await log.close();
    const wal = readFileSync(writeAheadLog(folder));
    await fc.assert(
      fc.asyncProperty(fc.nat(wal.length - 1), fc.integer({ min: 1, max: 255 }), async (position, mask) => {
        const copy = tempDir();
        cpSync(folder, copy, { recursive: true });
        const damaged = Buffer.from(wal);
        damaged[position]! ^= mask;
        writeFileSync(writeAheadLog(copy), damaged);
        const found = await readCommits(copy).catch((error: unknown) => error);
        if (found instanceof FreshetError) {
          expect(['LOG_GAP', 'LOG_CORRUPT']).toContain(found.code);
        } else {
          const { committed, values } = found as Awaited<ReturnType<typeof readCommits>>;
          expect(committed).toBeLessThanOrEqual(24);
          const whole = commits.filter((offset) => offset <= committed).flatMap((offset) => [offset, offset, offset]);
          expect(values.sort((a, b) => a - b)).toEqual(whole);
        }
      }),
      { numRuns: 100 },
    );
  });

  test('another format is refused', async () => {
    const key = manifestKey(1);
    const newer = { key, value: sealed(key, Buffer.from([0, 0, 0, 3, 123, 125])) };
    expect(failure(() => decodeManifest(newer))).toMatchObject({ code: 'LOG_FORMAT' });
    expect(failure(() => decodeManifest({ key, value: Buffer.alloc(3) }))).toMatchObject({ code: 'LOG_CORRUPT' });
    const folder = tempDir();
    await tamper(folder, (level) => level.put(Buffer.from('some'), Buffer.from('data')));
    await expect(EmbeddedLog.open(folder)).rejects.toMatchObject({ code: 'LOG_FORMAT' });
  });

  test.each(['CURRENT', 'MANIFEST', 'a table'])('a log without %s is damaged, not new', async (kind) => {
    const folder = await filledLog();
    // A second open turns the write-ahead log into a table.
    await (await EmbeddedLog.open(folder)).close();
    const files = readdirSync(folder);
    const lost = files.find((file) => file.startsWith(kind) || (kind === 'a table' && file.endsWith('.ldb')));
    rmSync(join(folder, lost!));
    await expect(EmbeddedLog.open(folder)).rejects.toMatchObject({ code: 'LOG_CORRUPT' });
    expect(readdirSync(folder).filter((file) => file.endsWith('.ldb'))).toEqual(
      files.filter((file) => file.endsWith('.ldb') && file !== lost),
    );
  });

  test('a path that cannot be a folder is said to a person', async () => {
    const file = join(tempDir(), 'a-file');
    writeFileSync(file, '');
    const error = await EmbeddedLog.open(join(file, 'log')).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(FreshetError);
    expect(error).toMatchObject({ code: 'STORAGE_FAILED', exitCode: 4 });
  });
});

/** The committed offset, and the commit number in each record of the features. */
async function readCommits(folder: string): Promise<{ committed: number; values: number[] }> {
  const log = await EmbeddedLog.open(folder);
  try {
    if (!(await log.topics()).has('sequence-features')) return { committed: 0, values: [] };
    const values: number[] = [];
    for (const partition of [0, 1, 2]) {
      const records = await readAll(log, { topic: 'sequence-features', partition });
      values.push(...records.map(({ value }) => Number(value!.toString().replaceAll('.', ''))));
    }
    const writer = await log.openWriter('task');
    return { committed: (await writer.committed(input))?.offset ?? 0, values };
  } finally {
    await log.close();
  }
}

function writeAheadLog(folder: string): string {
  const logs = readdirSync(folder).filter((file) => /^\d+\.log$/.test(file));
  expect(logs).toHaveLength(1);
  return join(folder, logs[0]!);
}
