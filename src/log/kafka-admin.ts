/** kafkajs's admin client, open for one job; its errors as ours. */
import kafkajs, { type Admin } from 'kafkajs';
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { kafkaConfig } from './kafka-connection.ts';
import { kafkaError } from './kafka-errors.ts';

/** About two seconds: somebody waits for the answer. */
const RETRY = { retries: 4, initialRetryTime: 100, maxRetryTime: 1_000 };

export async function withAdmin<T>(
  config: Pick<Config, 'brokers' | 'kafka'>,
  logger: Logger,
  run: (admin: Admin) => Promise<T>,
): Promise<T> {
  // kafkajs warns of what is asked on purpose here: of topics that may be absent.
  const quiet = logger.child({}, { level: logger.isLevelEnabled('debug') ? logger.level : 'error' });
  const admin = new kafkajs.Kafka({ ...kafkaConfig(config, quiet), retry: RETRY }).admin();
  try {
    await admin.connect();
    return await run(admin);
  } catch (error) {
    throw kafkaError(error, config.brokers.join(', '));
  } finally {
    await admin.disconnect();
  }
}
