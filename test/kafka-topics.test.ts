/** Declared and actual topics on a real broker: what differs, what is changed, what is refused. */
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs, { type Admin, type Kafka } from 'kafkajs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig, type Config } from '../src/base/config.ts';
import type { FreshetError } from '../src/base/errors.ts';
import { createLogger } from '../src/base/logger.ts';
import type { LocalKafka } from '../src/local-kafka/local-kafka.ts';
import { isAccepted, topicSettings, type TopicSetting } from '../src/log/kafka-topic-settings.ts';
import { applyTopics, checkTopics, planTopics, type TopicPlan } from '../src/log/kafka-topics.ts';
import { declareTopics } from '../topics/index.ts';
import { freshet, logLines, succeed, type CliResult } from './support/cli.ts';
import { startOwnKafka } from './support/kafka.ts';
import { tempDir } from './support/temp-dir.ts';

const PARTITIONS = 2;
const NO_LIMIT = '9223372036854775807';
const NAMES = declareTopics(PARTITIONS).map(({ name }) => name);
const logger = createLogger('silent');

let kafka: LocalKafka;
let admin: Admin;
let client: Kafka;

beforeAll(async () => {
  kafka = await startOwnKafka();
  client = new kafkajs.Kafka({ brokers: [...kafka.brokers], logLevel: kafkajs.logLevel.NOTHING });
  admin = client.admin();
  await admin.connect();
}, 240_000);

afterAll(() => admin.disconnect());

beforeEach(async () => {
  for (;;) {
    const existing = (await admin.listTopics()).filter((name) => !name.startsWith('__'));
    if (existing.length === 0) break;
    // One that is on its way out already is unknown.
    await admin.deleteTopics({ topics: existing }).catch(() => undefined);
    await sleep(50);
  }
});

const config = (keys: object = {}): Config =>
  loadConfig({
    env: {},
    flags: { brokers: kafka.brokers, registry: 'http://127.0.0.1:9', partitions: PARTITIONS, ...keys },
    cwd: tempDir(),
  });

const topics = (command: string, ...flags: string[]): Promise<CliResult> =>
  freshet([
    ...['topics', command, `--brokers=${kafka.brokers[0]}`, '--registry=http://127.0.0.1:9'],
    ...[`--partitions=${PARTITIONS}`, ...flags],
  ]);

interface Result {
  readonly equal: boolean;
  readonly topics: readonly TopicPlan[];
  readonly done?: readonly { topic: string; what: string }[];
}

async function json(command: string, ...flags: string[]): Promise<Result & { exitCode: number | null }> {
  const { stdout, exitCode } = await topics(command, '--json', ...flags);
  expect(stdout.trimEnd().split('\n')).toHaveLength(1);
  return { ...(JSON.parse(stdout) as Result), exitCode };
}

/** As the commands do it, without the time that a process takes to start. */
async function plan(keys: object = {}): Promise<Pick<Result, 'topics'>> {
  return { topics: await planTopics(admin, config(keys)) };
}

async function apply(keys: object = {}): Promise<Pick<Result, 'topics'>> {
  return { topics: await applyTopics(admin, config(keys), (await plan(keys)).topics) };
}

/** What a topic has, from the broker. */
async function settingsOf(topic: string): Promise<Record<string, string>> {
  const resources = [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic }];
  const described = await admin.describeConfigs({ includeSynonyms: false, resources });
  return Object.fromEntries(described.resources[0]!.configEntries.map((each) => [each.configName, each.configValue]));
}

async function alter(topic: string, settings: Record<string, string>): Promise<void> {
  const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }));
  const resources = [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configEntries }];
  await admin.alterConfigs({ validateOnly: false, resources });
  // The broker learns of it from the controller.
  for (let has = await settingsOf(topic); Object.entries(settings).some(([name, value]) => has[name] !== value);) {
    await sleep(10);
    has = await settingsOf(topic);
  }
}

async function write(topic: string, timestampMs: number): Promise<void> {
  const producer = client.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
  await producer.connect();
  await producer.send({ topic, messages: [{ key: 'k', value: 'v', timestamp: String(timestampMs) }] });
  await producer.disconnect();
}

const differencesOf = (result: Pick<Result, 'topics'>, topic: string) =>
  result.topics.find((each) => each.topic === topic)!.differences;

