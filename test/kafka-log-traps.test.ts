/** The log on a real Kafka: what has tripped others up, in what is read. */
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { zstdCompress } from 'node:zlib';
import fc from 'fast-check';
import kafkajs, { type Producer, type Transaction } from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LocalKafka } from '../src/local-kafka/local-kafka.ts';
import type { Log, LogRecord, TopicPartition } from '../src/log/log.ts';
import { readAll, record, valuesOf } from './log-conformance.ts';
import { kafkaClient, openTestLog, type TestLog } from './support/kafka-log.ts';
import { startOwnKafka } from './support/kafka.ts';
import { FC_OPTIONS } from './support/seed.ts';

const AMPLE = { maxRecords: 10_000, maxBytes: 64 * 1024 * 1024 };
const features: TopicPartition = { topic: 'sequence-features', partition: 0 };
const input: TopicPartition = { topic: 'user-actions', partition: 0 };
const USERS = ['user a', 'user b', 'user c'];
/** What kafkajs's consumer takes for an abort marker. */
const ZERO_KEY = Buffer.alloc(4);

/** Everything from the start, in small steps, by the position alone: at the end, wherever that is, nothing comes. */
async function readToEnd(log: Log, at: TopicPartition, maxRecords: number): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for (let offset = await log.startOffset(at); ;) {
    const read = await log.read(at, offset, { ...AMPLE, maxRecords });
    if (read.length === 0) return records;
    records.push(...read);
    offset = read.at(-1)!.offset + 1;
  }
}

/** Another program's transactions, whose steps a test may mix. */
class Transactions {
  readonly #producers = new Map<number, Producer>();
  readonly #open = new Map<number, Transaction>();
  readonly #log: TestLog;

  constructor(log: TestLog) {
    this.#log = log;
  }

  async send(producer: number, value: string, key = Buffer.from('user')): Promise<void> {
    const transaction = this.#open.get(producer) ?? (await (await this.#producer(producer)).transaction());
    this.#open.set(producer, transaction);
    await transaction.send({
      topic: this.#log.topicName(input.topic),
      messages: [{ partition: input.partition, key, value }],
    });
  }

  async end(producer: number, commit: boolean): Promise<void> {
    const transaction = this.#open.get(producer);
    this.#open.delete(producer);
    await (commit ? transaction?.commit() : transaction?.abort());
  }

