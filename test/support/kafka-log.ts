/** Logs on a real broker, with topics, app id and transactional ids of their own. */
import kafkajs, { type Kafka } from 'kafkajs';
import { pino } from 'pino';
import { loadConfig } from '../../src/base/config.ts';
import { KafkaLog, type KafkaLogOptions } from '../../src/log/kafka.ts';
import { kafkaConfig } from '../../src/log/kafka-connection.ts';
import { topicCreation } from '../../src/log/kafka-topic-settings.ts';
import { declareTopics } from '../../topics/index.ts';
import { kafkaForTests, uniqueAppId } from './kafka.ts';
import type { KafkaProxy } from './kafka-proxy.ts';

const logger = pino({ level: 'silent' });

export interface TestLogOptions extends Partial<KafkaLogOptions> {
  /** The shared ones, unless others are given. */
  readonly brokers?: readonly string[];
  readonly partitions?: number;
  /** Of every topic, besides those that are declared. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Through which all connections lead. */
  readonly proxy?: KafkaProxy;
  readonly requestTimeoutMs?: number;
}

export class TestLog extends KafkaLog {
  readonly brokers: readonly string[];
  readonly appId: string;
  readonly #prefix: string;

  constructor(options: KafkaLogOptions, brokers: readonly string[]) {
    super(options);
    this.brokers = brokers;
    this.appId = options.appId;
    this.#prefix = options.topicPrefix ?? '';
  }

  get taskId(): string {
    return `${this.appId}-user-actions-0`;
  }

  topicName(topic: string): string {
    return this.#prefix + topic;
  }
}

/** A log whose topics exist. Logs with the same app id share topics and offsets. */
export async function openTestLog(options: TestLogOptions = {}): Promise<TestLog> {
  const {
    brokers = kafkaForTests().brokers,
    partitions = 2,
    settings = {},
    proxy,
    requestTimeoutMs,
    ...more
  } = options;
  const appId = more.appId ?? uniqueAppId();
  const flags = { brokers: [...brokers], registry: 'http://unused', appId };
  const config = loadConfig({ env: {}, flags, cwd: '/' });
  const own = Object.entries(settings).map(([name, value]) => ({ name, value }));
  const log = new TestLog(
    {
      kafka: () => ({
        ...kafkaConfig(config, logger),
        ...(proxy !== undefined && { socketFactory: proxy.socketFactory }),
        ...(requestTimeoutMs !== undefined && { requestTimeout: requestTimeoutMs }),
      }),
      appId,
      transactionTimeoutMs: config.kafka.transactionTimeoutMs,
      logger,
      topicPrefix: `${appId}.`,
      topicCreation: (topic) => {
        const created = topicCreation(topic, config);
        const declared = created.configEntries!.filter(({ name }) => settings[name] === undefined);
        return { ...created, configEntries: [...declared, ...own] };
      },
      ...more,
    },
    brokers,
  );
  await log.createTopics(declareTopics(partitions));
  return log;
}

export const kafkaClient = (brokers: readonly string[]): Kafka =>
  new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING });
