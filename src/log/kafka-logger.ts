/** What kafkajs logs, as lines of our own log with stable codes. */
import { logLevel, type KafkaConfig, type LogEntry } from 'kafkajs';
import type { Logger } from 'pino';

/** By the part of kafkajs that speaks. */
const CODES: Readonly<Record<string, string>> = {
  Connection: 'KAFKA_CONNECTION',
  Broker: 'KAFKA_CONNECTION',
  BrokerPool: 'KAFKA_CONNECTION',
  RequestQueue: 'KAFKA_CONNECTION',
  Cluster: 'KAFKA_CONNECTION',
  SASLPlainAuthenticator: 'KAFKA_AUTHENTICATION',
  SCRAMAuthenticator: 'KAFKA_AUTHENTICATION',
  Consumer: 'KAFKA_MEMBER',
  ConsumerGroup: 'KAFKA_MEMBER',
  Runner: 'KAFKA_MEMBER',
};

/** Nothing else passes: among what kafkajs adds are payloads and stacks. */
const FIELDS = ['broker', 'groupId', 'memberId', 'retryCount', 'retryTime', 'error', 'duration'] as const;

/** An answer that is an error: whoever asked decides what it means. */
const ANSWER = /^Response /;

/** kafkajs reports each failed attempt as an error, and goes on; what fails in the end is thrown. So errors are warnings. */
export function kafkaLogCreator(logger: Logger): NonNullable<KafkaConfig['logCreator']> {
  return () =>
    ({ namespace, level, log }: LogEntry): void => {
      const fields: Record<string, unknown> = { code: CODES[namespace] ?? 'KAFKA_CLIENT' };
      for (const name of FIELDS) if (log[name] !== undefined) fields[name] = log[name];
      const isFailure = level === logLevel.ERROR || level === logLevel.WARN;
      if (isFailure && !ANSWER.test(log.message)) logger.warn(fields, log.message);
      else logger.debug(fields, log.message);
    };
}

/** kafkajs makes no line below this level. */
export const kafkaLogLevel = (logger: Logger): logLevel =>
  logger.isLevelEnabled('debug') ? logLevel.DEBUG : logLevel.WARN;
