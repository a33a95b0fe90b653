/**
 * A broker that denies all that no ACL allows. With the ACLs of its role, as docs/security.md lists them, a user can do
 * what the role does; without any one of them it is refused, and told which one is missing.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs, { type AclEntry, type Admin } from 'kafkajs';
import { pino } from 'pino';
import { beforeAll, afterAll, describe, expect, it } from 'vitest';
import { loadConfig, type Config } from '../src/base/config.ts';
import { FreshetError } from '../src/base/errors.ts';
import { createLogger } from '../src/base/logger.ts';
import type { LocalKafka } from '../src/local-kafka/local-kafka.ts';
import { aclsOf, ROLES, type Acl, type Role } from '../src/log/kafka-acls.ts';
import { withAdmin } from '../src/log/kafka-admin.ts';
import { protocolCode } from '../src/log/kafka-errors.ts';
import { missingAcl } from '../src/log/kafka-missing-acl.ts';
import { applyTopics, checkTopics, planTopics } from '../src/log/kafka-topics.ts';
import { openKafkaLog } from '../src/log/kafka.ts';
import { JoinTask } from '../src/join/join-task.ts';
import type { Log, NewRecord } from '../src/log/log.ts';
import { refuseLiveMembers } from '../src/migrate/live-members.ts';
import { migrateInPlace } from '../src/migrate/migrate.ts';
import type { ResetOwner } from '../src/migrate/reset-plan.ts';
import { resetApplication } from '../src/migrate/reset.ts';
import { Deployment } from '../src/run/deployment.ts';
import { membershipOf } from '../src/run/group-member.ts';
import { createSnapshot } from '../src/snapshot/create.ts';
import { FeatureTask } from '../src/task/feature-task.ts';
import { declareTopics, type TopicName } from '../topics/index.ts';
import { fakeScorer } from './support/fake-scorer.ts';
import { kafkaForTests, startOwnKafka } from './support/kafka.ts';
import { tempDir } from './support/temp-dir.ts';

const APP_ID = 'features';
/** That the application is migrated to, and back. */
const NEXT_ID = 'next';
const PARTITIONS = 1;
const PASSWORD = 'a-password';
const TOPICS = declareTopics(PARTITIONS);
const LIMITS = { maxRecords: 10, maxBytes: 1_000_000 };
const { AclResourceTypes, AclOperationTypes, AclPermissionTypes, ResourcePatternTypes } = kafkajs;
const logger = createLogger('silent');

let kafka: LocalKafka;
let root: Admin;

beforeAll(async () => {
  kafka = await startOwnKafka({
    security: {
      listeners: ['sasl-tls'],
      users: ROLES.map((role) => ({ username: userOf(role), password: PASSWORD })),
      authorizer: true,
    },
  });
  const { brokers, credentials } = kafka.admin;
  root = new kafkajs.Kafka({
    brokers: [...brokers],
    sasl: { mechanism: 'plain', ...credentials! },
    logLevel: kafkajs.logLevel.NOTHING,
  }).admin();
  await root.connect();
  const config = configOf('admin');
  await applyTopics(root, config, await planTopics(root, config));
  for (const role of ROLES) await allow(role, aclsOf(role, APP_ID));
}, 240_000);

afterAll(() => root.disconnect());

/** Not the name of the administrator of the broker, who may do everything. */
const userOf = (role: Role): string => `freshet-${role}`;

const configOf = (role: Role, flags: Record<string, unknown> = {}): Config =>
  loadConfig({
    env: { FRESHET_KAFKA_SASL_PASSWORD: PASSWORD },
    flags: {
      ...{ brokers: kafka.brokers, registry: kafkaForTests().registry, appId: APP_ID, partitions: PARTITIONS },
      ...flags,
      ...{ kafkaTls: true, kafkaTlsCaFile: kafka.tls!.caFile },
      ...{ kafkaSaslMechanism: 'scram-sha-512', kafkaSaslUsername: userOf(role), kafkaSessionTimeoutMs: 10_000 },
    },
    cwd: tempDir(),
  });

async function allow(role: Role, acls: readonly Acl[]): Promise<void> {
  await root.createAcls({ acl: acls.map((acl) => entry(role, acl)) });
  await untilListed(role, acls, true);
}

async function forbid(role: Role, acl: Acl): Promise<void> {
  await root.deleteAcls({ filters: [entry(role, acl)] });
  await untilListed(role, [acl], false);
}