  async close(): Promise<void> {
    for (const producer of this.#open.keys()) await this.end(producer, false);
    for (const producer of this.#producers.values()) await producer.disconnect();
  }

  async #producer(number: number): Promise<Producer> {
    const known = this.#producers.get(number);
    if (known !== undefined) return known;
    const transactionalId = `${this.#log.appId}-other-${number}`;
    const created = kafkaClient(this.#log.brokers).producer({ transactionalId, maxInFlightRequests: 1 });
    this.#producers.set(number, created);
    await created.connect();
    return created;
  }
}

let own: LocalKafka;
const warnings: string[] = [];
process.on('warning', ({ name }) => warnings.push(name));

afterAll(() => {
  expect(warnings).toEqual([]);
});

beforeAll(async () => {
  own = await startOwnKafka({
    properties: { 'log.cleaner.backoff.ms': '100', 'log.retention.check.interval.ms': '500' },
  });
});

describe('transactions', () => {
  test('aborted records and markers at the end are neither shown nor waited for, and the end is behind them', async () => {
    const log = await openTestLog();
    const writer = await log.openWriter(log.taskId);
    await writer.commit({ outputs: [record(input, 'a')], offsets: [], metadata: () => '' });
    const fails = (): string => {
      throw new Error('no metadata');
    };
    for (const value of ['b', 'c']) {
      const aborted = { outputs: [record(input, value)], offsets: [], metadata: fails };
      await expect(writer.commit(aborted)).rejects.toThrow('no metadata');
    }
    // a, its marker, b, its marker, c, its marker
    await expect.poll(() => log.endOffset(input)).toBe(6);
    expect(valuesOf(await readToEnd(log, input, 10))).toEqual(['a']);
    for (const offset of [1, 2, 3, 4, 5, 6]) expect(await log.read(input, offset, AMPLE)).toEqual([]);
    const waitedMs = performance.now();
    await log.waitForRecords([{ at: input, offset: 1 }], 400);
    expect(performance.now() - waitedMs).toBeGreaterThan(380);
    await writer.commit({ outputs: [record(input, 'd')], offsets: [], metadata: () => '' });
    expect(valuesOf(await log.read(input, 1, AMPLE))).toEqual(['d']);
    await log.close();
  });

  test('records with the key 00000000 are records, and end no transaction', async () => {
    const log = await openTestLog();
    const others = new Transactions(log);
    await others.send(0, 'aborted 1');
    await others.send(0, 'aborted 2', ZERO_KEY);
    await others.send(0, 'aborted 3');
    await others.end(0, false);
    await others.send(0, 'committed', ZERO_KEY);
    await others.end(0, true);
    await log.append([record(input, 'appended', { key: ZERO_KEY })]);
    await expect.poll(async () => valuesOf(await readToEnd(log, input, 1))).toEqual(['committed', 'appended']);
    await others.close();
    await log.close();
  });

  test('what is undecided, and what stands behind it, is not shown', async () => {
    const log = await openTestLog();
    const others = new Transactions(log);
    await others.send(0, 'before');
    await others.end(0, true);
    await others.send(1, 'undecided');
    await others.send(2, 'behind');
    await others.end(2, true);
    await expect.poll(async () => valuesOf(await readToEnd(log, input, 10))).toEqual(['before']);
    await others.end(1, true);
    await expect.poll(async () => valuesOf(await readToEnd(log, input, 1))).toEqual(['before', 'undecided', 'behind']);
    await others.close();
    await log.close();
  });

  test('of any mixture of transactions exactly the committed ones are read, in any steps', async () => {
    const log = await openTestLog({ partitions: 1 });
    const step = fc.record({
      producer: fc.nat(2),
      kind: fc.constantFrom('send', 'send', 'send', 'commit', 'abort', 'append'),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 7 }), async (steps, maxRecords) => {
        const start = await log.endOffset(input);
        const others = new Transactions(log);
        const expected: { value: string; fate: 'open' | 'committed' | 'aborted'; producer: number }[] = [];
        for (const [index, { producer, kind }] of steps.entries()) {
          const value = `${index}`;
          if (kind === 'append') {
            await log.append([record(input, value)]);
            expected.push({ value, fate: 'committed', producer: -1 });
          } else if (kind === 'send') {
            await others.send(producer, value, index % 3 === 0 ? ZERO_KEY : undefined);
            expected.push({ value, fate: 'open', producer });
          } else {
            await others.end(producer, kind === 'commit');
            for (const each of expected) {
              if (each.fate === 'open' && each.producer === producer)
                each.fate = kind === 'commit' ? 'committed' : 'aborted';
            }
          }
        }
        await others.close();
        await log.append([record(input, 'last')]);
        const committed = expected.filter(({ fate }) => fate === 'committed').map(({ value }) => value);
        await expect
          .poll(async () => {
            const records: LogRecord[] = [];
            for (let offset = start; ;) {
              const read = await log.read(input, offset, { ...AMPLE, maxRecords });
              if (read.length === 0) return valuesOf(records);
              records.push(...read);
              offset = read.at(-1)!.offset + 1;
            }
          })
          .toEqual([...committed, 'last']);
      }),
      { ...FC_OPTIONS, numRuns: 12 },
    );
    await log.close();
  });
});

describe('what is no longer there', () => {
  test('an offset below retention is refused with what is there, and nothing is skipped', async () => {
    const log = await openTestLog({ partitions: 1 });
    const offsets = await log.append(Array.from({ length: 20 }, (_, index) => record(input, `${index}`)));
    const admin = kafkaClient(log.brokers).admin();
    await admin.connect();
    // kafkajs deletes only where it has looked before.
    await admin.fetchTopicMetadata({ topics: [log.topicName(input.topic)] });
    await admin.deleteTopicRecords({
      topic: log.topicName(input.topic),
      partitions: [{ partition: input.partition, offset: `${offsets[12]!}` }],
    });
    await admin.disconnect();
    expect(await log.startOffset(input)).toBe(offsets[12]);
    await expect(log.read(input, offsets[3]!, AMPLE)).rejects.toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      position: { ...input, offset: offsets[3] },
      detail: 'the partition holds 12 to 20',
    });
    expect(valuesOf(await log.read(input, offsets[12]!, AMPLE))[0]).toBe('12');
    await log.close();
  });

  test('a compacted partition is read over its holes, whole batches among them', async () => {
    const log = await openTestLog({
      brokers: own.brokers,
      settings: { 'segment.ms': '100', 'min.cleanable.dirty.ratio': '0.001', 'min.compaction.lag.ms': '0' },
    });
    const writer = await log.openWriter(log.taskId);
    const rounds = 12;
    for (let round = 0; round < rounds; round += 1) {
      const users = round % 3 === 0 ? ['once', ...USERS] : USERS;
      const outputs = users.map((user) =>
        record(features, `${user} ${round}`, { key: Buffer.from(user === 'once' ? `once ${round}` : user) }),
      );
      await writer.commit({ outputs, offsets: [], metadata: () => '' });
      // A segment closes when something comes after its time.
      await sleep(150);
    }
    await writer.commit({
      outputs: [record(features, 'last', { key: Buffer.from('last') })],
      offsets: [],
      metadata: () => '',
    });
    const newest = ['once 0', 'once 3', 'once 6', 'once 9', ...USERS.map((user) => `${user} ${rounds - 1}`), 'last'];
    await expect
      .poll(async () => valuesOf(await readToEnd(log, features, 2)), { timeout: 45_000, interval: 500 })
      .toEqual(newest);
    const all = await readToEnd(log, features, 100);
    for (let offset = await log.startOffset(features); offset < (await log.endOffset(features)); offset += 1) {
      const [first] = await log.read(features, offset, { ...AMPLE, maxRecords: 1 });
      expect(first?.offset).toBe(all.find((each) => each.offset >= offset)?.offset);
    }
    await log.close();
  });
});

