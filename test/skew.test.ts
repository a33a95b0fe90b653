/** `freshet skew`: five kinds of skew planted in a served log, each found where it is and named, and nothing else. */
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { realtimeOf, type RealtimeFeatures } from '../src/dataset/feature-values.ts';
import { measureSkew, type SkewReport } from '../src/dataset/skew.ts';
import type { ServedSource } from '../src/dataset/served.ts';
import { layoutOf } from '../state/layout.ts';
import type { LongTermSideRecord, RankingFeaturesRecord, SequenceFeaturesRecord } from '../topics/records.ts';
import { answersOf, NO_LAG, request } from './support/dataset.ts';
import { ACTIVATE_TEST_VERSION, publishTestVersion } from './support/item-version.ts';
import { actionRecord, Stream } from './support/stream.ts';
import { tempDir } from './support/temp-dir.ts';

const SILENT = pino({ level: 'silent' });
const ACTIONS = 300;
const SERVED = 60;
const folder = tempDir();
let stream: Stream;

interface ServedRow {
  readonly userId: string;
  readonly time: number;
  readonly features: { realtime: RealtimeFeatures | null; longTerm: LongTermSideRecord | null };
}

beforeAll(async () => {
  stream = await Stream.open();
  await publishTestVersion(stream);
  await stream.append(ACTIVATE_TEST_VERSION['v1']!);
  const types = ['view', 'like', 'unlike'];
  for (let at = 0; at < ACTIONS; at += 1) {
    const action = { userId: `user-${at % 5}`, itemId: `i${at % 4}`, actionType: types[at % 3]!, surface: 'web' };
    await stream.append(actionRecord({ ...action, eventTimeMs: 10_000 + at * 1_000 }));
  }
  await stream.log.append(
    Array.from({ length: 20 }, (_, at) => ({
      ...{
        topic: 'user-embeddings',
        partition: 0,
        timestampMs: 10_000 + at * 15_000,
        key: Buffer.from(`user-${at % 5}`),
      },
      value: stream.codec.encode('user-embeddings-value', {
        ...{ userId: `user-${at % 5}`, version: `v${at}`, asOfMs: at, space: 'test-space', vector: [at, 0.1] },
      }),
    })),
  );
});

afterAll(() => stream.close());

/** What an honest ranker was given at these times. */
async function honest(times: readonly number[]): Promise<ServedRow[]> {
  const requests = times.map((timeMs, at) => request(at + 1, `user-${at % 6}`, { timeMs }));
  const { answers } = await answersOf(stream, 0, requests);
  const byNumber = new Map(answers.map((answer) => [answer.request.number, answer]));
  return requests.map(({ number, userId, timeMs }) => {
    const { features, longTerm } = byNumber.get(number)!;
    const record =
      features === null
        ? null
        : stream.codec.decode<SequenceFeaturesRecord>('sequence-features-value', features.features!);
    const realtime = record === null ? null : realtimeOf(record, layoutOf(stream.config));
    return { userId, time: timeMs!, features: { realtime, longTerm } };
  });
}

const TIMES = Array.from({ length: SERVED }, (_, at) => 30_500 + at * 4_000);

async function skewOf(rows: readonly ServedRow[], source: Partial<ServedSource> = {}): Promise<SkewReport> {
  const file = join(folder, 'served.ndjson');
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const { log, codec, scorer, itemVersions, config } = stream;
  const given = { kind: 'file', file, ...source } as ServedSource;
  return measureSkew({ log, codec, scorer, itemVersions, config, logger: SILENT, source: given, lag: NO_LAG });
}

/** Causes by feature, of those that are not all equal. */
const skewed = ({ features }: SkewReport): Record<string, object> =>
  Object.fromEntries(
    Object.entries(features).flatMap(([name, { causes }]) =>
      Object.keys(causes).length === 0 ? [] : [[name, causes]],
    ),
  );

const change = (rows: readonly ServedRow[], at: number, features: Partial<ServedRow['features']>): ServedRow[] =>
  rows.map((row, index) => (index === at ? { ...row, features: { ...row.features, ...features } } : row));

