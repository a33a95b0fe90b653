/** Verification: equal where nothing was touched; where something was, its cause and place are told once. */
import { afterEach, describe, expect, it } from 'vitest';
import { pino } from 'pino';
import { wrapLog } from '../src/log/wrapped-log.ts';
import type { Log, LogRecord } from '../src/log/log.ts';
import { FreshetError } from '../src/base/errors.ts';
import { inputLog } from '../src/replay/input-log.ts';
import { verify, type VerifyOptions } from '../src/replay/verify.ts';
import type { VerifyReport } from '../src/replay/verify-report.ts';
import type { SequenceFeaturesRecord } from '../topics/records.ts';
import { fakeScorer } from './support/fake-scorer.ts';
import { ACTIVATE_TEST_VERSION, publishTestVersion } from './support/item-version.ts';
import { randomFrom } from './support/random.ts';
import { actionRecord, Stream } from './support/stream.ts';

/** To where the task has come. */
const WHOLE = { partition: 0, from: 0, to: Infinity };
const SILENT = pino({ level: 'silent' });
const USERS = 12;
const ACTIONS = 400;
const SMALL = { sequences: [{ name: 'engagement', actionTypes: 'all', windowSize: 6, sealSize: 2, maxAgeMs: null }] };

const streams: Stream[] = [];
afterEach(async () => {
  for (const stream of streams.splice(0)) await stream.close();
});

/** A log of some users' actions, two versions of item vectors, an erase, consumed to its end. */
async function consumed(flags: Record<string, unknown> = {}): Promise<Stream> {
  const stream = await Stream.open({ ...SMALL, commitMaxRecords: 40, ...flags });
  streams.push(stream);
  await publishTestVersion(stream);
  const random = randomFrom(11);
  const pick = (count: number): number => Math.floor(random() * count);
  for (let at = 0; at < ACTIONS; at += 1) {
    if (at === 20) await stream.append(ACTIVATE_TEST_VERSION['v1']!);
    if (at === 250) await stream.append(ACTIVATE_TEST_VERSION['v2']!);
    if (at === 200) await stream.append({ key: Buffer.from('user-3'), value: null, timestampMs: at });
    await stream.append(
      actionRecord({
        userId: `user-${pick(USERS)}`,
        itemId: `i${1 + pick(4)}`,
        actionType: pick(5) === 0 ? 'like' : 'view',
        eventTimeMs: at * 1_000 - pick(5) * 1_500,
        arrivalTimeMs: at * 1_000,
      }),
    );
  }
  await stream.run();
  return stream;
}

const check = (stream: Stream, given: Partial<VerifyOptions> = {}): Promise<VerifyReport> => {
  const { log, codec, scorer, itemVersions, config } = stream;
  return verify({ log, codec, scorer, itemVersions, config, logger: SILENT, stretches: [WHOLE], ...given });
};

/** The log with one record told otherwise; undefined: it cannot be read. */
function altered(log: Log, topic: string, offset: number, alter: (record: LogRecord) => LogRecord | undefined): Log {
  return wrapLog(log, {
    read: async (at, from, limits) => {
      const records = await log.read(at, from, limits);
      if (at.topic !== topic) return records;
      return records.map((record) => {
        if (record.offset !== offset) return record;
        const told = alter(record);
        if (told === undefined) throw new FreshetError('LOG_CORRUPT', 'damaged', { position: { ...at, offset } });
        return told;
      });
    },
  });
}

const decoded = ({ codec }: Stream, { value }: LogRecord): SequenceFeaturesRecord =>
  codec.decode('sequence-features-value', value!);

/** The log without one record, and no word about it. */
const without = (log: Log, topic: string, offset: number): Log =>
  wrapLog(log, {
    read: async (at, from, limits) => {
      const records = await log.read(at, from, limits);
      return at.topic === topic ? records.filter((record) => record.offset !== offset) : records;
    },
  });

/** An action in the middle of the log, of a user who acts later too. */
async function someAction(stream: Stream, from = 120): Promise<{ offset: number; userId: string }> {
  const record = (await stream.read('user-actions')).find(({ offset, key, value }) => offset >= from && key && value)!;
  return { offset: record.offset, userId: record.key!.toString() };
}

async function recordsOf(stream: Stream, userId: string, from: number): Promise<LogRecord[]> {
  const all = await stream.read('sequence-features');
  return all.filter(
    (record) => record.key!.toString() === userId && record.value !== null && decoded(stream, record).version >= from,
  );
}

