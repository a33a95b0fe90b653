import { readFile, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FreshetError } from '../src/base/errors.ts';
import { partitionOf } from '../src/base/murmur2.ts';
import { packagePath } from '../src/base/package-root.ts';
import { BATCH_BYTES, BATCH_RECORDS } from '../src/ingest/append-batch.ts';
import { loadActions } from '../src/ingest/load-actions.ts';
import type { LoadActionsOptions, LoadActionsResult } from '../src/ingest/load-actions.ts';
import type { LoadProgress } from '../src/ingest/progress.ts';
import type { Log, LogRecord, NewRecord } from '../src/log/log.ts';
import { wrapLog } from '../src/log/wrapped-log.ts';
import type { UserActionRecord } from '../topics/records.ts';
import { fixture, openBench, PARTITIONS, readAll, type Bench } from './ingest-harness.ts';

const HEADER = 'userId,itemId,actionType,eventTime\n';

let bench: Bench;
beforeEach(async () => {
  bench = await openBench();
});
afterEach(() => bench.close());

const load = (file: string, options: Partial<LoadActionsOptions> = {}): Promise<LoadActionsResult> =>
  loadActions({ log: bench.log, codec: bench.codec, dataDir: bench.dataDir, file, format: 'csv', ...options });

async function write(name: string, content: string | Buffer): Promise<string> {
  const file = join(bench.dataDir, name);
  await writeFile(file, content);
  return file;
}

const decode = (record: LogRecord): UserActionRecord =>
  bench.codec.decode<UserActionRecord>('user-actions-value', record.value!, record.headers);

async function loaded(): Promise<(UserActionRecord & { timestampMs: number; partition: number })[]> {
  const all = await readAll(bench.log, 'user-actions');
  return all.map((record) => ({ ...decode(record), timestampMs: record.timestampMs, partition: record.partition }));
}

