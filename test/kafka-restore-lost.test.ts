/**
 * Starts of whole tasks that need a person, on a real broker: what the log has lost is never skipped or reset silently,
 * and the remedies that are told are enough.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs, { type Admin } from 'kafkajs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ErrorCode } from '../src/base/errors.ts';
import { ERRORS } from '../src/base/errors.ts';
import { records } from '../src/log/newest.ts';
import type { TopicName } from '../topics/index.ts';
import { KafkaJob } from './support/kafka-job.ts';
import { kafkaClient } from './support/kafka-log.ts';
import { kafkaForTests } from './support/kafka.ts';

const OUTPUTS: readonly TopicName[] = ['sequence-features', 'action-history', 'rejected-actions', 'ranking-features'];
const at = (topic: TopicName) => ({ topic, partition: 0 });

let admin: Admin;
let job: KafkaJob;

beforeAll(async () => {
  admin = kafkaClient(kafkaForTests().brokers).admin();
  await admin.connect();
});
afterAll(() => admin.disconnect());

beforeEach(async () => {
  job = await KafkaJob.open();
  await job.append(150);
  await job.run();
});
afterEach(() => job.close());

/** Removes the records before an offset. */
async function deleteRecords(topic: TopicName, offset: number): Promise<void> {
  const name = job.log.topicName(topic);
  // Of a topic that is only compacted the broker deletes nothing on demand; what is not set here is reset.
  const configEntries = Object.entries({ 'cleanup.policy': 'delete', 'retention.ms': '-1' });
  const resources = [{ type: kafkajs.ConfigResourceTypes.TOPIC, name, configEntries: configEntries.map(named) }];
  await admin.alterConfigs({ validateOnly: false, resources });
  // kafkajs deletes only where it has looked before.
  await admin.fetchTopicMetadata({ topics: [name] });
  const partitions = [{ partition: 0, offset: `${offset}` }];
  // The broker answers before the new policy has reached the log itself.
  await vi.waitFor(() => admin.deleteTopicRecords({ topic: name, partitions }), { timeout: 10_000, interval: 50 });
  expect(await job.log.startOffset(at(topic))).toBe(offset);
}

const named = ([name, value]: [string, string]) => ({ name, value });

async function deleteTopics(...topics: TopicName[]): Promise<void> {
  const names = topics.map((topic) => job.log.topicName(topic));
  await admin.deleteTopics({ topics: names });
  while ((await admin.listTopics()).some((name) => names.includes(name))) await sleep(50);
}

/** Makes a topic again, and another process that works on it. */
async function remade(topic: TopicName): Promise<KafkaJob> {
  await deleteTopics(topic);
  return KafkaJob.open({ on: job, appId: job.log.appId });
}

/** Each kind of task that is named cannot start, and says why; the others can. */
async function expectStarts(expected: { features?: object; join?: object }, of = job): Promise<void> {
  const before = await written(of);
  for (const kind of ['features', 'join'] as const) {
    const task = kind === 'features' ? of.featuresTask() : of.joinTask();
    const error = expected[kind];
    if (error === undefined) await task.start();
    else await expect(task.start()).rejects.toMatchObject(error);
    await task.close();
  }
  expect(await written(of)).toEqual(before);
}

/** Records of each output. Not its end, which the marker of an aborted transaction moves when it comes. */
const written = ({ log }: KafkaJob): Promise<number[]> =>
  Promise.all(
    OUTPUTS.map(async (topic) => {
      const [from, to] = [await log.startOffset(at(topic)), await log.endOffset(at(topic))];
      return (await Array.fromAsync(records(log, at(topic), from, to))).length;
    }),
  );

const refusal = (code: ErrorCode, topic: TopicName, detail: RegExp): object => ({
  code,
  exitCode: 4,
  position: expect.objectContaining(at(topic)) as object,
  detail: expect.stringMatching(detail) as string,
  remedy: ERRORS[code].remedy,
});

