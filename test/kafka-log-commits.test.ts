/** The log on a real Kafka: commits that are large, late, fenced, unanswered or refused. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { CommitRequest, TaskWriter, TopicPartition } from '../src/log/log.ts';
import { readAll, record, valuesOf } from './log-conformance.ts';
import { KafkaProxy, PRODUCE, isCommit, type Verdict } from './support/kafka-proxy.ts';
import { openTestLog, type TestLog } from './support/kafka-log.ts';
import { kafkaForTests } from './support/kafka.ts';

const features: TopicPartition = { topic: 'sequence-features', partition: 0 };
const history: TopicPartition = { topic: 'action-history', partition: 1 };
const input: TopicPartition = { topic: 'user-actions', partition: 0 };

const commitOf = (value: string, offset: number): CommitRequest => ({
  outputs: [record(features, value), record(history, value)],
  offsets: [{ input, offset }],
  metadata: () => value,
});

/** What readers see of the commits, and what the next writer starts from. */
async function outcome(log: TestLog, writer: TaskWriter): Promise<unknown> {
  const [inFeatures, inHistory] = [valuesOf(await readAll(log, features)), valuesOf(await readAll(log, history))];
  expect(inHistory).toEqual(inFeatures);
  return { values: inFeatures, committed: await writer.committed(input) };
}

/** Two logs of one application: what leads through a proxy, and what does not. */
async function proxied(): Promise<{ log: TestLog; direct: TestLog; proxy: KafkaProxy; close: () => Promise<void> }> {
  const proxy = await KafkaProxy.start(kafkaForTests().brokers[0]!);
  const direct = await openTestLog();
  const log = await openTestLog({ appId: direct.appId, proxy, requestTimeoutMs: 700 });
  const close = async (): Promise<void> => {
    await log.close();
    await direct.close();
    await proxy.stop();
  };
  return { log, direct, proxy, close };
}

describe('a commit that is not answered', () => {
  test.each([
    ['lose answer', true],
    ['lose request', false],
    ['cut', false],
  ] as const)('%s: its outcome is unknown, and the next writer knows it', async (verdict: Verdict, isCommitted) => {
    const { log, proxy, close } = await proxied();
    const writer = await log.openWriter(log.taskId);
    await writer.commit(commitOf('first', 1));
    proxy.judge = (request) => (isCommit(request) ? verdict : 'pass');
    await expect(writer.commit(commitOf('second', 2))).rejects.toMatchObject({ code: 'COMMIT_UNKNOWN', exitCode: 1 });
    proxy.judge = () => 'pass';
    // It is not wedged, it is over.
    await expect(writer.commit(commitOf('third', 3))).rejects.toMatchObject({ code: 'COMMIT_UNKNOWN' });
    await writer.close();

    const next = await log.openWriter(log.taskId);
    const second = isCommitted ? ['second'] : [];
    expect(await outcome(log, next)).toEqual({
      values: ['first', ...second],
      committed: isCommitted ? { offset: 2, metadata: 'second' } : { offset: 1, metadata: 'first' },
    });
    await next.commit(commitOf('again', 2));
    expect(await outcome(log, next)).toEqual({
      values: ['first', ...second, 'again'],
      committed: { offset: 2, metadata: 'again' },
    });
    await close();
  });

  test('what fails before the decision is not committed, and is aborted', async () => {
    const { log, direct, proxy, close } = await proxied();
    const writer = await log.openWriter(log.taskId);
    proxy.judge = ({ apiKey }) => (apiKey === PRODUCE ? 'lose answer' : 'pass');
    const patient = await openTestLog({ appId: direct.appId, proxy, requestTimeoutMs: 300, patienceMs: 500 });
    const hasty = await patient.openWriter(log.taskId);
    await expect(hasty.commit(commitOf('lost', 1))).rejects.toMatchObject({ code: 'LOG_UNAVAILABLE' });
    proxy.judge = () => 'pass';
    // Nobody had to open a writer for that.
    await direct.append([record(features, 'behind'), record(history, 'behind')]);
    await expect.poll(async () => valuesOf(await readAll(direct, features))).toEqual(['behind']);
    await expect(writer.commit(commitOf('zombie', 1))).rejects.toMatchObject({ code: 'FENCED' });
    const next = await direct.openWriter(log.taskId);
    expect(await outcome(direct, next)).toEqual({ values: ['behind'], committed: undefined });
    await patient.close();
    await close();
  });

  test('a batch whose answer was lost is sent again and stands once', async () => {
    const { log, proxy, close } = await proxied();
    const writer = await log.openWriter(log.taskId);
    let lost = 0;
    proxy.judge = ({ apiKey }) => (apiKey === PRODUCE && (lost += 1) <= 2 ? 'lose answer' : 'pass');
    const values = Array.from({ length: 4_000 }, (_, index) => `${index} `.padEnd(700, '.'));
    await writer.commit({
      outputs: values.map((value) => record(features, value)),
      offsets: [{ input, offset: 1 }],
      metadata: () => '',
    });
    expect(lost).toBeGreaterThan(5);
    expect(valuesOf(await readAll(log, features))).toEqual(values);
    lost = 0;
    const offsets = await log.append(values.map((value) => record(history, value)));
    expect(lost).toBeGreaterThan(5);
    expect(offsets).toEqual(values.map((_, index) => index));
    expect(valuesOf(await readAll(log, history))).toEqual(values);
    await close();
  });
});

