/** A reset on a real broker: refused while a worker is live, and then what an embedded run of the same input gives. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { refuseLiveMembers } from '../src/migrate/live-members.ts';
import { migrateInPlace } from '../src/migrate/migrate.ts';
import type { ResetOwner } from '../src/migrate/reset-plan.ts';
import { resetApplication } from '../src/migrate/reset.ts';
import { Deployment } from '../src/run/deployment.ts';
import { createSnapshot } from '../src/snapshot/create.ts';
import { FeatureTask } from '../src/task/feature-task.ts';
import { embeddedOutcome, kafkaOutcome } from './support/chaos/audit.ts';
import { layoutOf } from '../state/layout.ts';
import { StateCodec } from '../state/state-codec.ts';
import { codeOf } from './support/error-code.ts';
import { KafkaJob } from './support/kafka-job.ts';
import { kafkaClient, openTestLog } from './support/kafka-log.ts';

const onProgress = (): void => undefined;
let job: KafkaJob;

beforeAll(async () => {
  job = await KafkaJob.open({ partitions: 2 });
  await job.append(300);
});

afterAll(() => job.close());

it('goes back to a snapshot of live topics, and on to what an undisturbed run gives', async () => {
  const { deployment } = job;
  await job.run();
  const { manifest } = await createSnapshot(deployment, { onProgress });
  await job.append(300);
  await job.run();
  const states = await job.states();

  const offset = Math.max(...manifest.features.map((each) => each.offset));
  const loadScorer = () => Promise.resolve(job.scorer);
  const storeFolder = deployment.storeFolder.bind(deployment);
  const resets = await resetApplication({ ...deployment, storeFolder, loadScorer }, { target: { offset }, onProgress });
  expect(resets).toMatchObject(
    manifest.features.map(({ partition, offset: to }) => ({ partition, to, snapshot: manifest.name, generation: 1 })),
  );
  expect(Math.min(...resets.map(({ written }) => written))).toBeGreaterThan(0);
  await job.run();
  expect(await job.states()).toEqual(states);
  const { rejected, ...found } = await kafkaOutcome(deployment);
  const expected = await embeddedOutcome(deployment, job.scorer);
  expect(found).toMatchObject({
    ...{ counts: expected.counts, features: expected.features, history: expected.history },
    ranking: expected.ranking,
  });
  // What was written once more is the same.
  expect([...new Set(rejected)].sort()).toEqual(expected.rejected.toSorted());
});

it('is refused while the group has a member', async () => {
  const { config, logger } = job.deployment;
  expect(await codeOf(refuseLiveMembers(config, logger))).toBe('fine');
  const consumer = kafkaClient(config.brokers).consumer({ groupId: config.appId });
  await consumer.connect();
  try {
    await consumer.subscribe({ topic: job.log.topicName('user-actions') });
    const joined = new Promise((resolve) => consumer.on('consumer.group_join', resolve));
    await consumer.run({ autoCommit: false, eachMessage: () => Promise.resolve() });
    await joined;
    expect(await codeOf(refuseLiveMembers(config, logger))).toBe('APP_LIVE');
  } finally {
    await consumer.disconnect();
  }
  expect(await codeOf(refuseLiveMembers(config, logger))).toBe('fine');
});

it('hands the topics to a new application, which goes on as if it had run from the beginning', async () => {
  const { log, deployment, scorer } = job;
  const { config, logger, codec } = deployment;
  const appId = `${config.appId}-next`;
  const nextLog = await openTestLog({ appId, topicPrefix: log.topicName(''), partitions: 2 });
  const sequences = [{ ...config.sequences[0]!, windowSize: 50 }];
  const next = new Deployment({ ...config, appId, sequences }, logger, nextLog, codec);
  const owner = (of: Deployment): ResetOwner => ({
    ...of,
    storeFolder: of.storeFolder.bind(of),
    loadScorer: () => Promise.resolve(scorer),
  });
  try {
    await migrateInPlace({ from: owner(deployment), to: owner(next), isDryRun: false, onProgress });
    expect(await codeOf(job.run())).toBe('APP_MOVED');
    await job.append(100);
    for (let partition = 0; partition < config.partitions; partition += 1) {
      const storeFolder = next.storeFolder('user-actions', partition);
      const task = new FeatureTask({ ...next, scorer, partition, storeFolder });
      await task.start();
      while ((await task.step()).records > 0);
      await task.close();
    }
    const [found, expected] = [await kafkaOutcome(next), await embeddedOutcome(next, scorer)];
    // Windows decide which actions come too late: of these users nothing can be said.
    const stateCodec = new StateCodec(layoutOf(next.config));
    const isOnTime = (body: string): boolean => stateCodec.decode(Buffer.from(body, 'hex')).envelope.late === 0;
    const onTime = [...found.features].filter(
      ([user, body]) => isOnTime(body) && isOnTime(expected.features.get(user)!),
    );
    expect(onTime.length).toBeGreaterThan(0.9 * expected.features.size);
    expect(found.features.size).toBe(expected.features.size);
    for (const [user, body] of onTime) expect([user, body]).toEqual([user, expected.features.get(user)]);
  } finally {
    await nextLog.close();
  }
});