describe('a served log', () => {
  it('that is right is right in every feature', async () => {
    const report = await skewOf(await honest(TIMES));
    expect(report).toMatchObject({ served: SERVED, equal: SERVED, rejected: {}, examples: [] });
    expect(skewed(report)).toEqual({});
    expect(Object.keys(report.features)).toEqual(
      expect.arrayContaining(['engagement.itemIds', 'intent.click', 'longTerm']),
    );
    for (const { compared, equal } of Object.values(report.features)) expect(compared).toBe(equal);
  });

  it('with features that are stale', async () => {
    const rows = await honest(TIMES);
    const user = 18;
    const [older] = (await honest([TIMES[user]! - 10_000])).map((row) => row.features.realtime);
    const report = await skewOf(change(rows, user, { realtime: older! }));
    expect(report.equal).toBe(SERVED - 1);
    for (const causes of Object.values(skewed(report))) expect(causes).toEqual({ stale: 1 });
    expect(skewed(report)).toMatchObject({ 'engagement.itemIds': { stale: 1 }, 'intent.click': { stale: 1 } });
    expect(report.examples[0]).toMatchObject({ number: user + 1, servedVersion: older!.version });
    expect(report.examples[0]!.servableVersion).toBeGreaterThan(older!.version);
  });

  it('with features that know what had not arrived', async () => {
    const rows = await honest(TIMES);
    const [newer] = (await honest([TIMES[18]! + 10_000])).map((row) => row.features.realtime);
    const report = await skewOf(change(rows, 18, { realtime: newer! }));
    expect(rows[18]!.userId).toBe('user-0');
    expect(report.equal).toBe(SERVED - 1);
    for (const causes of Object.values(skewed(report))) expect(causes).toEqual({ ahead: 1 });
    expect(skewed(report)).toMatchObject({ 'engagement.itemIds': { ahead: 1 } });
  });

  it('with features that are missing, one or all of a side', async () => {
    const rows = await honest(TIMES);
    const without = { ...rows[7]!.features.realtime!, propensity: undefined } as unknown as RealtimeFeatures;
    const one = change(rows, 7, { realtime: without });
    expect(skewed(await skewOf(one))).toEqual({ propensity: { missing: 1 } });
    const report = await skewOf(change(one, 8, { realtime: null, longTerm: null }));
    expect(report.equal).toBe(SERVED - 2);
    for (const [name, causes] of Object.entries(skewed(report))) {
      expect(causes).toEqual({ missing: name === 'propensity' ? 2 : 1 });
    }
    expect(Object.keys(skewed(report))).toEqual(Object.keys(report.features));
  });

  it('with the scores of another model, or other item vectors', async () => {
    const rows = await honest(TIMES);
    const realtime = rows[9]!.features.realtime!;
    const intent = realtime.intent.map((each) => ({ ...each, vector: each.vector.map((value) => value + 1) }));
    const other = change(rows, 9, { realtime: { ...realtime, scorerHash: 'another', intent } });
    const scores = { 'intent.click': { version: 1 }, 'intent.save': { version: 1 } };
    expect(skewed(await skewOf(other))).toEqual({ ...scores, scorerHash: { version: 1 } });
    const vectors = change(rows, 9, { realtime: { ...realtime, itemVersion: 'v2', intent } });
    expect(skewed(await skewOf(vectors))).toEqual({ ...scores, itemVersion: { version: 1 } });
  });

  it('with values that other code has made', async () => {
    const rows = await honest(TIMES);
    const realtime = rows[10]!.features.realtime!;
    const [sequence] = realtime.sequences;
    const reversed = { ...sequence!, itemIds: [...sequence!.itemIds].reverse() };
    const report = await skewOf(change(rows, 10, { realtime: { ...realtime, sequences: [reversed] } }));
    expect(skewed(report)).toEqual({ 'engagement.itemIds': { code: 1 } });
    const intent = realtime.intent.map((each) => ({ ...each, vector: each.vector.map(Math.round) }));
    expect(intent).not.toEqual(realtime.intent);
    const rounded = await skewOf(change(rows, 10, { realtime: { ...realtime, intent } }));
    for (const causes of Object.values(skewed(rounded))) expect(causes).toEqual({ code: 1 });
    expect(rounded.equal).toBe(SERVED - 1);
  });

  it('with long-term vectors that are stale, ahead or changed', async () => {
    const rows = await honest(TIMES);
    const users = rows.map((row, at) => ({ ...row, at })).filter(({ userId }) => userId === 'user-0');
    const [early, late] = [users[0]!, users.at(-1)!];
    expect(early.features.longTerm!.offset).toBeLessThan(late.features.longTerm!.offset);
    const changed = { ...late.features.longTerm!, vector: [0, 0] };
    const planted = [
      [late.at, early.features.longTerm!, 'stale'],
      [early.at, late.features.longTerm!, 'ahead'],
      [late.at, changed, 'code'],
    ] as const;
    for (const [at, longTerm, cause] of planted) {
      expect(skewed(await skewOf(change(rows, at, { longTerm })))).toEqual({ longTerm: { [cause]: 1 } });
    }
  });

  it('of all kinds at once, each where it was planted', async () => {
    const rows = await honest(TIMES);
    const realtime = (at: number) => rows[at]!.features.realtime!;
    let planted = change(rows, 18, { realtime: (await honest([TIMES[18]! - 10_000]))[0]!.features.realtime });
    planted = change(planted, 24, { realtime: (await honest([TIMES[24]! + 10_000]))[0]!.features.realtime });
    planted = change(planted, 8, { longTerm: null });
    planted = change(planted, 9, { realtime: { ...realtime(9), scorerHash: 'another' } });
    planted = change(planted, 10, { realtime: { ...realtime(10), session: { length: 0, ageMs: 0, gapMs: 0 } } });
    const report = await skewOf(planted);
    expect(report.equal).toBe(SERVED - 5);
    const places = new Map(report.examples.map(({ cause, number }) => [cause, number - 1]));
    expect(Object.fromEntries(places)).toEqual({ stale: 18, ahead: 24, missing: 8, version: 9, code: 10 });
    for (const { cause, number } of report.examples) expect(number - 1).toBe(places.get(cause));
  });
});