describe('a writer that was replaced', () => {
  test('in the middle of its commit: its offset is settled before the next one reads, its late decision refused', async () => {
    const { log, direct, proxy, close } = await proxied();
    const zombie = await log.openWriter(log.taskId);
    await zombie.commit(commitOf('first', 1));
    const held = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    proxy.judge = async (request): Promise<Verdict> => {
      if (!isCommit(request)) return 'pass';
      held.resolve();
      await release.promise;
      return 'pass';
    };
    const late = zombie.commit(commitOf('late', 2));
    await held.promise;
    // Its records are in the log, its offset is with the group's coordinator; only the decision is missing.
    const next = await direct.openWriter(log.taskId);
    expect(await next.committed(input)).toEqual({ offset: 1, metadata: 'first' });
    release.resolve();
    await expect(late).rejects.toMatchObject({ code: 'FENCED' });
    expect(await outcome(direct, next)).toEqual({ values: ['first'], committed: { offset: 1, metadata: 'first' } });
    await next.commit(commitOf('next', 2));
    await expect(zombie.commit(commitOf('later', 3))).rejects.toMatchObject({ code: 'FENCED' });
    expect(await outcome(direct, next)).toEqual({
      values: ['first', 'next'],
      committed: { offset: 2, metadata: 'next' },
    });
    await close();
  });

  test('again and again, with a commit under way each time', async () => {
    const log = await openTestLog();
    let offset = 0;
    for (let round = 0; round < 8; round += 1) {
      const writer = await log.openWriter(log.taskId);
      const committed = await writer.committed(input);
      expect(committed?.offset ?? 0).toBeGreaterThanOrEqual(offset);
      offset = committed?.offset ?? 0;
      await writer.commit(commitOf(`${offset}`, offset + 1));
      offset += 1;
      const underWay = writer.commit(commitOf(`${offset}`, offset + 1)).then(
        () => (offset += 1),
        (error: unknown) => expect(error).toMatchObject({ code: 'FENCED' }),
      );
      const next = await log.openWriter(log.taskId);
      await underWay;
      expect((await next.committed(input))?.offset).toBe(offset);
    }
    const last = await log.openWriter(log.taskId);
    const values = Array.from({ length: offset }, (_, index) => `${index}`);
    expect(await outcome(log, last)).toMatchObject({ values, committed: { offset } });
    await log.close();
  });
});

