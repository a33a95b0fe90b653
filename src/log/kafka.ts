/**
 * The log on Kafka. Reads go straight to the leaders of the partitions, from any offset and without a consumer group;
 * each task writes by transactions of its own transactional id; the offsets stand in the group named by the application
 * id. What a reader is shown is committed.
 */
import type { ITopicConfig, KafkaConfig } from 'kafkajs';
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { FreshetError, invariant } from '../base/errors.ts';
import type { TopicDeclaration } from '../../topics/index.ts';
import { SerialQueue } from './embedded-queue.ts';
import { KafkaCluster, send } from './kafka-cluster.ts';
import { fetchCommitted } from './kafka-committed.ts';
import { kafkaConfig } from './kafka-connection.ts';
import { kafkaError, kafkaErrorClass, protocolCode } from './kafka-errors.ts';
import { createErrorFromCode, metadataV6, type ClusterMetadata } from './kafka-internals.ts';
import { KafkaProducer } from './kafka-producer.ts';
import { KafkaReader } from './kafka-reader.ts';
import { topicCreation } from './kafka-topic-settings.ts';
import { KafkaWaiter } from './kafka-waiter.ts';
import { KafkaWriter } from './kafka-writer.ts';
import { partitionName, type AwaitedPosition, type Committed, type Log, type LogRecord } from './log.ts';
import type { NewRecord, ReadLimits, TaskWriter, TopicPartition } from './log.ts';

export interface KafkaLogOptions {
  /** Called for each set of connections, since secrets may change. */
  readonly kafka: () => KafkaConfig;
  readonly appId: string;
  readonly transactionTimeoutMs: number;
  readonly logger: Logger;
  readonly topicCreation: (topic: TopicDeclaration) => ITopicConfig;
  /** Before every topic name on the broker: several deployments may share a cluster. */
  readonly topicPrefix?: string;
  /** How long what passes by itself (an election, a restart) is tried again before LOG_UNAVAILABLE is said. */
  readonly patienceMs?: number;
}

const PATIENCE_MS = 10_000;
const CREATION_TIMEOUT_MS = 30_000;
const LEADER_NOT_AVAILABLE = 5;

export class KafkaLog implements Log {
  readonly #options: KafkaLogOptions;
  readonly #cluster: KafkaCluster;
  readonly #reader: KafkaReader;
  readonly #waiter: KafkaWaiter;
  readonly #appends = new SerialQueue();
  readonly #writers = new Set<TaskWriter>();
  /** Connections of writers that are being opened. */
  readonly #opening = new Set<KafkaCluster>();
  #appender: { readonly cluster: KafkaCluster; readonly producer: KafkaProducer } | undefined;
  #closing: Promise<void> | undefined;

  /** Connects when it is first used. */
  constructor(options: KafkaLogOptions) {
    this.#options = options;
    this.#cluster = this.#newCluster();
    this.#reader = new KafkaReader(this.#cluster);
    this.#waiter = new KafkaWaiter(this.#cluster, this.#reader);
  }

