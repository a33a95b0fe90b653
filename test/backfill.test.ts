/** `freshet backfill`: labels of every source in, rows that other tools read out, and the card beside them. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { backfill, type BackfillOptions, type BackfillResult } from '../src/dataset/backfill.ts';
import type { SequenceFeaturesRecord } from '../topics/records.ts';
import { NO_LAG } from './support/dataset.ts';
import { ACTIVATE_TEST_VERSION, publishTestVersion } from './support/item-version.ts';
import { pythonEnvironment } from './support/python.ts';
import { actionRecord, Stream } from './support/stream.ts';
import { tempDir } from './support/temp-dir.ts';

type TrainingRow = Record<string, unknown>;

const SILENT = pino({ level: 'silent' });
const USERS = 12;
const ACTIONS = 600;
/** Of the test's model. */
const OUTCOMES = ['click', 'save'];
const folder = tempDir();
let stream: Stream;
/** Every features record that the task has emitted, one an action. */
const live = new Map<string, { record: SequenceFeaturesRecord; body: string }>();

beforeAll(async () => {
  const sequences = [
    { name: 'engagement', actionTypes: 'all', windowSize: 5, sealSize: 3, maxAgeMs: null },
    { name: 'saves', actionTypes: ['bookmark', 'unbookmark'], windowSize: 3, sealSize: 2, maxAgeMs: 50_000 },
  ];
  stream = await Stream.open({ partitions: 2, emit: 'action', sequences });
  await publishTestVersion(stream);
  const types = ['view', 'like', 'unlike', 'bookmark', 'unbookmark'];
  const actions = Array.from({ length: ACTIONS }, (_, at) =>
    actionRecord({
      ...{ userId: `user-${(at * 7) % USERS}`, itemId: `i${(at * 13) % 5}`, actionType: types[(at * 11) % 5]! },
      ...{ eventTimeMs: at * 1_000, surface: at % 3 === 0 ? 'web' : null },
    }),
  );
  await stream.append(...actions.slice(0, 200));
  for (const partition of [0, 1]) await stream.append({ ...ACTIVATE_TEST_VERSION['v1']!, partition });
  await stream.append(...actions.slice(200));
  for (const partition of [0, 1]) {
    await stream.run(partition);
    for (const { value } of await stream.read('sequence-features', partition)) {
      const record = stream.codec.decode<SequenceFeaturesRecord>('sequence-features-value', value!);
      const body = stream.codec.body(value!).toString('hex');
      live.set(`${partition} ${record.version}`, { record, body });
    }
  }
});

afterAll(() => stream.close());

let made = 0;

async function make(given: Partial<BackfillOptions> & Pick<BackfillOptions, 'source'>) {
  const { log, codec, scorer, itemVersions, config } = stream;
  const out = join(folder, `rows-${(made += 1)}`);
  const result = await backfill({
    ...{ log, codec, scorer, itemVersions, config, logger: SILENT, out, lag: NO_LAG },
    ...given,
  });
  return { out, result, rows: await rowsOf(out, result) };
}

async function rowsOf(out: string, { parts }: BackfillResult): Promise<TrainingRow[]> {
  const rows: TrainingRow[] = [];
  for (const { file, rows: expected } of parts) {
    const read = await parquetReadObjects({
      file: await asyncBufferFromFile(join(out, file)),
      compressors,
      utf8: false,
    });
    expect(read).toHaveLength(expected);
    // A list that is null comes as undefined.
    const whole = (row: TrainingRow) =>
      Object.fromEntries(Object.entries(row).map(([name, value]) => [name, value ?? null]));
    rows.push(...read.map(whole));
  }
  return rows;
}

/** A file of labels, one line each. */
function labels(name: string, lines: readonly string[]): BackfillOptions['source'] {
  const file = join(folder, name);
  writeFileSync(file, `${lines.join('\n')}\n`);
  return { kind: 'file', file };
}

