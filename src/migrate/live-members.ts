/** Whether an application is at work: what moves its state must not meet it. */
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { FreshetError } from '../base/errors.ts';
import { withAdmin } from '../log/kafka-admin.ts';

/**
 * Throws APP_LIVE if the consumer group of the application has members, and what asking throws: not to know is not to go
 * on. Without brokers the lock on the data folder has told already.
 */
export async function refuseLiveMembers(config: Config, logger: Logger): Promise<void> {
  if (config.brokers.length === 0) return;
  const { groups } = await withAdmin(config, logger, (admin) => admin.describeGroups([config.appId]));
  const members = groups[0]?.members ?? [];
  if (members.length === 0) return;
  const hosts = new Set(members.map(({ clientHost }) => clientHost.replace(/^\//, '')));
  throw new FreshetError(
    'APP_LIVE',
    `group ${config.appId} has ${members.length} members, on ${[...hosts].join(', ')}`,
  );
}