describe('what cannot be read', () => {
  it('is counted by cause', async () => {
    const [row] = await honest(TIMES.slice(0, 1));
    const bad = [
      { ...row!, time: 'noon' },
      { ...row!, features: 3 },
      { ...row!, userId: '' },
    ];
    const report = await skewOf([row!, ...(bad as unknown as ServedRow[])]);
    expect(report).toMatchObject({ served: 1, equal: 1, rejected: { bad_time: 1, bad_field: 2 } });
  });
});

describe('ranking-features', () => {
  it('are compared each as of its own version', async () => {
    const rows = (await honest(TIMES)).filter((row) => row.features.realtime !== null);
    const record = (row: ServedRow): RankingFeaturesRecord => ({
      ...{ userId: row.userId, hasRealtime: true, hasLongTerm: false, longTerm: null },
      realtime: { ...row.features.realtime!, partition: 0, offset: 1, windowLength: 1 },
    });
    const written = rows.map(record);
    const append = (records: readonly RankingFeaturesRecord[]) =>
      stream.log.append(
        records.map((each) => ({
          ...{ topic: 'ranking-features', partition: 0, timestampMs: 0, key: Buffer.from(each.userId) },
          value: stream.codec.encode('ranking-features-value', each),
        })),
      );
    await append(written);
    expect(await skewOf([], { kind: 'topic' })).toMatchObject({ served: rows.length, equal: rows.length });
    await append([{ ...written[3]!, realtime: { ...written[3]!.realtime!, propensity: [0.5, 0.5] } }]);
    const report = await skewOf([], { kind: 'topic' });
    expect(report).toMatchObject({ served: rows.length + 1, equal: rows.length, undated: 0 });
    expect(skewed(report)).toEqual({ propensity: { code: 1 } });
  });

  it('without a realtime side tell of no moment, and are counted as such', async () => {
    const report = await skewOf([], { kind: 'topic' });
    const longTermOnly = {
      ...{ userId: 'new', hasRealtime: false, realtime: null, hasLongTerm: false },
      longTerm: null,
    };
    await stream.log.append([
      {
        ...{ topic: 'ranking-features', partition: 0, timestampMs: 0, key: Buffer.from('new') },
        value: stream.codec.encode('ranking-features-value', longTermOnly),
      },
    ]);
    expect(await skewOf([], { kind: 'topic' })).toEqual({ ...report, served: report.served + 1, undated: 1 });
  });
});
