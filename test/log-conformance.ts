/**
 * What every implementation of the log port must do, in code. Nothing here relies on offsets being dense: on Kafka the
 * markers of transactions take some. They increase, and the end is after the last one.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { partitionName, type Log, type LogRecord, type NewRecord, type TopicPartition } from '../src/log/log.ts';
import { declareTopics } from '../topics/index.ts';

/** One storage, empty at first. `open` may be called again once the log it gave is closed, and finds what was there. */
export interface LogUnderTest {
  open(): Promise<Log>;
  dispose(): Promise<void>;
}

export type LogFactory = () => Promise<LogUnderTest>;

const PARTITIONS = 3;
/** The application of the log under test. */
export const APP = 'conformance';
const TASK = `${APP}-user-actions-1`;
const AMPLE = { maxRecords: 10_000, maxBytes: 64 * 1024 * 1024 };

const input: TopicPartition = { topic: 'user-actions', partition: 1 };
const otherInput: TopicPartition = { topic: 'user-actions', partition: 2 };
const features: TopicPartition = { topic: 'sequence-features', partition: 1 };
const history: TopicPartition = { topic: 'action-history', partition: 1 };

let keys = 0;

/** Under a key of its own, unless one is given: of records with one key compaction may leave the last. */
export const record = (
  at: TopicPartition,
  value: string | Buffer | null,
  more: Partial<NewRecord> = {},
): NewRecord => ({
  ...at,
  timestampMs: 1_700_000_000_000,
  key: Buffer.from(`user-${(keys += 1)}`),
  value: typeof value === 'string' ? Buffer.from(value) : value,
  ...more,
});

/** Everything a partition holds, in steps of `maxRecords`. */
export async function readAll(log: Log, at: TopicPartition, maxRecords = 1_000): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  const end = await log.endOffset(at);
  for (let offset = await log.startOffset(at); offset < end;) {
    const step = await log.read(at, offset, { ...AMPLE, maxRecords });
    const last = step.at(-1);
    if (last === undefined) break;
    records.push(...step);
    offset = last.offset + 1;
  }
  return records;
}

export const valuesOf = (records: readonly LogRecord[]): (string | undefined)[] =>
  records.map(({ value }) => value?.toString());

/** Bytes as text: vitest compares a megabyte in a string at once, in a Buffer in seconds. */
const asText = ({ offset, timestampMs, key, value, headers }: LogRecord) => ({
  ...{ offset, timestampMs, key: key?.toString('latin1') ?? null, value: value?.toString('latin1') ?? null },
  headers: Object.entries(headers).map(([name, bytes]) => `${name}=${bytes.toString('latin1')}`),
});