describe('freshet topics', () => {
  it('plan names what is absent and changes nothing; apply creates it; plan then finds all as declared', async () => {
    const before = await topics('plan');
    expect(before.exitCode).toBe(4);
    for (const name of NAMES) expect(before.stdout).toMatch(new RegExp(`^${name} +absent: apply creates it$`, 'm'));
    expect(logLines(before)).toMatchObject([{ code: 'TOPIC_CONFIG' }]);
    expect(await admin.listTopics()).toEqual([]);

    const applied = await json('apply');
    expect(applied.exitCode).toBe(0);
    expect(applied.done).toEqual(NAMES.map((topic) => ({ topic, what: 'created' })));
    expect((await admin.listTopics()).sort()).toEqual([...NAMES].sort());

    const after = await json('plan');
    const expected = NAMES.map((topic) => ({ topic, state: 'as declared', differences: [] }));
    expect(after).toEqual({ equal: true, topics: expected, exitCode: 0 });
    expect((await json('apply')).done).toEqual([]);
  });

  it('apply creates topics with every declared setting and count', async () => {
    await apply({ kafkaMinInsyncReplicas: 1 });
    for (const declared of declareTopics(PARTITIONS)) {
      const { topics: found } = await admin.fetchTopicMetadata({ topics: [declared.name] });
      expect(found[0]!.partitions).toHaveLength(declared.partitions);
      const wanted = topicSettings(declared, config({ kafkaMinInsyncReplicas: 1 }));
      const names = wanted.map(({ name }) => name);
      expect(names).toContain('min.insync.replicas');
      expect(names.filter((name) => name === 'delete.retention.ms')).toHaveLength(
        declared.cleanup === 'compact' ? 1 : 0,
      );
      expect(await settingsOf(declared.name)).toMatchObject(
        Object.fromEntries(wanted.map(({ name, value }) => [name, value])),
      );
    }
    expect(await settingsOf('sequence-features')).toMatchObject({
      'cleanup.policy': 'compact',
      'min.compaction.lag.ms': '3600000',
      'delete.retention.ms': '604800000',
    });
  });

  it('apply changes back what was changed, and leaves what is the operator’s', async () => {
    await apply();
    await alter('sequence-features', { 'cleanup.policy': 'compact,delete', 'retention.ms': '1000', 'flush.ms': '777' });
    await alter('user-actions', { 'cleanup.policy': 'delete', 'retention.ms': '60000', 'retention.bytes': '5000' });

    const found = await json('plan');
    expect(found).toMatchObject({ equal: false, exitCode: 4 });
    expect(found.topics.filter(({ state }) => state === 'different').map(({ topic }) => topic)).toEqual([
      'user-actions',
      'sequence-features',
    ]);
    expect(differencesOf(found, 'user-actions')).toContainEqual(
      { setting: 'retention.ms', actual: '60000', declared: '-1', accepted: '-1', remedy: null }, //
    );
    expect(differencesOf(found, 'sequence-features').map(({ setting }) => setting)).toContain('cleanup.policy');

    const applied = await topics('apply');
    expect(applied.exitCode).toBe(0);
    expect(applied.stdout).toContain('user-actions: retention.ms changed from 60000 to -1\n');
    expect(await settingsOf('sequence-features')).toMatchObject({
      'cleanup.policy': 'compact',
      'flush.ms': '777',
      'message.timestamp.after.max.ms': NO_LIMIT,
    });
    expect((await plan()).topics.every(({ state }) => state === 'as declared')).toBe(true);
  });

  it('another number of partitions is refused with the remedy, and the rest applied', async () => {
    await apply();
    await admin.createPartitions({ topicPartitions: [{ topic: 'action-history', count: 3 }] });
    await alter('user-embeddings', {});

    const applied = await json('apply');
    expect(applied).toMatchObject({ equal: false, exitCode: 4 });
    expect(applied.done!.map(({ topic }) => topic)).toContain('user-embeddings');
    expect(applied.topics.filter(({ state }) => state !== 'as declared')).toMatchObject([
      {
        topic: 'action-history',
        differences: [
          {
            setting: 'partitions',
            actual: '3',
            declared: '2',
            remedy: expect.stringContaining('set `partitions`') as string,
          },
        ],
      },
    ]);
    const [line] = logLines(await topics('plan'));
    expect(line).toMatchObject({ code: 'TOPIC_CONFIG' });
    expect(line!.msg).toContain('action-history: partitions is 3, not 2');
    expect(line!.remedy).toContain('Users would move to other partitions');
  });

  it('whose clock records carry is changed while a topic is empty only', async () => {
    await apply();
    const timestamps = { setting: 'message.timestamp.type', actual: 'LogAppendTime', declared: 'CreateTime' };
    for (const topic of ['ranking-features', 'sequence-features']) {
      await alter(topic, { 'message.timestamp.type': 'LogAppendTime' });
    }
    await write('sequence-features', Date.now());
    const found = await plan();
    expect(differencesOf(found, 'ranking-features')).toContainEqual({
      ...timestamps,
      accepted: 'CreateTime',
      remedy: null,
    });

    const applied = await apply();
    expect(differencesOf(applied, 'ranking-features')).toEqual([]);
    expect(differencesOf(applied, 'sequence-features')).toMatchObject([
      { ...timestamps, remedy: expect.stringContaining('delete the topic') as string },
    ]);
    expect((await settingsOf('sequence-features'))['message.timestamp.type']).toBe('LogAppendTime');
  });

  it('an operator may choose the broker’s clock for user-actions, and longer retention', async () => {
    await apply();
    const { 'message.timestamp.after.max.ms': ahead, ...more } = await settingsOf('user-actions');
    expect(ahead).toBe('3600000');
    await alter('user-actions', {
      ...{ 'message.timestamp.type': 'LogAppendTime', 'retention.ms': more['retention.ms']! },
      ...{ 'message.timestamp.after.max.ms': '1000' },
    });
    await alter('rejected-actions', { 'message.timestamp.type': 'LogAppendTime', 'retention.ms': '-1' });
    const found = await plan();
    expect(differencesOf(found, 'user-actions')).toEqual([]);
    expect(differencesOf(found, 'rejected-actions').map(({ setting }) => setting)).not.toContain('retention.ms');
  });

  it('replicas are compared once the configuration names a number', async () => {
    await apply();
    const found = await plan({ kafkaReplicationFactor: 3, kafkaMinInsyncReplicas: 2 });
    expect(differencesOf(found, 'user-actions')).toMatchObject([
      {
        setting: 'replicationFactor',
        actual: '1',
        declared: '3',
        remedy: expect.stringContaining('kafka-reassign-partitions') as string,
      },
      {
        setting: 'min.insync.replicas',
        actual: '1',
        accepted: 'at least 2',
        remedy: expect.stringContaining('Nothing could be written') as string,
      },
    ]);
  });

  it('on the embedded log all is as declared, in the same format', async () => {
    const stdout = await succeed(['topics', 'plan', '--json', `--data-dir=${tempDir()}`]);
    const expected = NAMES.map((topic) => ({ topic, state: 'as declared', differences: [] }));
    expect(JSON.parse(stdout)).toEqual({ equal: true, topics: expected });
    expect(await succeed(['topics', 'apply', `--data-dir=${tempDir()}`])).toMatch(/^user-actions +as declared$/m);
  });

  it('brokers that do not answer are named', async () => {
    const result = await freshet(['topics', 'plan', '--brokers=127.0.0.1:9', '--registry=http://127.0.0.1:9']);
    expect([result.exitCode, result.stdout]).toEqual([1, '']);
    expect(logLines(result)).toMatchObject([{ code: 'LOG_UNAVAILABLE' }]);
    expect(result.stderr).toContain('127.0.0.1:9: Connection error: connect ECONNREFUSED');
  }, 60_000);
});