  async createTopics(topics: readonly TopicDeclaration[]): Promise<void> {
    const absent = await this.#absent(topics);
    if (absent.length === 0) return;
    const configs = absent.map((each) => ({
      ...this.#options.topicCreation(each),
      topic: this.#cluster.topicName(each.name),
    }));
    await this.#cluster.retrying('the topics cannot be created', {}, async () => {
      try {
        await (await this.#cluster.controller()).createTopics({ topics: configs, timeout: CREATION_TIMEOUT_MS });
      } catch (error) {
        if (kafkaErrorClass(error) === 'retry') throw error;
        const topic = (error as { errors?: { topic?: string }[] }).errors?.[0]?.topic;
        const position = topic === undefined ? {} : { topic };
        if (protocolCode(error) !== 'TOPIC_ALREADY_EXISTS') throw kafkaError(error, 'cannot be created', position);
      }
      // They are known a little later; and somebody else may have created one of them, differently.
      if ((await this.#absent(topics)).length > 0) throw createErrorFromCode(LEADER_NOT_AVAILABLE);
    });
    for (const { name: topic, partitions } of absent) {
      const at = { topic, partition: partitions - 1 };
      await this.#cluster.retrying('a new topic has no leader', at, () => this.#cluster.leader(at));
    }
  }

  async topics(): Promise<ReadonlyMap<string, number>> {
    const { topicMetadata } = await this.#cluster.retrying('the topics cannot be listed', {}, async () =>
      send<ClusterMetadata>(await this.#cluster.anyBroker(), {
        request: metadataV6.request({ topics: [], allowAutoTopicCreation: false }),
        // Topics of others may be in trouble.
        response: { decode: metadataV6.decode, parse: async (metadata) => metadata },
      }),
    );
    const prefix = this.#cluster.topicName('');
    return new Map(
      topicMetadata
        .filter(
          ({ topic, topicErrorCode, isInternal }) => topicErrorCode === 0 && !isInternal && topic.startsWith(prefix),
        )
        .map(({ topic, partitionMetadata }) => [topic.slice(prefix.length), partitionMetadata.length]),
    );
  }

  async startOffset(at: TopicPartition): Promise<number> {
    return this.#reader.startOffset(at);
  }

  async endOffset(at: TopicPartition): Promise<number> {
    return this.#reader.endOffset(at);
  }

  knownEnd(at: TopicPartition): number | undefined {
    return this.#reader.knownEnd(at);
  }

  async read(at: TopicPartition, offset: number, limits: ReadLimits): Promise<LogRecord[]> {
    return this.#reader.read(at, offset, limits);
  }

  async append(records: readonly NewRecord[]): Promise<number[]> {
    return this.#appends.run(async () => {
      const { cluster, producer } = (this.#appender ??= await this.#openAppender());
      // All of them, before any record is written.
      for (const at of new Map(records.map((record) => [partitionName(record), record])).values()) {
        const position = { topic: at.topic, partition: at.partition };
        await cluster.retrying('records cannot be written', position, () => cluster.leader(position));
      }
      try {
        return await producer.produce(records);
      } catch (error) {
        this.#appender = undefined;
        await cluster.close();
        throw error;
      }
    });
  }

  async openWriter(taskId: string): Promise<TaskWriter> {
    invariant(this.#closing === undefined, 'the log is closed');
    const cluster = this.#newCluster();
    this.#opening.add(cluster);
    try {
      const writer = await KafkaWriter.open({
        cluster,
        taskId,
        groupId: this.#options.appId,
        transactionTimeoutMs: this.#options.transactionTimeoutMs,
        onCommitted: (ends) => this.#reader.committed(ends),
        onClosed: () => this.#writers.delete(writer),
      });
      this.#writers.add(writer);
      return writer;
    } catch (error) {
      await cluster.close();
      throw error;
    } finally {
      this.#opening.delete(cluster);
    }
  }

  async committed(appId: string, input: TopicPartition): Promise<Committed | undefined> {
    return fetchCommitted(this.#cluster, { groupId: appId, input, isStable: false });
  }

  async waitForRecords(positions: readonly AwaitedPosition[], timeoutMs: number, signal?: AbortSignal): Promise<void> {
    await this.#waiter.wait(positions, timeoutMs, signal);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#appends.idle();
    for (const cluster of this.#opening) await cluster.close();
    for (const writer of this.#writers) await writer.close();
    await this.#waiter.close();
    await this.#appender?.cluster.close();
    await this.#cluster.close();
  }

  #newCluster(): KafkaCluster {
    const { kafka, logger, topicPrefix = '', patienceMs = PATIENCE_MS } = this.#options;
    return new KafkaCluster({ kafka: kafka(), logger, topicPrefix, patienceMs });
  }

  async #openAppender(): Promise<{ cluster: KafkaCluster; producer: KafkaProducer }> {
    invariant(this.#closing === undefined, 'the log is closed');
    const cluster = this.#newCluster();
    try {
      const { transactionTimeoutMs: transactionTimeout } = this.#options;
      const identity = await cluster.retrying('no producer id can be had', {}, async () =>
        (await cluster.anyBroker()).initProducerId({ transactionTimeout }),
      );
      return { cluster, producer: new KafkaProducer(cluster, { ...identity, transactionalId: null }) };
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  /** Those that do not exist. Fails with PARTITIONS_CHANGED where one has another number of partitions. */
  async #absent(topics: readonly TopicDeclaration[]): Promise<TopicDeclaration[]> {
    const existing = await this.topics();
    for (const { name: topic, partitions } of topics) {
      const has = existing.get(topic) ?? partitions;
      if (has === partitions) continue;
      throw new FreshetError('PARTITIONS_CHANGED', `it has ${has}, configured are ${partitions}`, {
        position: { topic },
      });
    }
    return topics.filter(({ name }) => !existing.has(name));
  }
}

/** The log of a deployment. */
export function openKafkaLog(
  config: Pick<Config, 'brokers' | 'kafka' | 'appId'>,
  logger: Logger,
  more: Partial<KafkaLogOptions> = {},
): KafkaLog {
  return new KafkaLog({
    kafka: () => kafkaConfig(config, logger),
    appId: config.appId,
    transactionTimeoutMs: config.kafka.transactionTimeoutMs,
    logger,
    topicCreation: (topic) => topicCreation(topic, config),
    ...more,
  });
}
