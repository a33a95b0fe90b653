/** `freshet status` on a real broker: what is committed, how far behind that is, and who serves which partition. */
import { pino } from 'pino';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { loadConfig, type Config } from '../src/base/config.ts';
import { encodeJoinMetadata } from '../src/join/join-metadata.ts';
import type { LocalKafka } from '../src/local-kafka/local-kafka.ts';
import { withAdmin } from '../src/log/kafka-admin.ts';
import { kafkaConfig } from '../src/log/kafka-connection.ts';
import { openKafkaLog, type KafkaLog } from '../src/log/kafka.ts';
import type { TaskWriter } from '../src/log/log.ts';
import { groupOwners } from '../src/observe/group-owners.ts';
import { readStatus, type Status } from '../src/observe/status.ts';
import { GroupMember } from '../src/run/group-member.ts';
import { encodeMetadata } from '../src/task/commit-metadata.ts';
import { layoutOf, stateLayoutHash } from '../state/layout.ts';
import { declareTopics, type TopicName } from '../topics/index.ts';
import { freshet, logLines, succeed } from './support/cli.ts';
import { startOwnKafka } from './support/kafka.ts';
import { tempDir } from './support/temp-dir.ts';

const PARTITIONS = 2;
const APP_ID = 'status-test';
const logger = pino({ level: 'silent' });

let kafka: LocalKafka;
let config: Config;
let log: KafkaLog;
let writer: TaskWriter;

// Status needs no registry: nothing answers there.
const flags = (): string[] => [
  `--brokers=${kafka.brokers[0]}`,
  '--registry=http://127.0.0.1:9',
  `--app-id=${APP_ID}`,
  `--partitions=${PARTITIONS}`,
];
const status = (): Promise<Status> => readStatus(log, config, null);

const record = (topic: TopicName, partition: number) => ({
  topic,
  partition,
  timestampMs: Date.now(),
  key: Buffer.from('u'),
  value: Buffer.from('x'),
});
const records = (topic: TopicName, count: number) => Array.from({ length: count }, () => record(topic, 1));

/** A commit of the features task of partition 1. */
const commit = (offset: number, features: number): Promise<void> =>
  writer.commit({
    outputs: records('sequence-features', features),
    offsets: [{ input: { topic: 'user-actions', partition: 1 }, offset }],
    metadata: () =>
      encodeMetadata({
        featuresEnd: 0,
        historyEnd: 0,
        rejectedEnd: 0,
        featuresStart: 0,
        activation: { version: '2026-01-02', rowCount: 1, contentHash: 'c', space: 's' },
        layout: stateLayoutHash(layoutOf(config)),
        counts: {},
      }),
  });

beforeAll(async () => {
  kafka = await startOwnKafka();
  config = loadConfig({
    env: {},
    flags: { brokers: kafka.brokers, registry: 'http://127.0.0.1:9', appId: APP_ID, partitions: PARTITIONS },
    cwd: tempDir(),
  });
}, 240_000);

describe('before there are topics', () => {
  it('it says which one is missing and how to get it', async () => {
    const result = await freshet(['status', ...flags()]);
    expect([result.exitCode, result.stdout]).toEqual([2, '']);
    expect(logLines(result).at(-1)).toMatchObject({
      code: 'UNKNOWN_TOPIC',
      remedy: expect.stringContaining('topics apply') as string,
    });
  });
});