/** The row of a label just behind a record, made of the record alone. */
function expectedColumns({ record }: { record: SequenceFeaturesRecord }): TrainingRow {
  const row: TrainingRow = {};
  record.sequences.forEach((sequence, at) => {
    const hidden = record.views[at]!.hiddenPositions;
    let eventTimeMs = sequence.eventTimeMs;
    const times = sequence.gapsMs.map((gapMs) => BigInt((eventTimeMs -= gapMs)));
    const isShown = sequence.itemIds.map((_, index) => !hidden.includes(index));
    const windowSize = sequence.name === 'saves' ? 3 : 5;
    let count = 0;
    for (let shown = 0; count < isShown.length && shown < windowSize; count += 1) shown += isShown[count] ? 1 : 0;
    row[`${sequence.name}_itemIds`] = sequence.itemIds.slice(0, count);
    row[`${sequence.name}_actionTypes`] = sequence.actionTypeIndex.slice(0, count).map((i) => sequence.actionTypes[i]);
    row[`${sequence.name}_eventTimesMs`] = times.slice(0, count);
    row[`${sequence.name}_surfaces`] = sequence.surfaceIndex.slice(0, count).map((i) => sequence.surfaces[i]);
    row[`${sequence.name}_hidden`] = isShown.slice(0, count).map((shown) => !shown);
    row[`${sequence.name}_sealed`] = BigInt(sequence.sealed);
    row[`${sequence.name}_counterTypes`] = record.views[at]!.counterTypes;
    row[`${sequence.name}_counters`] = record.views[at]!.counters;
  });
  for (const { outcome, vector } of record.intent) row[`intent_${outcome}`] = vector;
  return {
    ...row,
    ...{ version: BigInt(record.version), accepted: BigInt(record.envelope.accepted) },
    ...{ sessionLength: record.session.length, sessionAgeMs: BigInt(record.session.ageMs) },
    ...{ propensity: record.propensity, propensityTypes: record.propensityTypes, finite: record.finite },
    ...{ itemVersion: record.itemVersion, itemsWithVector: record.itemsWithVector, scorerHash: record.scorerHash },
  };
}

describe('rows', () => {
  it('equal the features that were emitted, bit for bit, in columns and as bytes', async () => {
    const lines = [...live.values()].map(({ record }) => `${record.userId},${record.version + 1}`);
    const source = labels('behind.csv', ['userId,position', ...lines]);
    const { rows, result } = await make({ source, withRecord: true, partRows: 250 });
    expect(live.size).toBe(ACTIONS);
    expect(result).toMatchObject({ labels: ACTIONS, rows: ACTIONS, rejected: {}, withoutFeatures: 0 });
    expect(result.parts.map(({ rows: count }) => count)).toEqual([250, 250, 100]);
    for (const row of rows) {
      const emitted = live.get(`${row['partition'] as number} ${row['version'] as bigint}`)!;
      expect(row['position']).toBe(BigInt(emitted.record.version + 1));
      expect(Buffer.from(row['record'] as Uint8Array).toString('hex')).toBe(emitted.body);
      expect(row).toMatchObject(expectedColumns(emitted));
    }
    expect(result.itemVersions).toMatchObject({ v1: expect.any(Number) as number });
  });

  it('list the whole window where asked to: all that the model folds', async () => {
    const lines = [...live.values()].map(({ record }) => `${record.userId},${record.version + 1}`);
    const source = labels('whole.csv', ['userId,position', ...lines]);
    const { rows } = await make({ source, wholeWindow: true });
    let longest = 0;
    for (const row of rows) {
      const { record } = live.get(`${row['partition'] as number} ${row['version'] as bigint}`)!;
      for (const { name, itemIds, actionTypes, actionTypeIndex } of record.sequences) {
        expect(row[`${name}_itemIds`]).toEqual(itemIds);
        expect(row[`${name}_actionTypes`]).toEqual(actionTypeIndex.map((index) => actionTypes[index]));
        longest = Math.max(longest, itemIds.length);
      }
    }
    expect(longest).toBe(7); // K + C - 1 of the longer sequence
  });

  it('come in the order of partition and position, whatever the order of the labels', async () => {
    const lines = Array.from(
      { length: 500 },
      (_, at) => `user-${at % USERS},${((at * 7919) % 600) * 1_000},i1,${at % 2}`,
    );
    const { rows } = await make({ source: labels('mixed.csv', ['userId,time,itemId,label', ...lines]) });
    const order = rows.map((row) => [row['partition'] as number, Number(row['position']), Number(row['labelTimeMs'])]);
    expect(order).toEqual([...order].sort((a, b) => a[0]! - b[0]! || a[1]! - b[1]! || a[2]! - b[2]!));
    const numbers = rows.map((row) => Number(row['labelRow'])).sort((a, b) => a - b);
    expect(numbers).toEqual(lines.map((_, at) => at + 1));
    for (const row of rows) {
      const [userId, timeMs, itemId, label] = lines[Number(row['labelRow']) - 1]!.split(',');
      expect(row).toMatchObject({ userId, labelTimeMs: BigInt(timeMs!), itemId, label: Number(label) });
    }
  });
});

