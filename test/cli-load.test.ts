/** `freshet load` with each of its flags, and `freshet read` of what it made. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import type { UserActionRecord } from '../topics/records.ts';
import { freshet, inputFile, jsonLines, lines, logLines, succeed, USER_MARK } from './support/cli.ts';
import { tempDir } from './support/temp-dir.ts';

const folder = tempDir();
/** Two folders, so that two commands can run at once. */
const csvDir = `--data-dir=${join(folder, 'csv')}`;
const otherDir = `--data-dir=${join(folder, 'other')}`;
const ANN = `${USER_MARK}ann`;
const BOB = `${USER_MARK}bob`;
const CAT = `${USER_MARK}cat`;
const DAY = '2026-01-02';
const DAY_MS = Date.parse(DAY);

interface LoadResult {
  readonly rowsRead: number;
  readonly appended: number;
  readonly rejected: Readonly<Record<string, number>>;
  readonly sideFile: string | null;
}

interface ReadRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly timestampMs: number;
  readonly key: string | null;
  readonly value: UserActionRecord;
}

const load = async (...args: string[]): Promise<LoadResult> =>
  jsonLines<LoadResult>(await succeed(['load', ...args, '--json']))[0]!;
const read = async (...args: string[]): Promise<ReadRecord[]> =>
  jsonLines<ReadRecord>(await succeed(['read', 'user-actions', '--limit=100', '--json', ...args]));

/** What was loaded of a user: [item, type, event time, surface, record timestamp], in the order of the log. */
const actionsOf = (records: readonly ReadRecord[], userId: string) =>
  records
    .filter(({ key }) => key === userId)
    .map(({ value, timestampMs }) => [value.itemId, value.actionType, value.eventTimeMs, value.surface, timestampMs]);

describe('CSV', () => {
  let mapped: LoadResult;
  let bare: LoadResult;
  let records: ReadRecord[];

  beforeAll(async () => {
    // The columns `note` and `weight` are not mapped, so they are ignored.
    const withHeader = inputFile('mapped.csv', [
      'who,note,what,did,at,weight',
      `${ANN},"a, b",i1,click,10,1`,
      `${ANN},,i2,save,11,1`,
      `,,i3,click,12,1`,
      `${BOB},,i3,click,soon,1`,
      `${BOB},,i3`,
      `${BOB},,i3,like,13,1`,
    ]);
    const map = '--map=userId=who,itemId=what,actionType=did,eventTime=at';
    const actionMap = '--action-map=click=view,save=bookmark';
    mapped = await load(withHeader, '--format=csv', map, '--time-unit=s', actionMap, csvDir);

    const withoutHeader = join(folder, 'bare.csv.gz');
    writeFileSync(withoutHeader, gzipSync(`1500000,1600999,${CAT},web,i1,view\n2500000,,${CAT},,i2,like\n`));
    const columns = '--columns=eventTime,arrivalTime,userId,surface,itemId,actionType';
    bare = await load(withoutHeader, '--format=csv', '--no-header', columns, '--time-unit=us', csvDir);
    records = await read(csvDir);
  });

  it('--map, --time-unit=s and --action-map', () => {
    expect(actionsOf(records, ANN)).toEqual([
      ['i1', 'view', 10_000, null, 10_000],
      ['i2', 'bookmark', 11_000, null, 11_000],
    ]);
    expect(actionsOf(records, BOB)).toEqual([['i3', 'like', 13_000, null, 13_000]]);
  });

  it('bad rows are counted by cause and go to the side file with their lines', () => {
    const sideFile = join(folder, 'csv', 'rejected-rows', 'mapped.csv.ndjson');
    expect(mapped).toEqual({
      rowsRead: 6,
      appended: 3,
      rejected: { missing_field: 1, bad_time: 1, bad_row: 1 },
      sideFile,
    });
    expect(jsonLines(readFileSync(sideFile, 'utf8'))).toMatchObject([
      { line: 4, cause: 'missing_field', row: ',,i3,click,12,1' },
      { line: 5, cause: 'bad_time', row: `${BOB},,i3,click,soon,1` },
      { line: 6, cause: 'bad_row', row: `${BOB},,i3` },
    ]);
  });

  it('--no-header with --columns, --time-unit=us, gzip; the arrival time is the timestamp, else the event time', () => {
    expect(bare).toEqual({ rowsRead: 2, appended: 2, rejected: {}, sideFile: null });
    expect(actionsOf(records, CAT)).toEqual([
      ['i1', 'view', 1_500, 'web', 1_600],
      ['i2', 'like', 2_500, null, 2_500],
    ]);
  });
});