const entry = (role: Role, { resource, name, pattern, operation }: Acl): AclEntry => ({
  principal: `User:${userOf(role)}`,
  host: '*',
  resourceType: { Topic: AclResourceTypes.TOPIC, Group: AclResourceTypes.GROUP, TransactionalId: 5 }[resource],
  resourceName: name,
  resourcePatternType: pattern === 'prefixed' ? ResourcePatternTypes.PREFIXED : ResourcePatternTypes.LITERAL,
  operation: {
    ...{ Read: AclOperationTypes.READ, Write: AclOperationTypes.WRITE, Create: AclOperationTypes.CREATE },
    ...{ Describe: AclOperationTypes.DESCRIBE, DescribeConfigs: AclOperationTypes.DESCRIBE_CONFIGS },
    AlterConfigs: AclOperationTypes.ALTER_CONFIGS,
  }[operation],
  permissionType: AclPermissionTypes.ALLOW,
});

/** The broker's authorizer learns of a change a moment after the controller has taken it. */
async function untilListed(role: Role, acls: readonly Acl[], listed: boolean): Promise<void> {
  for (const acl of acls) {
    while ((await root.describeAcls(entry(role, acl))).resources.length > 0 !== listed) await sleep(10);
  }
}

const record = (topic: TopicName): NewRecord => ({
  ...{ topic, partition: 0, timestampMs: Date.now(), key: Buffer.from('u'), value: Buffer.from('v') },
});

async function read(log: Log, ...topics: readonly TopicName[]): Promise<void> {
  for (const topic of topics) {
    const at = { topic, partition: 0 };
    await log.endOffset(at);
    await log.read(at, await log.startOffset(at), LIMITS);
  }
}

/** What the commands of each role do with the cluster. */
const WORK: Readonly<Record<Role, (config: Config) => Promise<void>>> = {
  worker: async (config) => {
    await withLog(config, async (log) => {
      await checkTopics(config, logger);
      await joinGroup(config);
      const input = { topic: 'user-actions', partition: 0 };
      const writer = await log.openWriter(`${APP_ID}-user-actions-0`);
      await writer.committed(input);
      await read(log, 'user-actions', 'item-embeddings', 'user-embeddings', 'sequence-features', 'ranking-features');
      await log.endOffset({ topic: 'action-history', partition: 0 });
      await log.endOffset({ topic: 'rejected-actions', partition: 0 });
      const outputs = (
        ['sequence-features', 'action-history', 'rejected-actions', 'ranking-features'] satisfies TopicName[]
      ).map(record);
      await writer.commit({ outputs, offsets: [{ input, offset: 0 }], metadata: () => '{}' });
    });
  },
  loader: async (config) => {
    await withLog(config, async (log) => {
      await read(log, 'user-actions', 'item-embeddings');
      for (const topic of ['user-actions', 'item-embeddings', 'user-embeddings'] satisfies TopicName[]) {
        await log.append([record(topic)]);
      }
    });
  },
  reader: async (config) => {
    await withLog(config, async (log) => {
      await read(log, ...TOPICS.map(({ name }) => name));
      await log.committed(APP_ID, { topic: 'user-actions', partition: 0 });
    });
  },
  mover: async (config) => {
    await refuseLiveMembers(config, logger);
    await withLog(config, async (log) => {
      const inputs = (['user-actions', 'sequence-features', 'user-embeddings'] satisfies TopicName[]).map((topic) => ({
        topic,
        partition: 0,
      }));
      const writer = await log.openWriter(`${APP_ID}-user-actions-0`);
      await writer.committed(inputs[0]!);
      await read(log, 'user-actions', 'item-embeddings', 'sequence-features', 'action-history');
      await log.endOffset({ topic: 'rejected-actions', partition: 0 });
      const outputs = (['sequence-features', 'action-history'] satisfies TopicName[]).map(record);
      await writer.commit({
        outputs,
        offsets: inputs.map((input) => ({ input, offset: 0 })),
        metadata: () => '{}',
      });
    });
  },
  admin: async (config) => {
    for (;;) {
      const existing = (await root.listTopics()).filter((name) => TOPICS.some((topic) => topic.name === name));
      if (existing.length === 0) break;
      // One that is on its way out already is unknown.
      await root.deleteTopics({ topics: existing }).catch(() => undefined);
      await sleep(20);
    }
    await withAdmin(config, logger, async (admin) => {
      await applyTopics(admin, config, await planTopics(admin, config));
      const stricter = { ...config, kafka: { ...config.kafka, minInsyncReplicas: 1 } };
      const plans = await planTopics(admin, stricter);
      // Whatever they are: the change is to be made.
      await applyTopics(
        admin,
        stricter,
        plans.map((plan) => ({ ...plan, state: 'different', differences: [CHANGE] })),
      );
    });
  },
};
const CHANGE = { setting: 'min.insync.replicas', actual: '1', declared: '1', accepted: '1', remedy: null };