describe('checkTopics', () => {
  it('passes when all is as declared, and throws TOPIC_CONFIG with difference and remedy when not', async () => {
    await apply();
    await checkTopics(config(), logger);
    await alter('user-actions', { 'retention.ms': '86400000' });
    const error = await checkTopics(config(), logger).then(
      () => undefined,
      (thrown: unknown) => thrown as FreshetError,
    );
    expect(error).toMatchObject({ code: 'TOPIC_CONFIG', exitCode: 4 });
    expect(error!.detail).toMatch(/^user-actions: .*retention\.ms is 86400000, not -1$/);
    expect(error!.remedy).toContain('freshet topics apply');
  });
});

describe('what is declared keeps what is old', () => {
  it('user-actions and rejected-actions hold records of years ago, which Kafka deletes elsewhere', async () => {
    await apply();
    const lost = 'default-retention';
    const configEntries = [{ name: 'retention.ms', value: '86400000' }];
    await admin.createTopics({ topics: [{ topic: lost, configEntries }], waitForLeaders: false });
    const in2016 = Date.UTC(2016, 0, 1);
    for (const topic of ['user-actions', 'rejected-actions', lost]) await write(topic, in2016);
    const lowest = async (topic: string): Promise<number> =>
      (await admin.fetchTopicOffsets(topic)).reduce((sum, { low }) => sum + Number(low), 0);
    while ((await lowest(lost)) === 0) await sleep(200);
    expect([await lowest('user-actions'), await lowest('rejected-actions')]).toEqual([0, 0]);
  }, 60_000);
});

describe('values that are accepted', () => {
  const setting = (value: string, accepts: TopicSetting['accepts']): TopicSetting => ({ name: 'x', value, accepts });
  it.each<[TopicSetting, string, boolean]>([
    [setting('-1', 'only the value'), '-1', true],
    [setting('-1', 'only the value'), '5', false],
    [setting('-1', 'at least'), '5', false],
    [setting('5', 'at least'), '-1', true],
    [setting('5', 'at least'), '6', true],
    [setting('5', 'at least'), '4', false],
    [setting('5', 'at most'), '4', true],
    [setting('5', 'at most'), '6', false],
    [setting('5', 'at most'), '-1', false],
    [setting(NO_LIMIT, 'at most'), '9223372036854775806', true],
    [setting('9223372036854775806', 'at most'), NO_LIMIT, false],
    [setting('a', ['b']), 'b', true],
    [setting('a', ['b']), 'c', false],
  ])('%j takes %s: %s', (wanted, actual, accepted) => {
    expect(isAccepted(wanted, actual)).toBe(accepted);
  });
});

describe('plans', () => {
  it('are in the order of the declarations', async () => {
    expect((await planTopics(admin, config())).map(({ topic }) => topic)).toEqual(NAMES);
  });
});