describe('NDJSON, zip and Deskdrop', () => {
  let records: ReadRecord[];

  beforeAll(async () => {
    const rows = [
      { userId: ANN, itemId: 9007199254740991, actionType: 'view', eventTime: `${DAY}T00:00:01Z`, more: [1] },
      { userId: ANN, itemId: 'i2', actionType: 'like', eventTime: DAY_MS + 2_000, surface: 'ios', arrivalTime: DAY_MS },
    ];
    const ndjson = await load(inputFile('actions.ndjson', rows), '--format=ndjson', '--time-unit=ms', otherDir);
    expect(ndjson).toMatchObject({ rowsRead: 2, appended: 2, rejected: {} });

    const zip = packagePath('test', 'fixtures', 'ingest', 'actions.zip');
    const zipped = await load(zip, '--format=csv', '--time-unit=s', otherDir);
    expect(zipped).toMatchObject({ rowsRead: 4, appended: 3, rejected: { bad_time: 1 } });
    const text = readFileSync(zipped.sideFile!, 'utf8');
    expect(jsonLines(text)).toMatchObject([{ entry: 'part/2.csv', line: 3, cause: 'bad_time' }]);

    const deskdrop = packagePath('test', 'fixtures', 'ingest', 'deskdrop.zip');
    expect(await load(deskdrop, '--format=deskdrop', otherDir)).toMatchObject({ rejected: {}, sideFile: null });
    records = await read(otherDir);
  });

  it('NDJSON: times in milliseconds or ISO 8601, surface and arrival time', () => {
    expect(actionsOf(records, ANN)).toEqual([
      ['9007199254740991', 'view', DAY_MS + 1_000, null, DAY_MS + 1_000],
      ['i2', 'like', DAY_MS + 2_000, 'ios', DAY_MS],
    ]);
  });

  it('zip: the entries that are CSV, one after the other', () => {
    expect(actionsOf(records, 'u1')).toEqual([
      ['i1', 'view', 1_000_000, null, 1_000_000],
      ['i3', 'like', 3_000_000, null, 3_000_000],
    ]);
  });

  it('Deskdrop: its columns, seconds and action types', () => {
    expect(actionsOf(records, '344280948527967603')).toContainEqual([
      '310515487419366995',
      'follow',
      1_465_413_895_000,
      null,
      1_465_413_895_000,
    ]);
  });
});

describe('a bad row', () => {
  const strictDir = `--data-dir=${join(folder, 'strict')}`;
  const rows = [`${ANN},i1,view,1`, `${ANN},i2,view,never`, `${BOB},i3,view,3`];
  const file = inputFile('strict.csv', ['userId,itemId,actionType,eventTime', ...rows]);

  it('with --strict stops the load there: exit 3, the line, and how to go on, which works', async () => {
    const result = await freshet(['load', file, '--format=csv', '--strict', strictDir]);
    expect([result.exitCode, result.stdout]).toEqual([3, '']);
    const [line] = logLines(result);
    expect(line).toMatchObject({ code: 'ROW_REJECTED', msg: expect.stringContaining('line 3: bad_time') as string });
    expect(line!.remedy).toContain('--skip-rows=1');
    expect(actionsOf(await read(strictDir), ANN)).toHaveLength(1);

    const rest = await load(file, '--format=csv', '--skip-rows=1', strictDir);
    expect(rest).toMatchObject({ rowsRead: 2, appended: 1, rejected: { bad_time: 1 } });
    expect((await read(strictDir)).map(({ key }) => key).sort()).toEqual([ANN, BOB]);
  });

  it('is told to a person without --json', async () => {
    const text = await succeed(['load', file, '--format=csv', `${strictDir}-text`]);
    expect(lines(text).slice(0, 2)).toEqual(['3 rows read, 2 appended to user-actions', '  1 rejected: bad_time']);
  });

  it('a damaged archive is exit 3', async () => {
    mkdirSync(join(folder, 'damaged'));
    const damaged = join(folder, 'damaged', 'x.csv.gz');
    writeFileSync(damaged, gzipSync(readFileSync(file)).subarray(0, 40));
    const result = await freshet(['load', damaged, '--format=csv', `${strictDir}-damaged`]);
    expect([result.exitCode, result.stdout]).toEqual([3, '']);
    expect(logLines(result)).toMatchObject([{ code: 'INPUT_MALFORMED' }]);
  });
});

describe('read', () => {
  const readDir = `--data-dir=${join(folder, 'read')}`;

  beforeAll(async () => {
    const rows = Array.from({ length: 12 }, (_, at) => `${at % 2 === 0 ? ANN : BOB},i${at},view,${at}`);
    await load(inputFile('read.csv', ['userId,itemId,actionType,eventTime', ...rows]), '--format=csv', readDir);
  });

  it('--user, --from and --limit choose; offsets are those of the partition', async () => {
    const all = await read(`--user=${ANN}`, readDir);
    expect(all.map(({ value }) => value.itemId)).toEqual(['i0', 'i2', 'i4', 'i6', 'i8', 'i10']);
    const some = await succeed(['read', 'user-actions', `--user=${ANN}`, '--from=1', '--limit=2', '--json', readDir]);
    const expected = all.filter(({ offset }) => offset >= 1).slice(0, 2);
    expect(jsonLines(some)).toEqual(expected);
    expect(await succeed(['read', 'user-actions', '--from=99', readDir])).toBe('');
  });

  it('without --json it is text, ten records of it', async () => {
    const text = lines(await succeed(['read', 'user-actions', readDir]));
    expect(text).toHaveLength(20);
    expect(text[0]).toMatch(/^user-actions-\d @0 1970-01-01T00:00:00\.\d+Z key secret~/);
  });

  it('topics list counts the records', async () => {
    const topics = jsonLines(await succeed(['topics', 'list', '--json', readDir]));
    expect(topics).toHaveLength(7);
    expect(topics).toContainEqual(expect.objectContaining({ name: 'user-actions', partitions: 8, records: 12 }));
    expect(await succeed(['topics', 'list', readDir])).toContain('8 partitions, kept for ever, 12 records');
  });
});
