/** The topics that a measured job writes: emptied before it, counted after it. */
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs, { type Admin } from 'kafkajs';
import { loadConfig } from '../src/base/config.ts';
import { createLogger } from '../src/base/logger.ts';
import { records } from '../src/log/newest.ts';
import { Deployment } from '../src/run/deployment.ts';
import type { Cluster } from './kafka-job.ts';

export interface Written {
  readonly records: number;
  /** Of the values. */
  readonly bytes: number;
  readonly transactions: number;
}

/** Removes topics and waits until they are gone. */
export const removeTopics = (brokers: string, topics: readonly string[]): Promise<void> =>
  withAdmin(brokers, async (admin) => {
    const existing = await admin.listTopics();
    const removed = topics.filter((topic) => existing.includes(topic));
    if (removed.length > 0) await admin.deleteTopics({ topics: removed });
    while ((await admin.listTopics()).some((topic) => removed.includes(topic))) await sleep(100);
  });

export const createTopic = (brokers: string, topic: string, numPartitions: number): Promise<void> =>
  withAdmin(brokers, async (admin) => {
    await admin.createTopics({ topics: [{ topic, numPartitions }], waitForLeaders: true });
  });

/** Reads topics whole, as their consumers do. */
export async function written(cluster: Cluster, dataDir: string, topics: readonly string[]): Promise<Written[]> {
  const { brokers, registry } = cluster;
  const config = loadConfig({ env: {}, flags: { brokers, registry, dataDir }, cwd: process.cwd() });
  const deployment = await Deployment.open(config, createLogger('warn'));
  try {
    const sums: Written[] = [];
    for (const topic of topics) sums.push(await writtenTo(deployment, topic));
    return sums;
  } finally {
    await deployment.close();
  }
}

async function writtenTo({ log, config }: Deployment, topic: string): Promise<Written> {
  const sum = { records: 0, bytes: 0, transactions: 0 };
  for (let partition = 0; partition < config.partitions; partition += 1) {
    const at = { topic, partition };
    let next = await log.startOffset(at);
    for await (const { offset, value } of records(log, at, next, await log.endOffset(at))) {
      sum.records += 1;
      sum.bytes += value?.length ?? 0;
      // A transaction ends with a marker, which takes an offset and is not shown; an aborted one is not shown whole.
      if (offset > next) sum.transactions += 1;
      next = offset + 1;
    }
    if (next > 0) sum.transactions += 1;
  }
  return sum;
}

async function withAdmin<T>(brokers: string, use: (admin: Admin) => Promise<T>): Promise<T> {
  const clientId = 'freshet-bench';
  const admin = new kafkajs.Kafka({
    clientId,
    brokers: brokers.split(','),
    logLevel: kafkajs.logLevel.NOTHING,
  }).admin();
  await admin.connect();
  try {
    return await use(admin);
  } finally {
    await admin.disconnect();
  }
}