async function sideFile(result: Pick<LoadActionsResult, 'sideFile'>): Promise<Record<string, unknown>[]> {
  const text = await readFile(result.sideFile!, 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('loading actions', () => {
  it('maps columns to fields and ignores the others', async () => {
    const file = await write(
      'x.csv',
      'who,junk,what,itemId,at,seen,surface\nu1,?,VIEW,i1,1000,1010,web\nu1,?,like,i2,2000,,\n',
    );
    const result = await load(file, {
      map: { userId: 'who', actionType: 'what', eventTime: 'at', arrivalTime: 'seen' },
      actionMap: { VIEW: 'view' },
      timeUnit: 's',
    });
    expect(result).toEqual({ rowsRead: 2, appended: 2, rejected: {}, sideFile: null });
    const partition = partitionOf(Buffer.from('u1'), PARTITIONS);
    const action = { userId: 'u1', partition };
    expect(await loaded()).toEqual([
      { ...action, itemId: 'i1', actionType: 'view', eventTimeMs: 1_000_000, surface: 'web', timestampMs: 1_010_000 },
      { ...action, itemId: 'i2', actionType: 'like', eventTimeMs: 2_000_000, surface: null, timestampMs: 2_000_000 },
    ]);
    const [first] = await readAll(bench.log, 'user-actions');
    expect(first!.key).toEqual(Buffer.from('u1'));
  });

  it('reads NDJSON with ids beyond 2^53, and CSV without a header', async () => {
    const json = '{"userId":-8845298781299428018,"itemId":7,"actionType":"view","eventTime":"2016-03-14T00:00:00Z"}\n';
    await load(await write('x.ndjson', json), { format: 'ndjson' });
    await load(await write('y.csv', '5,u,view,i\n'), {
      header: false,
      columns: ['eventTime', 'userId', 'actionType', 'itemId'],
    });
    const ids = (await loaded()).map(({ userId, itemId, eventTimeMs }) => [userId, itemId, eventTimeMs]);
    expect(ids).toHaveLength(2);
    expect(ids).toContainEqual(['-8845298781299428018', '7', Date.UTC(2016, 2, 14)]);
    expect(ids).toContainEqual(['u', 'i', 5]);
  });

  it('keeps the order of the file within a partition, over batches of limited count and bytes', async () => {
    const batches: { readonly count: number; readonly bytes: number }[] = [];
    const log = watchAppends(bench.log, (records) => {
      const bytes = records.reduce((sum, { key, value }) => sum + key!.length + value!.length, 0);
      batches.push({ count: records.length, bytes });
    });
    const long = 'x'.repeat(40_000);
    const rows = Array.from({ length: 12_000 }, (_, n) => `u${n % 50},${n < 300 ? `${n}-${long}` : n},view,${n}\n`);
    expect(await load(await write('x.csv', HEADER + rows.join('')), { log })).toMatchObject({ appended: 12_000 });
    for (let partition = 0; partition < PARTITIONS; partition += 1) {
      const times = (await loaded())
        .filter((action) => action.partition === partition)
        .map((action) => action.eventTimeMs);
      expect(times.length).toBeGreaterThan(1_000);
      expect(times).toEqual([...times].sort((a, b) => a - b));
    }
    expect(Math.max(...batches.map(({ count }) => count))).toBe(BATCH_RECORDS);
    expect(Math.max(...batches.map(({ bytes }) => bytes))).toBeLessThan(BATCH_BYTES + 2 * long.length);
    expect(batches.filter(({ bytes }) => bytes >= BATCH_BYTES)).toHaveLength(2);
  });

  it('appends a file again when it is loaded again', async () => {
    const file = await write('x.csv', `${HEADER}u,i,view,1\n`);
    await load(file);
    await load(file);
    expect(await loaded()).toHaveLength(2);
  });

  it('tells how far it is, at most twice a second', async () => {
    const told: (LoadProgress & { readonly atMs: number })[] = [];
    const rows = Array.from({ length: 30_000 }, (_, n) => `u${n},i,view,${n}\n`).join('');
    const slow = watchAppends(bench.log, () => new Promise((done) => setTimeout(done, 120)));
    const file = await write('x.csv', HEADER + rows);
    await load(file, { log: slow, onProgress: (progress) => told.push({ ...progress, atMs: performance.now() }) });
    expect(told.length).toBeGreaterThan(0);
    for (const [index, { rows: count, bytes, totalBytes, rowsPerSecond, atMs }] of told.entries()) {
      expect(count).toBeLessThanOrEqual(30_000);
      expect(bytes).toBeLessThanOrEqual(totalBytes);
      expect(rowsPerSecond).toBeGreaterThan(0);
      if (index > 0) expect(atMs - told[index - 1]!.atMs).toBeGreaterThanOrEqual(499);
    }
  });
});

describe('Deskdrop', () => {
  it('is loaded whole from the shipped file', { timeout: 60_000 }, async () => {
    const result = await load(packagePath('data', 'deskdrop', 'actions.csv.gz'), { format: 'deskdrop' });
    expect(result).toEqual({ rowsRead: 72_312, appended: 72_312, rejected: {}, sideFile: null });
    const actions = await loaded();
    const count = (pick: (action: UserActionRecord) => string | null): Record<string, number> => {
      const counts: Record<string, number> = {};
      for (const action of actions) counts[String(pick(action))] = (counts[String(pick(action))] ?? 0) + 1;
      return counts;
    };
    expect(Object.keys(count(({ actionType }) => actionType)).sort()).toEqual([
      'bookmark',
      'comment',
      'follow',
      'like',
      'view',
    ]);
    expect(Object.keys(count(({ surface }) => surface)).sort()).toEqual(['android', 'ios', 'null', 'web']);
    expect(Math.min(...actions.map(({ eventTimeMs }) => eventTimeMs))).toBe(1_457_963_676_000);
  });

  it.each(['deskdrop-original.csv', 'deskdrop.zip'])('is loaded in its published columns: %s', async (name) => {
    expect(await load(fixture(name), { format: 'deskdrop' })).toMatchObject({
      rowsRead: 13,
      appended: 13,
      rejected: {},
    });
    const actions = (await loaded()).map(({ userId, itemId, actionType, eventTimeMs, surface }) => [
      userId,
      itemId,
      actionType,
      eventTimeMs,
      surface,
    ]);
    const user = '-1387464358334758758';
    expect(actions).toContainEqual(['-8845298781299428018', '-3499919498720038879', 'view', 1_465_413_032_000, null]);
    expect(actions).toContainEqual(['-1032019229384696495', '8890720798209849691', 'view', 1_465_412_560_000, 'web']);
    expect(actions).toContainEqual([user, '-4205346868684833897', 'view', 1_466_034_854_000, 'android']);
    expect(actions).toContainEqual([user, '-4205346868684833897', 'comment', 1_466_034_456_000, null]);
    expect(actions).toContainEqual(['-2626634673110551643', '-7485130558326482162', 'view', 1_463_005_662_000, 'ios']);
    expect(actions).toContainEqual(['8766802480854827422', '-7702672626132856079', 'view', 1_463_706_274_000, 'ios']);
  });
});

describe('archives', () => {
  it('are told by their content, not their name', async () => {
    const packed = gzipSync(`${HEADER}u,i,view,1\n`);
    expect(await load(await write('x.csv', packed))).toMatchObject({ appended: 1 });
    // As `cat a.gz b.gz` makes them.
    const members = Buffer.concat([packed, gzipSync('u,i,view,2\n')]);
    expect(await load(await write('y', members))).toMatchObject({ appended: 2 });
  });

  it('of zip may hold several files, each with its header', async () => {
    const result = await load(fixture('actions.zip'));
    expect(result).toMatchObject({ rowsRead: 4, appended: 3, rejected: { bad_time: 1 } });
    expect(await sideFile(result)).toEqual([
      {
        entry: 'part/2.csv',
        line: 3,
        cause: 'bad_time',
        detail: expect.stringContaining('eventTime') as string,
        row: 'u3,i1,view,nonsense',
      },
    ]);
  });

  it('that are cut or empty are refused, and the error says where to go on', async () => {
    const rows = Array.from({ length: 12_000 }, (_, n) => `u${n},i,view,${n}\n`).join('');
    const packed = gzipSync(HEADER + rows);
    const file = await write('cut.csv.gz', packed.subarray(0, packed.length - 100));
    const error = await failure(load(file));
    expect(error).toMatchObject({ code: 'INPUT_MALFORMED', exitCode: 3 });
    expect(error.remedy).toContain('10000 rows are dealt with: go on with --skip-rows=10000');
    expect(await loaded()).toHaveLength(10_000);
    expect(await load(await write('whole.csv.gz', packed), { skipRows: 10_000 })).toMatchObject({
      rowsRead: 2_000,
      appended: 2_000,
    });
    await expect(load(fixture('empty.zip'))).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    const damaged = await readFile(fixture('actions.zip'));
    await expect(load(await write('cut.zip', damaged.subarray(0, 300)))).rejects.toMatchObject({
      code: 'INPUT_MALFORMED',
    });
  });
});

describe('bad rows', () => {
  const BAD = [
    'u1,i1,view,1',
    ',i1,view,1',
    'u1,i1,view,soon',
    'u1,i1,view,',
    'u1,i1,view',
    'u1,"i1,view,1',
    'u2,i2,view,2',
    '',
  ].join('\n');

  it('are counted by cause and kept beside the log, with line, cause and row', async () => {
    const result = await load(await write('x.csv', HEADER + BAD));
    expect(result).toMatchObject({ rowsRead: 7, appended: 2, rejected: { missing_field: 2, bad_time: 1, bad_row: 2 } });
    expect(result.sideFile).toBe(join(bench.dataDir, 'rejected-rows', 'x.csv.ndjson'));
    const rows = (await sideFile(result)).map(({ line, cause, row }) => [line, cause, row]);
    expect(rows).toEqual([
      [3, 'missing_field', ',i1,view,1'],
      [4, 'bad_time', 'u1,i1,view,soon'],
      [5, 'missing_field', 'u1,i1,view,'],
      [6, 'bad_row', 'u1,i1,view'],
      [7, 'bad_row', 'u1,"i1,view,1'],
    ]);
  });

  it('of an earlier load of the file are forgotten with the next', async () => {
    const { sideFile: path } = await load(await write('x.csv', HEADER + BAD));
    await load(await write('x.csv', `${HEADER}u,i,view,1\n`));
    expect(existsSync(path!)).toBe(false);
  });

  it('stop a strict load at the first, with all before it loaded and nothing after', async () => {
    const error = await failure(load(await write('x.csv', HEADER + BAD), { strict: true }));
    expect(error).toMatchObject({ code: 'ROW_REJECTED', exitCode: 3, detail: 'line 3: missing_field, no userId' });
    expect((await loaded()).map(({ userId }) => userId)).toEqual(['u1']);
    expect(await sideFile({ sideFile: join(bench.dataDir, 'rejected-rows', 'x.csv.ndjson') })).toHaveLength(1);
  });

  it('are cut at 64 KiB', async () => {
    const result = await load(await write('x.csv', `${HEADER}u,${'é'.repeat(100_000)},view,soon\n`));
    const [row] = await sideFile(result);
    expect(Buffer.byteLength(row!.row as string)).toBeLessThanOrEqual(65_536 + 2);
  });

  it('never show a value in an error', async () => {
    const file = await write('x.csv', `${HEADER}secret-user,i,view,secret-user\n`);
    const error = await failure(load(file, { strict: true }));
    const headless = await failure(load(await write('y.csv', 'secret-user,i,view,1\n')));
    expect(`${error.message}${error.remedy}${headless.message}${headless.remedy}`).not.toContain('secret-user');
  });

  it('are not those that the task judges: the log gets them', async () => {
    const long = 'x'.repeat(1024 * 1024);
    const rows = [
      'u,i,no-such-type,1',
      'u,,view,2',
      'u,i,,3',
      `u,${long},view,4`,
      `${long},i,view,5`,
      'u,i,view,99999999999999',
    ];
    expect(await load(await write('x.csv', `${HEADER}${rows.join('\n')}\n`))).toMatchObject({
      appended: 6,
      rejected: {},
    });
    expect((await loaded()).filter(({ userId }) => userId === long)).toHaveLength(1);
  });
});

describe('wrong use', () => {
  it.each<[string, Partial<LoadActionsOptions>]>([
    ['no header and no names', { header: false }],
    ['a column named twice', { columns: ['a', 'a'] }],
    ['names for NDJSON', { format: 'ndjson', columns: ['a'] }],
  ])('is refused: %s', async (_, options) => {
    await expect(load(await write('x', ''), options)).rejects.toMatchObject({ code: 'USAGE', exitCode: 2 });
  });

  it('is a file that is not there, a folder, a column that no one has', async () => {
    await expect(load('/nowhere/x.csv')).rejects.toMatchObject({ code: 'FILE_NOT_FOUND', exitCode: 2 });
    await expect(load(bench.dataDir)).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
    const file = await write('x.csv', `${HEADER}u,i,view,1\n`);
    await expect(load(file, { map: { surface: 'where' } })).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
  });

  it('an empty file has no rows', async () => {
    expect(await load(await write('x.csv', ''))).toMatchObject({ rowsRead: 0, appended: 0 });
  });
});

async function failure(loading: Promise<unknown>): Promise<FreshetError> {
  const error = await loading.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(FreshetError);
  return error as FreshetError;
}

/** The log, with a look at each append before it happens. */
function watchAppends(log: Log, watch: (records: readonly NewRecord[]) => void | Promise<void>): Log {
  return wrapLog(log, {
    append: async (records) => {
      await watch(records);
      return log.append(records);
    },
  });
}