export function describeLogConformance(name: string, factory: LogFactory): void {
  describe(`log conformance: ${name}`, () => {
    let storage: LogUnderTest;
    let log: Log;

    const reopen = async (): Promise<void> => {
      await log.close();
      log = await storage.open();
    };

    beforeEach(async () => {
      storage = await factory();
      log = await storage.open();
      await log.createTopics(declareTopics(PARTITIONS));
    });

    afterEach(async () => {
      await log.close();
      await storage.dispose();
    });

    describe('topics', () => {
      test('are there with their partitions, also after a reopen', async () => {
        const declared = new Map(declareTopics(PARTITIONS).map((topic) => [topic.name, topic.partitions]));
        expect(await log.topics()).toEqual(declared);
        await reopen();
        expect(await log.topics()).toEqual(declared);
      });

      test('are created once: asking again changes nothing', async () => {
        await log.append([record(input, 'kept')]);
        await log.createTopics(declareTopics(PARTITIONS));
        expect(valuesOf(await readAll(log, input))).toEqual(['kept']);
      });

      test('keep their number of partitions', async () => {
        const change = log.createTopics(declareTopics(PARTITIONS + 1));
        await expect(change).rejects.toMatchObject({ code: 'PARTITIONS_CHANGED' });
        expect((await log.topics()).get('user-actions')).toBe(PARTITIONS);
      });

      test('that do not exist, and partitions that do not, are named in the error', async () => {
        const absent = { topic: 'user-actions', partition: PARTITIONS };
        for (const call of [
          () => log.endOffset(absent),
          () => log.startOffset(absent),
          () => log.read(absent, 0, AMPLE),
          () => log.append([record(absent, 'x')]),
          () => log.append([record(input, 'x'), record({ topic: 'no-such-topic', partition: 0 }, 'x')]),
        ]) {
          await expect(call()).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' });
        }
        expect(await readAll(log, input)).toEqual([]);
      });
    });

    describe('append and read', () => {
      test('a new partition is empty', async () => {
        const start = await log.startOffset(input);
        expect(await log.endOffset(input)).toBe(start);
        expect(await log.read(input, start, AMPLE)).toEqual([]);
      });

      test('records come back as they were: nulls, empty values, binary keys, headers, a megabyte, any timestamp', async () => {
        const headers = { 'freshet-control': Buffer.from('user-actions-control'), empty: Buffer.alloc(0) };
        const written = [
          record(input, 'plain'),
          record(input, null),
          record(input, 'no key', { key: null }),
          record(input, null, { key: null, headers }),
          record(input, Buffer.alloc(0), { key: Buffer.alloc(0) }),
          record(input, 'zeros', { key: Buffer.alloc(8) }),
          record(input, Buffer.from([0, 255, 128, 10, 13]), { key: Buffer.from([255, 0]) }),
          record(input, Buffer.alloc(1_000_000, 'freshet ')),
          record(input, 'headers', { headers }),
          record(input, 'time', { timestampMs: 1 }),
        ];
        const offsets = await log.append(written);
        const expected = written.map((each, index) => ({ headers: {}, ...each, offset: offsets[index]! }));
        expect((await readAll(log, input)).map(asText)).toEqual(expected.map(asText));
        await reopen();
        expect((await readAll(log, input)).map(asText)).toEqual(expected.map(asText));
      });

      test('offsets increase in the order of the records and end before the end', async () => {
        const first = await log.append(['a', 'b', 'c'].map((value) => record(input, value)));
        const second = await log.append(['d', 'e'].map((value) => record(input, value)));
        const offsets = [...first, ...second];
        expect(offsets).toEqual([...new Set(offsets)].sort((a, b) => a - b));
        expect(await log.endOffset(input)).toBeGreaterThan(offsets.at(-1)!);
        expect(await log.startOffset(input)).toBeLessThanOrEqual(offsets[0]!);
        expect((await readAll(log, input)).map(({ offset }) => offset)).toEqual(offsets);
      });

      test('appends that run at the same time stay whole and in order', async () => {
        const appends = Array.from({ length: 20 }, (_, call) =>
          log.append(Array.from({ length: 25 }, (_unused, index) => record(input, `${call}/${index}`))),
        );
        const offsets = await Promise.all(appends);
        const byOffset = new Map((await readAll(log, input)).map(({ offset, value }) => [offset, value?.toString()]));
        expect(byOffset.size).toBe(20 * 25);
        for (const [call, given] of offsets.entries()) {
          expect(given.map((offset) => byOffset.get(offset))).toEqual(given.map((_, index) => `${call}/${index}`));
        }
      });

      test('topics and partitions are independent', async () => {
        await log.append([record(input, 'a'), record(otherInput, 'b'), record(features, 'c'), record(input, 'd')]);
        expect(valuesOf(await readAll(log, input))).toEqual(['a', 'd']);
        expect(valuesOf(await readAll(log, otherInput))).toEqual(['b']);
        expect(valuesOf(await readAll(log, features))).toEqual(['c']);
        expect(await readAll(log, { topic: 'user-actions', partition: 0 })).toEqual([]);
        expect(await readAll(log, history)).toEqual([]);
      });

      test('a read begins where it is told and stops at maxRecords', async () => {
        const offsets = await log.append(Array.from({ length: 700 }, (_, index) => record(input, `${index}`)));
        const middle = await log.read(input, offsets[300]!, { ...AMPLE, maxRecords: 5 });
        expect(valuesOf(middle)).toEqual(['300', '301', '302', '303', '304']);
        expect(middle.map(({ offset }) => offset)).toEqual(offsets.slice(300, 305));
        expect(valuesOf(await readAll(log, input, 64))).toEqual(offsets.map((_, index) => `${index}`));
        expect(await log.read(input, await log.endOffset(input), AMPLE)).toEqual([]);
      });

      test('a read stops before maxBytes of keys and values, but returns one record at least', async () => {
        const key = Buffer.alloc(10);
        const offsets = await log.append(Array.from({ length: 50 }, () => record(input, Buffer.alloc(90), { key })));
        const size = async (maxBytes: number): Promise<number> =>
          (await log.read(input, offsets[0]!, { maxRecords: 1_000, maxBytes })).length;
        expect(await size(1_000)).toBe(10);
        expect(await size(1_099)).toBe(10);
        expect(await size(1)).toBe(1);
        expect(await size(100_000)).toBe(50);
      });

      test('the end is known without asking once a partition was read, as the read met it', async () => {
        const [first] = await log.append([record(input, 'a'), record(input, 'b'), record(input, 'c')]);
        await log.read(input, first!, { ...AMPLE, maxRecords: 1 });
        const end = await log.endOffset(input);
        expect(log.knownEnd(input)).toBe(end);
        const [last] = await log.append([record(input, 'd')]);
        expect(valuesOf(await log.read(input, last!, AMPLE))).toEqual(['d']);
        expect(log.knownEnd(input)).toBe(await log.endOffset(input));
        expect(log.knownEnd(input)).toBeGreaterThan(end);
        expect(log.knownEnd(otherInput) ?? 0).toBe(0);
      });

      test('a read before the start or after the end says so with its position', async () => {
        await log.append([record(input, 'a')]);
        for (const offset of [(await log.startOffset(input)) - 1, (await log.endOffset(input)) + 1]) {
          const position = { ...input, offset };
          await expect(log.read(input, offset, AMPLE)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', position });
        }
      });
    });

    describe('commits', () => {
      test('nothing is committed at first', async () => {
        const writer = await log.openWriter(TASK);
        expect(await writer.committed(input)).toBeUndefined();
        await writer.close();
      });

      test('outputs, offset and metadata are there together, also after a reopen', async () => {
        const writer = await log.openWriter(TASK);
        await writer.commit({
          outputs: [record(features, 'f1'), record(history, 'h1'), record(features, 'f2')],
          offsets: [{ input, offset: 7 }],
          metadata: () => '{"itemVersion":"v1"}',
        });
        expect(await writer.committed(input)).toEqual({ offset: 7, metadata: '{"itemVersion":"v1"}' });
        await writer.close();
        await reopen();
        const next = await log.openWriter(TASK);
        expect(await next.committed(input)).toEqual({ offset: 7, metadata: '{"itemVersion":"v1"}' });
        expect(await next.committed(otherInput)).toBeUndefined();
        expect(valuesOf(await readAll(log, features))).toEqual(['f1', 'f2']);
        expect(valuesOf(await readAll(log, history))).toEqual(['h1']);
      });

      test('metadata is made from the ends of the partitions that were written', async () => {
        await log.append([record(features, 'f0')]);
        const writer = await log.openWriter(TASK);
        const seen: ReadonlyMap<string, number>[] = [];
        const commit = (outputs: NewRecord[], offset: number): Promise<void> =>
          writer.commit({ outputs, offsets: [{ input, offset }], metadata: (ends) => `${seen.push(ends)}` });
        await commit([record(features, 'f1'), record(history, 'h1'), record(features, 'f2')], 1);
        await commit([record(features, 'f3')], 2);
        expect(seen.map((ends) => [...ends.keys()].sort())).toEqual([
          [partitionName(history), partitionName(features)],
          [partitionName(features)],
        ]);
        const offsetOf = new Map(
          (await readAll(log, features)).map(({ offset, value }) => [value?.toString(), offset]),
        );
        expect(seen[0]!.get(partitionName(features))).toBe(offsetOf.get('f2')! + 1);
        expect(seen[0]!.get(partitionName(history))).toBe((await readAll(log, history))[0]!.offset + 1);
        expect(seen[1]!.get(partitionName(features))).toBe(offsetOf.get('f3')! + 1);
        expect((await writer.committed(input))?.metadata).toBe('2');
      });

      test('a commit whose metadata cannot be made leaves no trace', async () => {
        const writer = await log.openWriter(TASK);
        const offsets = [{ input, offset: 1 }];
        const metadata = (): string => {
          throw new Error('no metadata');
        };
        await expect(writer.commit({ outputs: [record(features, 'lost')], offsets, metadata })).rejects.toThrow();
        expect(await readAll(log, features)).toEqual([]);
        expect(await writer.committed(input)).toBeUndefined();
      });

      test('one commit may take several inputs on, or none of the outputs', async () => {
        const writer = await log.openWriter(TASK);
        const offsets = [
          { input, offset: 3 },
          { input: otherInput, offset: 4 },
        ];
        await writer.commit({ outputs: [], offsets, metadata: () => 'both' });
        await writer.commit({ outputs: [], offsets: [{ input, offset: 5 }], metadata: () => 'one' });
        expect(await writer.committed(input)).toEqual({ offset: 5, metadata: 'one' });
        expect(await writer.committed(otherInput)).toEqual({ offset: 4, metadata: 'both' });
      });

      test('tasks of an application commit inputs of their own', async () => {
        const writer = await log.openWriter(TASK);
        await writer.commit({ outputs: [], offsets: [{ input, offset: 3 }], metadata: () => 'one' });
        const other = await log.openWriter(`${APP}-join-1`);
        expect(await other.committed(features)).toBeUndefined();
        await other.commit({ outputs: [], offsets: [{ input: features, offset: 9 }], metadata: () => 'other' });
        await writer.commit({ outputs: [], offsets: [{ input, offset: 4 }], metadata: () => 'two' });
        expect(await writer.committed(input)).toEqual({ offset: 4, metadata: 'two' });
        expect(await other.committed(features)).toEqual({ offset: 9, metadata: 'other' });
      });

      test('what is committed can be read without fencing', async () => {
        expect(await log.committed(APP, input)).toBeUndefined();
        const writer = await log.openWriter(TASK);
        await writer.commit({ outputs: [], offsets: [{ input, offset: 3 }], metadata: () => 'seen' });
        await expect.poll(() => log.committed(APP, input)).toEqual({ offset: 3, metadata: 'seen' });
        expect(await log.committed('another', input)).toBeUndefined();
        await writer.commit({ outputs: [], offsets: [{ input, offset: 4 }], metadata: () => '' });
        await writer.close();
        await reopen();
        await expect.poll(() => log.committed(APP, input)).toEqual({ offset: 4, metadata: '' });
      });

      test('thousands of records of many sizes in one commit', async () => {
        const outputs = Array.from({ length: 6_000 }, (_, index) =>
          record(index % 7 === 0 ? history : features, Buffer.alloc((index * 37) % 900, `${index}`), {
            key: Buffer.from(`user-${index}`),
            timestampMs: 1_700_000_000_000 + ((index * 7_919) % 5_000) * 86_400_000,
          }),
        );
        const writer = await log.openWriter(TASK);
        let ends: ReadonlyMap<string, number> = new Map();
        const metadata = (outputEnds: ReadonlyMap<string, number>): string => {
          ends = outputEnds;
          return '';
        };
        await writer.commit({ outputs, offsets: [{ input, offset: 1 }], metadata });
        for (const at of [features, history]) {
          const read = await readAll(log, at, 999);
          const sent = outputs.filter(({ topic }) => topic === at.topic);
          expect(read.map(asText).map((text) => ({ ...text, offset: 0 }))).toEqual(
            sent.map((output) => asText({ headers: {}, ...output, offset: 0 })),
          );
          expect(ends.get(partitionName(at))).toBe(read.at(-1)!.offset + 1);
        }
      });

      test('a second writer fences the first, whose commits then change nothing', async () => {
        const first = await log.openWriter(TASK);
        const commit = (value: string, offset: number) => ({
          outputs: [record(features, value)],
          offsets: [{ input, offset }],
          metadata: () => value,
        });
        await first.commit(commit('first', 1));
        const second = await log.openWriter(TASK);
        expect(await second.committed(input)).toEqual({ offset: 1, metadata: 'first' });
        await expect(first.commit(commit('zombie', 2))).rejects.toMatchObject({ code: 'FENCED' });
        expect(await second.committed(input)).toEqual({ offset: 1, metadata: 'first' });
        expect(valuesOf(await readAll(log, features))).toEqual(['first']);
        await second.commit(commit('second', 2));
        expect(valuesOf(await readAll(log, features))).toEqual(['first', 'second']);
        await expect(first.commit(commit('zombie', 3))).rejects.toMatchObject({ code: 'FENCED' });
        expect(await second.committed(input)).toEqual({ offset: 2, metadata: 'second' });
      });
    });

    describe('waiting for records', () => {
      const elapsed = async (wait: Promise<void>): Promise<number> => {
        const startedMs = performance.now();
        await wait;
        return performance.now() - startedMs;
      };
      const LONG_MS = 20_000;
      const SHORT_MS = 300;

      test('ends at once where there is one, and at the time-out where there is none', async () => {
        await log.append([record(input, 'a'), record(input, 'b')]);
        const nothing = { at: otherInput, offset: 0 };
        expect(await elapsed(log.waitForRecords([nothing, { at: input, offset: 1 }], LONG_MS))).toBeLessThan(5_000);
        const end = { at: input, offset: await log.endOffset(input) };
        expect(await elapsed(log.waitForRecords([nothing, end], SHORT_MS))).toBeGreaterThan(SHORT_MS - 20);
        expect(await elapsed(log.waitForRecords([], SHORT_MS))).toBeGreaterThan(SHORT_MS - 20);
      });

      test('ends when a record is appended, for each of those who wait', async () => {
        const waits = [input, otherInput, features, history, input, otherInput].map((at) =>
          elapsed(log.waitForRecords([{ at, offset: 0 }], LONG_MS)),
        );
        await new Promise((resolve) => setTimeout(resolve, 250));
        await log.append([record(input, 'a')]);
        for (const index of [0, 4]) expect(await waits[index]).toBeLessThan(5_000);
        await log.append([otherInput, features, history].map((at) => record(at, 'b')));
        for (const wait of waits) expect(await wait).toBeLessThan(10_000);
      });

      test('ends when a record is committed, and not for what was read already', async () => {
        const writer = await log.openWriter(TASK);
        await writer.commit({ outputs: [record(features, 'a')], offsets: [], metadata: () => '' });
        const [first] = await readAll(log, features);
        // Reads that find nothing learn what stands between the last record and the end.
        expect(await log.read(features, first!.offset + 1, AMPLE)).toEqual([]);
        const next = [{ at: features, offset: first!.offset + 1 }];
        expect(await elapsed(log.waitForRecords(next, SHORT_MS))).toBeGreaterThan(SHORT_MS - 20);
        const wait = elapsed(log.waitForRecords(next, LONG_MS));
        await writer.commit({ outputs: [record(features, 'b')], offsets: [], metadata: () => '' });
        expect(await wait).toBeLessThan(5_000);
        expect(valuesOf(await log.read(features, first!.offset + 1, AMPLE))).toEqual(['b']);
      });

      test('ends with the signal, and when the log is closed', async () => {
        const nothing = [{ at: input, offset: 0 }];
        const controller = new AbortController();
        const aborted = elapsed(log.waitForRecords(nothing, LONG_MS, controller.signal));
        const closed = elapsed(log.waitForRecords(nothing, LONG_MS));
        controller.abort();
        expect(await aborted).toBeLessThan(5_000);
        expect(await elapsed(log.waitForRecords(nothing, LONG_MS, controller.signal))).toBeLessThan(5_000);
        await reopen();
        expect(await closed).toBeLessThan(5_000);
      });
    });
  });
}