describe('verification', () => {
  it.each([
    { emit: 'commit' },
    { emit: 'action' },
    { commitMaxRecords: 1 },
    { commitMaxRecords: 7 },
    { commitMaxRecords: 256 },
    { commitMaxRecords: 20_000 },
  ])('finds all records equal that were emitted with %o, whatever its own steps', async (flags) => {
    const stream = await consumed(flags);
    const all = await stream.read('sequence-features');
    const emitted = all.filter(({ value }) => value !== null).length;
    const tombstones = all.length - emitted;
    for (const stepRecords of [1, 13, 10_000]) {
      const report = await check(stream, { stepRecords });
      expect(report).toMatchObject({ compared: emitted, equal: emitted, unverifiable: 0, causes: [], tombstones });
      expect(report.isEqual).toBe(true);
    }
  });

  it('begins in the middle, and compares what was emitted from there on', async () => {
    const stream = await consumed();
    const versions = (await stream.read('sequence-features')).flatMap((record) =>
      record.value === null ? [] : [decoded(stream, record).version],
    );
    for (const start of [1, 39, 40, 41, 133, 201, 250, 399, 402]) {
      const report = await check(stream, { stretches: [{ ...WHOLE, from: start }] });
      const expected = versions.filter((version) => version >= start).length;
      expect(report).toMatchObject({ compared: expected, equal: expected, unverifiable: 0, causes: [] });
    }
  });

  it('tells an input record that cannot be read, and what follows from it', async () => {
    const stream = await consumed({ emit: 'action' });
    const { offset, userId } = await someAction(stream);
    const affected = await recordsOf(stream, userId, offset);
    const report = await check(stream, { log: altered(stream.log, 'user-actions', offset, () => undefined) });
    expect(report.gaps).toMatchObject([{ topic: 'user-actions', from: offset, to: offset + 1, code: 'LOG_CORRUPT' }]);
    expect(report.causes).toMatchObject([
      { cause: 'input missing', topic: 'user-actions', offset, records: affected.length },
    ]);
    expect(report).toMatchObject({ extra: 1, differing: affected.length - 1, missing: 0 });
  });

  it('tells it too where the record itself was not emitted', async () => {
    const stream = await consumed();
    const { offset, userId } = await someAction(stream);
    const affected = await recordsOf(stream, userId, offset);
    const report = await check(stream, { log: altered(stream.log, 'user-actions', offset, () => undefined) });
    expect(report.causes).toMatchObject([{ cause: 'input missing', offset, records: affected.length }]);
  });

  it.each([{ emit: 'action' }, { emit: 'commit' }])(
    'tells an input record that is gone, emitted with %o',
    async (flags) => {
      const stream = await consumed(flags);
      const { offset, userId } = await someAction(stream);
      const affected = await recordsOf(stream, userId, offset);
      const report = await check(stream, { log: without(stream.log, 'user-actions', offset) });
      expect(report.causes).toMatchObject([
        { cause: 'input missing', topic: 'user-actions', offset, records: affected.length },
      ]);
      expect(report).toMatchObject({ gaps: [], missing: 0, compared: report.equal + affected.length });
    },
  );

  it.each([{ emit: 'action' }, { emit: 'commit' }])('tells an altered action, emitted with %o', async (flags) => {
    const stream = await consumed(flags);
    const { offset, userId } = await someAction(stream);
    const alter = (record: LogRecord): LogRecord => {
      const value = stream.codec.decode<object>('user-actions-value', record.value!);
      return { ...record, value: stream.codec.encode('user-actions-value', { ...value, itemId: 'other' }) };
    };
    const report = await check(stream, { log: altered(stream.log, 'user-actions', offset, alter) });
    expect(report.causes).toMatchObject([{ cause: 'altered input', topic: 'user-actions', offset }]);
    expect(report.causes[0]!.records).toBe(report.differing);
    expect(report.causes[0]!.records).toBeGreaterThan(1);
    expect(report).toMatchObject({ extra: 0, missing: 0, gaps: [] });
    expect((await recordsOf(stream, userId, offset)).length).toBeGreaterThanOrEqual(report.differing);
  });

  it.each([
    ['views[0].counters', (record: SequenceFeaturesRecord) => (record.views[0]!.counters[0]! += 1)],
    ['intent[0].vector', (record: SequenceFeaturesRecord) => (record.intent[0]!.vector[0]! += 1)],
    ['sequences[0].itemIds', (record: SequenceFeaturesRecord) => (record.sequences[0]!.itemIds[0] = 'other')],
  ])('tells a features record that was edited: %s', async (field, edit) => {
    const stream = await consumed();
    const { userId, offset: after } = await someAction(stream);
    const [edited] = await recordsOf(stream, userId, after);
    const alter = (record: LogRecord): LogRecord => {
      const value = decoded(stream, record);
      edit(value);
      return { ...record, value: stream.codec.encode('sequence-features-value', value) };
    };
    const report = await check(stream, { log: altered(stream.log, 'sequence-features', edited!.offset, alter) });
    expect(report).toMatchObject({ differing: 1, missing: 0, extra: 0 });
    expect(report.causes).toMatchObject([
      { cause: 'altered record', topic: 'sequence-features', offset: edited!.offset, field, records: 1 },
    ]);
  });

  it('tells a features record that cannot be read', async () => {
    const stream = await consumed();
    const log = altered(stream.log, 'sequence-features', 5, () => undefined);
    const report = await check(stream, { log });
    expect(report.causes).toMatchObject([{ cause: 'altered record', topic: 'sequence-features', offset: 5 }]);
    expect(report.isEqual).toBe(false);
  });

  it('tells another model, another session gap and another window, once each', async () => {
    const stream = await consumed();
    const emitted = (await stream.read('sequence-features')).filter(({ value }) => value !== null).length;
    const real = fakeScorer();
    const scorer = {
      ...real,
      hash: 'another',
      fold: async (rows: Parameters<typeof real.fold>[0]) =>
        (await real.fold(rows)).map((score) => ({ ...score, propensity: score.propensity.map((each) => each / 2) })),
    };
    const model = await check(stream, { scorer });
    expect(model.causes).toMatchObject([{ cause: 'model', records: emitted }]);
    expect(model).toMatchObject({ differing: emitted, compared: emitted, missing: 0, extra: 0 });

    const gap = await check(stream, { config: { ...stream.config, sessionGapMs: 2_000 } });
    expect(gap.causes).toMatchObject([{ cause: 'config', records: emitted }]);

    const [sequence] = stream.config.sequences;
    const window = await check(stream, { config: { ...stream.config, sequences: [{ ...sequence!, windowSize: 3 }] } });
    expect(window.causes.length).toBe(1);
    expect(window.causes).toMatchObject([{ cause: 'config', records: window.differing }]);
    expect(window).toMatchObject({ missing: 0, extra: 0 });
  });

  it('tells a newest version that is not there', async () => {
    const stream = await consumed();
    const all = await stream.read('sequence-features');
    const last = all.findLast(({ value }) => value !== null)!;
    const report = await check(stream, { log: without(stream.log, 'sequence-features', last.offset) });
    const { version } = decoded(stream, last);
    expect(report).toMatchObject({ missing: 1, differing: 0, extra: 0 });
    expect(report.causes).toMatchObject([{ cause: 'output missing', topic: 'user-actions', offset: version }]);
  });

  it('passes over users of whom nothing is known before the beginning, until their next record', async () => {
    const stream = await consumed({ emit: 'action' });
    // As if older features had been compacted away.
    const start = 200;
    const input = { topic: 'sequence-features', partition: 0 };
    const keeps = (record: LogRecord): boolean => record.value !== null && decoded(stream, record).version >= start;
    const log = inputLog({ source: stream.log, input, end: await stream.log.endOffset(input), keeps });
    const report = await check(stream, { log, stretches: [{ ...WHOLE, from: start }], stepRecords: 10 });
    expect(report.unverifiable).toBeGreaterThan(0);
    expect(report.unverifiable).toBeLessThan(USERS * 4);
    expect(report).toMatchObject({ differing: 0, extra: 0, missing: 0, causes: [] });
    expect(report.equal).toBeGreaterThan(100);
  });

  it('that is interrupted tells where to go on, and the two together miss nothing', async () => {
    const stream = await consumed();
    const all = await stream.read('sequence-features');
    const emitted = all.filter(({ value }) => value !== null).map((record) => decoded(stream, record));
    // The last record of a user in the middle of the log is lost.
    const lost = emitted.find(({ userId, version }, at) => {
      const isLast = emitted.slice(at + 1).every((later) => later.userId !== userId);
      return isLast && version > 150;
    })!;
    const { offset } = all.find(
      ({ value }, at) => value !== null && decoded(stream, all[at]!).version === lost.version,
    )!;
    const log = without(stream.log, 'sequence-features', offset);
    const starts = Array.from({ length: 4 }, (_, at) => 20 + at * 115);
    for (const interrupted of [...starts, lost.version - 1, lost.version + 30]) {
      const controller = new AbortController();
      let records = 0;
      const onProgress = (taken: number): void => {
        records += taken;
        if (records > interrupted) controller.abort();
      };
      const first = await check(stream, { log, stepRecords: 10, onProgress, signal: controller.signal });
      expect(first.complete).toBe(interrupted > ACTIONS);
      const from = first.next.get(0)!;
      const second = await check(stream, { log, stretches: [{ ...WHOLE, from }], stepRecords: 10 });
      expect(second.complete).toBe(true);
      expect(first.missing + second.missing).toBe(1);
      expect(first.equal + second.equal).toBeGreaterThanOrEqual(emitted.length - 1);
      expect(first).toMatchObject({ differing: 0, extra: 0, unverifiable: 0 });
      expect(second).toMatchObject({ differing: 0, extra: 0, unverifiable: 0 });
    }
  });
});