describe('the status', () => {
  beforeAll(async () => {
    log = openKafkaLog(config, logger);
    await log.createTopics(declareTopics(PARTITIONS));
    await log.append(records('user-actions', 10));
    writer = await log.openWriter(`${APP_ID}-user-actions-1`);
    await commit(7, 4);
    // A commit is decided before its markers are written, and seen by others some milliseconds after that.
    const input = { topic: 'user-actions', partition: 1 };
    await vi.waitUntil(async () => (await log.committed(APP_ID, input))?.offset === 7, 10_000);
    return () => log.close();
  }, 120_000);

  it('is what is committed, and what there is to read', async () => {
    const { partitions } = await status();
    expect(partitions[0]!.features).toMatchObject({ committed: null, end: 0, lag: 0, itemVersion: null });
    expect(partitions[1]!.features).toMatchObject({ committed: 7, end: 10, lag: 3, itemVersion: '2026-01-02' });
    expect(partitions[1]!.features.layout).toBe(stateLayoutHash(layoutOf(config)));
    expect(partitions.map(({ owner }) => owner)).toEqual([null, null]);
  });

  it('counts no marker of a transaction as something to read', async () => {
    const at = { topic: 'sequence-features', partition: 1 } as const;
    // Four records, then the marker of their commit.
    const end = await log.endOffset(at);
    expect(end).toBeGreaterThan(4);
    expect((await status()).partitions[1]!.join.features).toEqual({ committed: null, end, lag: end });
    const join = await log.openWriter(`${APP_ID}-join-1`);
    await join.commit({
      outputs: [],
      offsets: [
        { input: at, offset: 4 },
        { input: { topic: 'user-embeddings', partition: 1 }, offset: 0 },
      ],
      metadata: () => encodeJoinMetadata({ rankingEnd: 0, rankingStart: 0, layout: 'l', counts: {} }),
    });
    await join.close();
    await expect.poll(async () => (await status()).partitions[1]!.join.features).toEqual({ committed: 4, end, lag: 0 });
  });

  it('fences nobody', async () => {
    await status();
    await commit(8, 1);
    await expect.poll(async () => (await status()).partitions[1]!.features.committed).toBe(8);
  });

  it('names the member of the group that serves each partition', async () => {
    const leave = new AbortController();
    const members = [0, 1].map((worker) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const member = new GroupMember({
        cluster: {
          kafka: kafkaConfig({ ...config, kafka: { ...config.kafka, clientId: `worker-${worker}` } }, logger),
          logger,
          topicPrefix: '',
          patienceMs: 5_000,
        },
        groupId: APP_ID,
        topics: ['user-actions', 'sequence-features', 'user-embeddings'],
        partitions: PARTITIONS,
        sessionTimeoutMs: 10_000,
        heartbeatIntervalMs: 200,
        logger,
      });
      const ended = member.run(({ partitions }) => {
        if (partitions.length === 1) resolve();
      }, leave.signal);
      return { served: promise, ended };
    });
    try {
      await Promise.all(members.map(({ served }) => served));
      await expect
        .poll(() => withAdmin(config, logger, (admin) => groupOwners(admin, APP_ID)), { timeout: 20_000 })
        .toMatchObject({ state: 'Stable', byPartition: { size: PARTITIONS } });
      const { group, partitions } = JSON.parse(await succeed(['status', '--json', ...flags()])) as Status;
      expect(group).toBe('Stable');
      expect(partitions.map(({ owner }) => owner!.clientId).sort()).toEqual(['worker-0', 'worker-1']);
      expect(partitions[0]!.owner).toMatchObject({
        host: '127.0.0.1',
        memberId: expect.stringMatching(/^worker-/) as string,
      });
      const table = await succeed(['status', ...flags()]);
      expect(table).toContain(`${APP_ID}: ${PARTITIONS} partitions, 2 records to go, group Stable`);
      for (const { owner } of partitions) expect(table).toContain(`${owner!.memberId} (127.0.0.1)`);
    } finally {
      leave.abort();
      await Promise.all(members.map(({ ended }) => ended));
    }
  });

  it('of another application is empty: its offsets are its own', async () => {
    const json = await succeed(['status', '--json', ...flags(), '--app-id=another']);
    const { group, partitions } = JSON.parse(json) as Status;
    expect(group).toMatch(/^(Empty|Dead)$/);
    expect(partitions.map(({ owner }) => owner)).toEqual([null, null]);
    expect(partitions[1]!.features).toMatchObject({ committed: null, end: 10, lag: 10 });
  });
});