async function withLog(config: Config, run: (log: Log) => Promise<void>): Promise<void> {
  const log = openKafkaLog(config, logger);
  try {
    // Each command looks first whether all topics are there.
    for (const { name } of TOPICS) await log.endOffset({ topic: name, partition: 0 });
    await run(log);
  } finally {
    await log.close();
  }
}

async function joinGroup(config: Config): Promise<void> {
  const joined = new AbortController();
  await membershipOf({ config, logger }).run(() => {
    joined.abort();
  }, joined.signal);
}

const failureOf = (role: Role): Promise<FreshetError | undefined> =>
  WORK[role](configOf(role)).then(
    () => undefined,
    (error: unknown) => {
      if (error instanceof FreshetError) return error;
      throw error;
    },
  );

/** Before the others, who write what no application would. */
describe('with the roles that are documented', () => {
  const scorer = fakeScorer();
  const open = (role: Role, flags?: Record<string, unknown>): Promise<Deployment> =>
    Deployment.open(configOf(role, flags), pino({ level: 'silent' }));
  const ownerOf = (deployment: Deployment): ResetOwner => ({
    ...deployment,
    storeFolder: deployment.storeFolder.bind(deployment),
    loadScorer: () => Promise.resolve(scorer),
  });
  const onProgress = (): void => undefined;

  async function work(deployment: Deployment): Promise<void> {
    const storeFolder = (kind: 'user-actions' | 'join'): string => deployment.storeFolder(kind, 0);
    for (const task of [
      new FeatureTask({ ...deployment, scorer, partition: 0, storeFolder: storeFolder('user-actions') }),
      new JoinTask({ ...deployment, partition: 0, storeFolder: storeFolder('join') }),
    ]) {
      await task.start();
      while ((await task.step()).records > 0);
      await task.close();
    }
  }

  it('an application is consumed, kept, set back and handed to another', async () => {
    const [loader, worker, reader, mover] = [
      await open('loader'),
      await open('worker'),
      await open('reader'),
      await open('mover'),
    ];
    const actions = [1, 2, 3].map((at) => {
      const action = { userId: `user-${at}`, itemId: 'i', actionType: 'view', eventTimeMs: at, surface: null };
      const value = loader.codec.encode('user-actions-value', action);
      return { topic: 'user-actions', partition: 0, key: Buffer.from(action.userId), value, timestampMs: at };
    });
    await loader.log.append(actions);
    await work(worker);
    const { manifest } = await createSnapshot(reader, { onProgress });
    expect(manifest.features).toMatchObject([{ partition: 0, offset: actions.length }]);
    await refuseLiveMembers(mover.config, logger);
    const resets = await resetApplication(ownerOf(mover), { target: { offset: 0 }, onProgress });
    expect(resets).toMatchObject([{ from: actions.length, to: 0, removed: actions.length }]);
    await work(worker);

    await allow('mover', aclsOf('mover', NEXT_ID));
    const next = await open('mover', { appId: NEXT_ID, sequences: [{ name: 'engagement', windowSize: 50 }] });
    const migrated = await migrateInPlace({ from: ownerOf(mover), to: ownerOf(next), isDryRun: false, onProgress });
    expect(migrated).toMatchObject([{ offset: actions.length, users: actions.length }]);
    for (const { log } of [loader, worker, reader, mover, next]) await log.close();
  });
});

describe.each(ROLES)('a user that is a %s', (role) => {
  it('can do its work with the ACLs that are documented', async () => {
    expect(await failureOf(role)).toBeUndefined();
    await (await Deployment.open(configOf(role), logger)).close();
  });

  it.each(aclsOf(role, APP_ID).map((acl) => ({ ...acl, title: `${acl.operation} on ${acl.resource} ${acl.name}` })))(
    'without $title is refused, and told what is missing',
    async (acl) => {
      await forbid(role, acl);
      try {
        const error = await failureOf(role);
        expect(error).toMatchObject({ code: 'KAFKA_AUTHORIZATION', exitCode: 4 });
        const told = missingAcl(protocolCode(error!.cause) ?? '', error!.cause);
        expect(told, error!.message).toMatch(expectation(acl));
        if (acl.resource === 'Topic') expect(`${error!.message}; ${told}`).toContain(acl.name);
      } finally {
        await allow(role, [acl]);
      }
    },
  );
});

/** Read and Write imply Describe, which is asked for first; what is not described looks absent. */
function expectation({ resource, operation }: Acl): RegExp {
  const thing = { Topic: 'on the topics?', Group: 'on the group', TransactionalId: 'on the transactional ids' }[
    resource
  ];
  return new RegExp(`^(${operation}|Describe.*) ${thing}`);
}
