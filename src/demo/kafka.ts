/** The demo's place on Kafka: a broker of its own or a given one, with the topics as they are declared and empty. */
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { FreshetError } from '../base/errors.ts';
import { withAdmin } from '../log/kafka-admin.ts';
import { applyTopics, checkTopics, planTopics } from '../log/kafka-topics.ts';
import type { Log } from '../log/log.ts';
import { declareTopics } from '../../topics/index.ts';

/** Creates the topics; those that are there must be as they would be created. */
export async function prepareDemoTopics(config: Config, logger: Logger): Promise<void> {
  await withAdmin(config, logger, async (admin) => {
    await applyTopics(admin, config, await planTopics(admin, config));
  });
  await checkTopics(config, logger);
}

/** The demo shows the same every time, so it needs a log without a past; it deletes nothing that may be somebody's. */
export async function refuseUsedTopics(log: Log, { partitions }: Config): Promise<void> {
  for (const { name: topic, partitions: count } of declareTopics(partitions)) {
    for (let partition = 0; partition < count; partition += 1) {
      if ((await log.endOffset({ topic, partition })) === 0) continue;
      throw new FreshetError('USAGE', `${topic} is or was in use`, {
        position: { topic, partition },
        remedy:
          'Give the demo a cluster without the topics of Freshet, or let it start one: --kafka without --brokers.',
      });
    }
  }
}
