/** A replay of a deployment on Kafka: its bytes in topics of their own, and the deployment as if nobody had been there. */
import { describe, expect, it } from 'vitest';
import type { TopicName } from '../topics/index.ts';
import { uniqueAppId } from './support/kafka.ts';
import { KafkaJob } from './support/kafka-job.ts';
import { openTestLog, type TestLog } from './support/kafka-log.ts';
import { newestBodies, replayed, type ReplayOptions } from './support/replayed.ts';

const PARTITIONS = 2;
const OUTPUTS: readonly TopicName[] = ['sequence-features', 'action-history', 'rejected-actions'];
const TIMEOUT_MS = 120_000;

const openTarget = (): Promise<TestLog> => openTestLog({ appId: uniqueAppId('replay'), partitions: PARTITIONS });

function replay({ deployment }: KafkaJob, target: TestLog, options: ReplayOptions = {}) {
  const { config } = deployment;
  return replayed(deployment, target, { config: { ...config, appId: target.appId }, ...options });
}

async function expectSame({ deployment }: KafkaJob, target: TestLog): Promise<void> {
  const { log, codec } = deployment;
  for (const topic of OUTPUTS) {
    const expected = await newestBodies(log, codec, topic, PARTITIONS);
    expect(expected.length).toBeGreaterThan(0);
    expect(await newestBodies(target, codec, topic, PARTITIONS)).toEqual(expected);
  }
}

/** Where each topic ends, and what the application has committed. */
async function standing({ deployment }: KafkaJob) {
  const { log, config } = deployment;
  const found: unknown[] = [];
  for (const [topic, partitions] of await log.topics()) {
    for (let partition = 0; partition < partitions; partition += 1) {
      const at = { topic, partition };
      found.push([topic, partition, await log.endOffset(at), await log.committed(config.appId, at)]);
    }
  }
  return found;
}

describe('a replay on Kafka', () => {
  it(
    'runs beside a live worker: either ends as if it were alone',
    async () => {
      const job = await KafkaJob.open({ partitions: PARTITIONS });
      const target = await openTarget();
      try {
        await job.append(600);
        await job.run({ commits: 2 });
        const live = async (): Promise<void> => {
          await job.append(200);
          await job.run();
        };
        const [beside] = await Promise.all([replay(job, target), live()]);
        expect(beside).toMatchObject({ complete: true });
        await job.expectAsEmbedded();

        const before = await standing(job);
        const rest = await replay(job, target);
        expect(beside.records + rest.records).toBe(800 + PARTITIONS);
        expect(await standing(job)).toEqual(before);
        await expectSame(job, target);
      } finally {
        await target.close();
        await job.close();
      }
    },
    TIMEOUT_MS,
  );

  it(
    'begins in the middle from the features before, and goes on after an interruption',
    async () => {
      const job = await KafkaJob.open({ partitions: PARTITIONS });
      const target = await openTarget();
      try {
        await job.append(600);
        await job.run();
        const before = await standing(job);
        const from = { kind: 'offset', offset: 120 } as const;
        const controller = new AbortController();
        const interrupted = await replay(job, target, {
          ...{ from, signal: controller.signal },
          onProgress: () => {
            controller.abort();
          },
        });
        expect(interrupted.complete).toBe(false);
        const rest = await replay(job, target, { from });
        expect(rest).toMatchObject({ complete: true });
        expect(await standing(job)).toEqual(before);
        const { log, codec } = job.deployment;
        expect(await newestBodies(target, codec, 'sequence-features', PARTITIONS)).toEqual(
          await newestBodies(log, codec, 'sequence-features', PARTITIONS),
        );
      } finally {
        await target.close();
        await job.close();
      }
    },
    TIMEOUT_MS,
  );
});