describe('a broker that goes away', () => {
  const values = Array.from({ length: 4_000 }, (_, index) => `${index}`);

  test.each([
    ['stopped', () => own.stopBroker()],
    ['killed', () => own.kill9()],
  ])('reads, waits and appends go on when it comes back: %s', async (_, end) => {
    const log = await openTestLog({ brokers: own.brokers, patienceMs: 40_000 });
    await log.append(values.map((value) => record(input, value)));
    const reading = readAll(log, input, 3);
    const waiting = log.waitForRecords([{ at: features, offset: 0 }], 60_000);
    await sleep(50);
    await end();
    const appending = log.append([record(features, 'while it is away')]);
    await own.startBroker();
    expect(valuesOf(await reading)).toEqual(values);
    expect(await appending).toEqual([0]);
    await waiting;
    expect(valuesOf(await readAll(log, features))).toEqual(['while it is away']);
    await log.close();
  });

  test('LOG_UNAVAILABLE says so in time, and is over when it comes back', async () => {
    const patient = await openTestLog({ brokers: own.brokers });
    // A new broker takes a while to make the topics of groups and transactions.
    await (await patient.openWriter(patient.taskId)).committed(input);
    const log = await openTestLog({ brokers: own.brokers, appId: patient.appId, patienceMs: 300 });
    await log.append([record(input, 'a')]);
    const writer = await log.openWriter(log.taskId);
    await own.kill9();
    const commit = { outputs: [record(features, 'a')], offsets: [{ input, offset: 1 }], metadata: () => '' };
    for (const call of [
      () => log.read(input, 0, AMPLE),
      () => log.endOffset(input),
      () => log.append([record(input, 'b')]),
      () => log.openWriter(log.taskId),
      () => writer.committed(input),
      () => writer.commit(commit),
      // It is of no more use, whatever the brokers do.
      () => writer.commit(commit),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: 'LOG_UNAVAILABLE', exitCode: 1 });
    }
    // In vain, and not at once: who waits would ask without end.
    const startedMs = performance.now();
    await log.waitForRecords([{ at: input, offset: 1 }], 10_000);
    expect(performance.now() - startedMs).toBeGreaterThan(50);
    await own.startBroker();
    const next = await patient.openWriter(log.taskId);
    expect(await next.committed(input)).toBeUndefined();
    await next.commit(commit);
    expect(valuesOf(await readAll(patient, features))).toEqual(['a']);
    expect(valuesOf(await readAll(log, input))[0]).toBe('a');
    await patient.close();
    await log.close();
  });
});

describe('compression', () => {
  const { CompressionCodecs, CompressionTypes } = kafkajs;
  const values = Array.from({ length: 300 }, (_, index) => `value ${index} `.repeat(1 + (index % 40)));

  test.each([
    ['gzip', CompressionTypes.GZIP],
    ['zstd', CompressionTypes.ZSTD],
  ])('%s is read, from the middle of a batch too', async (_, compression) => {
    const compress = async ({ buffer }: { buffer: Buffer }): Promise<Buffer> => promisify(zstdCompress)(buffer);
    CompressionCodecs[CompressionTypes.ZSTD] = () => ({
      compress,
      decompress: () => Promise.reject(new Error('unused')),
    });
    const log = await openTestLog();
    const producer = kafkaClient(log.brokers).producer();
    await producer.connect();
    const messages = values.map((value) => ({ partition: 0, key: null, value, headers: { name: 'header' } }));
    await producer.send({ topic: log.topicName(input.topic), compression, messages });
    await producer.disconnect();
    expect(valuesOf(await readAll(log, input, 70))).toEqual(values);
    const [middle] = await log.read(input, 155, { ...AMPLE, maxRecords: 1 });
    expect(middle).toMatchObject({
      offset: 155,
      value: Buffer.from(values[155]!),
      headers: { name: Buffer.from('header') },
    });
    await log.close();
  });

  test.each(['snappy', 'lz4'])('%s is refused with the remedy', async (codec) => {
    const log = await openTestLog({ settings: { 'compression.type': codec } });
    await log.append([record(input, values[0]!)]);
    await expect(log.read(input, 0, AMPLE)).rejects.toMatchObject({
      code: 'KAFKA_COMPRESSION_UNSUPPORTED',
      exitCode: 4,
      position: { ...input, offset: 0 },
      detail: codec,
    });
    await log.close();
  });
});