describe('labels', () => {
  it('are read from CSV, NDJSON, Parquet and a topic alike', async () => {
    const lines = Array.from({ length: 40 }, (_, at) => ({
      user: `user-${at % USERS}`,
      at: at * 9_000,
      clicked: at % 3,
    }));
    const csv = labels('alike.csv', [
      'user,at,clicked',
      ...lines.map(({ user, at, clicked }) => `${user},${at},${clicked}`),
    ]);
    const ndjson = labels(
      'alike.ndjson',
      lines.map((line) => JSON.stringify(line)),
    );
    const map = { userId: 'user', time: 'at', label: 'clicked' };
    const expected = await make({ source: csv, map });
    const part = join(expected.out, 'part-00000.parquet');
    const columns = { userId: 'userId', time: 'labelTimeMs', label: 'label' };
    await stream.log.createTopics([{ ...topicLike('clicks'), partitions: 1 }]);
    await stream.log.append(
      lines.map((line) => ({
        ...{ topic: 'clicks', partition: 0, timestampMs: 0, key: null },
        value: Buffer.from(JSON.stringify(line, null, 2)),
      })),
    );
    const withoutNumber = ({ rows }: { rows: TrainingRow[] }) => rows.map(({ labelRow: _, ...row }) => row);
    expect((await make({ source: ndjson, map })).rows).toEqual(expected.rows);
    expect((await make({ source: { kind: 'topic', topic: 'clicks' }, map })).rows).toEqual(expected.rows);
    const again = await make({ source: { kind: 'file', file: part }, map: columns });
    expect(withoutNumber(again)).toEqual(withoutNumber(expected));
  });

  it('are the actions themselves: each stands before itself', async () => {
    const source = { kind: 'actions', actionTypes: ['like', 'bookmark'] } as const;
    const { rows } = await make({ source, keep: ['actionType'] });
    const emitted = [...live.entries()];
    expect(rows).toHaveLength(2 * (ACTIONS / 5));
    for (const row of rows) {
      expect(['like', 'bookmark']).toContain(row['label_actionType']);
      const itself = live.get(`${row['partition'] as number} ${row['position'] as bigint}`)!;
      const before = emitted
        .filter(([, { record }]) => record.userId === row['userId'] && record.version < Number(row['position']))
        .filter(([place]) => place.startsWith(`${row['partition'] as number} `))
        .map(([, { record }]) => record.version);
      expect(itself.record.userId).toBe(row['userId']);
      expect(row['version']).toBe(before.length === 0 ? null : BigInt(Math.max(...before)));
    }
  });

  it('that cannot be used are counted and set aside, or refused', async () => {
    const source = labels('bad.csv', [
      ...['userId,time,label,position', ',1000,1,', 'ann,yesterday,1,', 'ann,1000,much,', 'ann,1000,1,-3', 'ann,,1,'],
      `${'x'.repeat(300)},1000,1,`,
      'user-1,1000,1,',
    ]);
    const { result, rows } = await make({ source });
    expect(rows).toHaveLength(1);
    expect(result.rejected).toEqual({ missing_field: 2, bad_time: 1, bad_field: 3 });
    const side = readFileSync(result.sideFile!, 'utf8').trimEnd().split('\n');
    expect(side.map((line) => (JSON.parse(line) as { line: number }).line)).toEqual([2, 3, 4, 5, 6, 7]);
    await expect(make({ source, strict: true })).rejects.toMatchObject({ code: 'ROW_REJECTED' });
    const needsTime = labels('placed.csv', ['userId,position', 'user-1,3']);
    const lagged = await make({ source: needsTime, lag: { featuresMs: 1_000, vectorsMs: 0 } });
    expect(lagged.result.rejected).toEqual({ missing_field: 1 });
  });
});

