/** Whether an application is at work: what moves its state must not meet it. */
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { FreshetError } from '../base/errors.ts';
import { KafkaCluster } from '../log/kafka-cluster.ts';
import { kafkaConfig } from '../log/kafka-connection.ts';

/** Somebody waits for the answer. */
const PATIENCE_MS = 5_000;

/**
 * Throws APP_LIVE if the consumer group of the application has members, and what asking throws: not to know is not to go
 * on. Without brokers the lock on the data folder has told already.
 */
export async function refuseLiveMembers(config: Config, logger: Logger): Promise<void> {
  if (config.brokers.length === 0) return;
  const members = await membersOf(config, logger);
  if (members.length === 0) return;
  const hosts = new Set(members.map(({ clientHost }) => clientHost.replace(/^\//, '')));
  throw new FreshetError(
    'APP_LIVE',
    `group ${config.appId} has ${members.length} members, on ${[...hosts].join(', ')}`,
  );
}

/** Not by kafkajs's admin, to which a group that it may not describe looks like a broker that is away. */
async function membersOf({ appId, ...config }: Config, logger: Logger) {
  const kafka = kafkaConfig(config, logger);
  const cluster = new KafkaCluster({ kafka, logger, topicPrefix: '', patienceMs: PATIENCE_MS });
  try {
    const { groups } = await cluster.retrying(`group ${appId}`, {}, async () => {
      const coordinator = await cluster.coordinator('group', appId);
      return coordinator.describeGroups({ groupIds: [appId] });
    });
    return groups[0]?.members ?? [];
  } finally {
    await cluster.close();
  }
}