/** What the remedies say: all is computed again from the input, under another app id and into new topics. */
async function expectComputedAgain(): Promise<void> {
  await deleteTopics(...OUTPUTS);
  const again = await KafkaJob.open({ on: job });
  await again.run();
  await again.expectAsEmbedded();
  await again.close();
}

describe('outputs', () => {
  it('that were emptied stop the task that is restored from them, whatever its store holds', async () => {
    const [features, ranking] = [
      await job.log.endOffset(at('sequence-features')),
      await job.log.endOffset(at('ranking-features')),
    ];
    await deleteRecords('sequence-features', features);
    await deleteRecords('ranking-features', ranking);
    const expected = {
      features: refusal('OUTPUT_TRUNCATED', 'sequence-features', /^it begins at \d+, but was written from 0 on$/),
      join: refusal('OUTPUT_TRUNCATED', 'ranking-features', /^it begins at \d+, but was written from 0 on$/),
    };
    await expectStarts(expected);
    const bare = await KafkaJob.open({ on: job, appId: job.log.appId });
    await expectStarts(expected, bare);
    await bare.close();
    await expectComputedAgain();
  });

  it.each([
    ['sequence-features', 'features'],
    ['ranking-features', 'join'],
  ] as const)('of which %s was made again stop their task, also while it runs', async (topic, kind) => {
    const task = kind === 'features' ? job.featuresTask() : job.joinTask();
    await task.start();
    const other = await remade(topic);
    await job.append(50);
    const expected = refusal('OUTPUT_TRUNCATED', topic, /^it ends at \d+, committed was \d+$/);
    await job.log.append([job.longTermRecord('user-0')]);
    const untilEnd = async (): Promise<void> => {
      while ((await task.step()).records > 0);
    };
    await expect(untilEnd()).rejects.toMatchObject(expected);
    await task.close();
    // With a topic the broker forgets the offsets of those who read it.
    const orphaned = refusal('FEATURES_ORPHANED', 'ranking-features', /^the topic is not empty$/);
    const expectedStarts = { ...(topic === 'sequence-features' && { join: orphaned }), [kind]: expected };
    for (const process of [job, other]) await expectStarts(expectedStarts, process);
    await other.close();
  });
});

describe('an input', () => {
  it('of which records were removed that are not consumed stops the task', async () => {
    const consumed = await job.log.endOffset(at('user-actions'));
    await job.append(40);
    await deleteRecords('user-actions', consumed + 1);
    const expected = {
      features: refusal(
        'OFFSET_OUT_OF_RANGE',
        'user-actions',
        new RegExp(`^the input holds offsets ${consumed + 1} to`),
      ),
    };
    await expectStarts(expected);
    const bare = await KafkaJob.open({ on: job, appId: job.log.appId });
    await expectStarts(expected, bare);
    await bare.close();
  });

  it('of which those alone were removed that are consumed is gone on with', async () => {
    const consumed = await job.log.endOffset(at('user-actions'));
    const states = await job.states();
    await deleteRecords('user-actions', consumed);
    const bare = await KafkaJob.open({ on: job, appId: job.log.appId });
    expect(await bare.states()).toEqual(states);
    await bare.append(40);
    await bare.run();
    const committed = await bare.log.committed(bare.log.appId, at('user-actions'));
    expect(committed?.offset).toBe(consumed + 40);
    await bare.close();
  });
});

describe('offsets', () => {
  it('that went with an input which was made again stop the task', async () => {
    const other = await remade('user-actions');
    await other.append(40);
    const expected = refusal('FEATURES_ORPHANED', 'sequence-features', /^the topic is not empty$/);
    await expectStarts({ features: expected }, other);
    await other.close();
  });

  it('that have expired stop the tasks', async () => {
    await admin.deleteGroups([job.log.appId]);
    await expectStarts({
      features: refusal('FEATURES_ORPHANED', 'sequence-features', /^the topic is not empty$/),
      join: refusal('FEATURES_ORPHANED', 'ranking-features', /^the topic is not empty$/),
    });
    await expectComputedAgain();
  });
});