describe('a dataset', () => {
  it('has a card: log, labels, configuration, columns; and is whole only with it', async () => {
    const source = labels('carded.csv', ['userId,time,position', 'user-0,1000,', 'user-7,,99999', 'nobody,5000,']);
    const { out, result, rows } = await make({ source });
    const card = JSON.parse(readFileSync(join(out, '_card.json'), 'utf8')) as BackfillResult;
    expect(result).toEqual({ ...card, sideFile: null });
    expect(card).toMatchObject({ labels: 3, rows: 3, withoutFeatures: 1, lag: NO_LAG, source });
    expect(card.scorerHash).toBe([...live.values()][0]!.record.scorerHash);
    expect(card.log.map(({ partition, start }) => [partition, start])).toEqual([
      [0, 0],
      [1, 0],
    ]);
    expect(card.log.reduce((sum, { afterEnd }) => sum + afterEnd, 0)).toBe(1);
    expect(card.columns.map(({ name }) => name)).toEqual(Object.keys(rows[0]!));
    expect(readFileSync(join(out, '_card.md'), 'utf8')).toContain('3 rows of 3 labels');
    expect(readdirSync(out).sort()).toEqual(['_card.json', '_card.md', 'part-00000.parquet']);

    const { log, codec, scorer, itemVersions, config } = stream;
    const again = { log, codec, scorer, itemVersions, config, logger: SILENT, source, out, lag: NO_LAG };
    await expect(backfill(again)).rejects.toMatchObject({
      code: 'USAGE',
      detail: expect.stringContaining('dataset') as string,
    });
    const other = tempDir();
    writeFileSync(join(other, 'precious'), 'data');
    await expect(backfill({ ...again, out: other })).rejects.toMatchObject({ code: 'USAGE' });
    expect(readFileSync(join(other, 'precious'), 'utf8')).toBe('data');
    const failing = join(folder, 'failed');
    const absent = { kind: 'file', file: join(folder, 'absent.csv') } as const;
    await expect(backfill({ ...again, out: failing, source: absent })).rejects.toMatchObject({
      code: 'FILE_NOT_FOUND',
    });
    expect(existsSync(join(failing, '_work'))).toBe(false);
    expect((await backfill({ ...again, out: failing })).rows).toBe(3);
  });

  it('without any label has its columns', async () => {
    const { rows, result } = await make({ source: labels('none.csv', ['userId,time']) });
    expect(rows).toEqual([]);
    expect(result.parts).toEqual([{ file: 'part-00000.parquet', rows: 0 }]);
  });

  it('is read by pyarrow, pandas and polars, the same by each', async () => {
    const lines = Array.from({ length: 60 }, (_, at) => `user-${at % (USERS + 2)},${at * 10_000},i1,${at % 2},${at}é`);
    const source = labels('python.csv', ['userId,time,itemId,label,note', ...lines]);
    const { out, rows } = await make({ source, keep: ['note'], withRecord: true, partRows: 25 });
    const python = join(pythonEnvironment('examples/training/requirements.txt'), 'bin', 'python');
    const script = packagePath('examples', 'training', 'read_rows.py');
    const printed = execFileSync(python, [script, out], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
    const read = printed
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { by: string; rows: TrainingRow[] });
    expect(read.map(({ by }) => by)).toEqual(['by_pyarrow', 'by_pandas', 'by_polars']);
    const expected = JSON.parse(JSON.stringify(rows, plain)) as TrainingRow[];
    expect(expected).toHaveLength(60);
    expect(Object.keys(expected[0]!)).toEqual(expect.arrayContaining(OUTCOMES.map((outcome) => `intent_${outcome}`)));
    for (const each of read) expect(each.rows).toEqual(expected);
  }, 240_000);
});

/** As Python writes JSON: integers as numbers, bytes in hex. */
function plain(_name: string, value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
}

const topicLike = (name: string) => ({
  ...({ name: name as 'user-actions', doc: '', key: '', cleanup: 'delete', retentionMs: -1 } as const),
  ...({ tombstoneRetentionMs: null, compactionLagMs: null, timestamps: 'either', timestampsAheadMs: null } as const),
  subjects: [],
});