describe('sizes', () => {
  test('sixteen megabytes in twenty thousand records over several partitions are one commit', async () => {
    const log = await openTestLog();
    const writer = await log.openWriter(log.taskId);
    const partitions = [features, history, { topic: 'rejected-actions', partition: 1 }];
    const value = Buffer.alloc(1_400, 'x');
    const outputs = Array.from({ length: 20_000 }, (_, index) =>
      record(partitions[index % 3]!, value.subarray(0, 200 + (index % 1_200)), { key: Buffer.from(`user-${index}`) }),
    );
    await writer.commit({ outputs, offsets: [{ input, offset: 7 }], metadata: () => 'm'.repeat(4_096) });
    expect(await writer.committed(input)).toEqual({ offset: 7, metadata: 'm'.repeat(4_096) });
    for (const at of partitions) {
      const sent = outputs.filter(({ topic }) => topic === at.topic);
      const read = await readAll(log, at);
      expect(read.map(({ key, value: bytes }) => `${key!.toString()} ${bytes!.length}`)).toEqual(
        sent.map(({ key, value: bytes }) => `${key!.toString()} ${bytes!.length}`),
      );
    }
    await log.close();
  });

  test('a record that its topic does not take is refused with the remedy, and nothing is committed', async () => {
    const log = await openTestLog();
    const writer = await log.openWriter(log.taskId);
    const commit = {
      ...commitOf('small', 1),
      outputs: [record(features, 'small'), record(features, Buffer.alloc(3e6))],
    };
    const code = 'KAFKA_RECORD_TOO_LARGE';
    await expect(writer.commit(commit)).rejects.toMatchObject({ code, exitCode: 4 });
    await expect(writer.commit(commitOf('next', 1))).rejects.toMatchObject({ code });
    const next = await log.openWriter(log.taskId);
    expect(await outcome(log, next)).toEqual({ values: [], committed: undefined });
    const metadata = (): string => 'm'.repeat(4_097);
    await expect(next.commit({ ...commitOf('a', 1), metadata })).rejects.toMatchObject({ code: 'INTERNAL' });
    await next.commit(commitOf('b', 1));
    expect(await outcome(log, next)).toMatchObject({ values: ['b'] });
    await log.close();
  });
});

/** Uses everything that opens a connection or sets a timer, and leaves a writer open. */
const LIFE = `
  const { openKafkaLog } = await import(${JSON.stringify(fileURLToPath(new URL('../src/log/kafka.ts', import.meta.url)))});
  const { loadConfig } = await import(${JSON.stringify(fileURLToPath(new URL('../src/base/config.ts', import.meta.url)))});
  const { createLogger } = await import(${JSON.stringify(fileURLToPath(new URL('../src/base/logger.ts', import.meta.url)))});
  const { appId, brokers } = JSON.parse(process.env.LOG);
  const config = loadConfig({ env: {}, flags: { appId, brokers, registry: 'http://unused' }, cwd: '/' });
  const log = openKafkaLog(config, createLogger('warn'), { topicPrefix: appId + '.' });
  const at = { topic: 'sequence-features', partition: 0 };
  const record = { ...at, timestampMs: 1, key: Buffer.from('k'), value: Buffer.from('v') };
  await log.append([record]);
  const writer = await log.openWriter(appId + '-user-actions-0');
  await writer.commit({ outputs: [record], offsets: [{ input: at, offset: 1 }], metadata: () => '' });
  const read = await log.read(at, 0, { maxRecords: 1, maxBytes: 1e6 });
  void log.waitForRecords([{ at, offset: 3 }], 600_000);
  await log.waitForRecords([{ at: { ...at, partition: 1 }, offset: 0 }], 300);
  console.log(read.length, await log.endOffset(at), (await writer.committed(at)).offset);
  await log.close();
`;

test('a process that has closed its log ends by itself, and nothing is said on stderr', async () => {
  const log = await openTestLog();
  await log.close();
  const { appId, brokers } = log;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', LIFE], {
    env: { ...process.env, LOG: JSON.stringify({ appId, brokers }) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].on('data', (text: Buffer) => (output[name] += text.toString()));
  }
  const [exitCode] = (await once(child, 'close')) as [number];
  // The record, the committed record and its marker.
  expect({ exitCode, ...output }).toEqual({ exitCode: 0, stdout: '1 3 1\n', stderr: '' });
});
