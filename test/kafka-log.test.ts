/** The log on a real Kafka: what the port promises. */
import { pino } from 'pino';
import { loadConfig } from '../src/base/config.ts';
import { openKafkaLog } from '../src/log/kafka.ts';
import { APP, describeLogConformance } from './log-conformance.ts';
import { kafkaForTests, uniqueAppId } from './support/kafka.ts';

const logger = pino({ level: 'silent' });

describeLogConformance('kafka', async () => {
  const { brokers, registry } = kafkaForTests();
  const config = loadConfig({ env: {}, flags: { brokers: [...brokers], registry, appId: APP }, cwd: '/' });
  const topicPrefix = `${uniqueAppId()}.`;
  return { open: async () => openKafkaLog(config, logger, { topicPrefix }), dispose: async () => undefined };
});
