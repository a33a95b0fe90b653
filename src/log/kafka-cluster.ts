/**
 * One set of connections to a Kafka cluster: at most two to each broker, one of them for fetches. What passes by itself
 * (elections, restarts, lost connections) is tried again for a bounded time; what remains is a FreshetError.
 */
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ISocketFactory, KafkaConfig } from 'kafkajs';
import type { Logger } from 'pino';
import { FreshetError, type Position } from '../base/errors.ts';
import { kafkaError, kafkaErrorClass, protocolCode, REMEDIES } from './kafka-errors.ts';
import { BrokerClass, ClusterClass, createKafkaLogger, defaultSocketFactory } from './kafka-internals.ts';
import type { Broker, Cluster, ConnectionPool, ProtocolCall } from './kafka-internals.ts';
import { kafkaLogCreator, kafkaLogLevel } from './kafka-logger.ts';
import type { TopicPartition } from './log.ts';

export interface KafkaClusterOptions {
  readonly kafka: KafkaConfig;
  readonly logger: Logger;
  /** Before every topic name, on the broker's side only. */
  readonly topicPrefix: string;
  /** How long something that passes by itself is tried again. */
  readonly patienceMs: number;
}

const FIRST_DELAY_MS = 5;
const MAX_DELAY_MS = 500;
const METADATA_MAX_AGE_MS = 300_000;
/** Tried again by kafkajs itself: connecting alone, as everything else is tried again here. */
const CONNECT_RETRY = { retries: 2, initialRetryTime: 50, multiplier: 2, maxRetryTime: 500 };
const READ_COMMITTED = 1;
/** A topic that was just created may not be known to every broker yet. */
const UNKNOWN_TOPIC_ATTEMPTS = 3;
const UNKNOWN_TOPIC_DELAY_MS = 100;

export type Coordinated = 'group' | 'transaction';
const COORDINATOR_TYPES = { group: 0, transaction: 1 } as const;

export class KafkaCluster {
  readonly options: KafkaClusterOptions;
  readonly requestTimeoutMs: number;
  readonly #cluster: Cluster;
  /** Topics whose metadata is kept fresh. */
  readonly #topics = new Set<string>();
  readonly #socketFactory: ISocketFactory;
  readonly #sockets = new Set<Socket>();
  #closed = false;

  constructor(options: KafkaClusterOptions) {
    const { kafka, logger } = options;
    this.options = options;
    this.requestTimeoutMs = kafka.requestTimeout ?? 30_000;
    this.#socketFactory = kafka.socketFactory ?? defaultSocketFactory();
    this.#cluster = new ClusterClass({
      logger: createKafkaLogger({ level: kafkaLogLevel(logger), logCreator: kafkaLogCreator(logger) }),
      retry: CONNECT_RETRY,
      socketFactory: (args) => this.#openSocket(args),
      brokers: kafka.brokers,
      ssl: kafka.ssl,
      sasl: kafka.sasl,
      clientId: kafka.clientId,
      connectionTimeout: kafka.connectionTimeout ?? 5_000,
      authenticationTimeout: kafka.authenticationTimeout,
      reauthenticationThreshold: kafka.reauthenticationThreshold,
      requestTimeout: this.requestTimeoutMs,
      enforceRequestTimeout: true,
      metadataMaxAge: METADATA_MAX_AGE_MS,
      // A topic that a broker makes up has one partition and the wrong retention.
      allowAutoTopicCreation: false,
      isolationLevel: READ_COMMITTED,
    });
  }

  /** The broker's name of a topic. */
  topicName(topic: string): string {
    return this.options.topicPrefix + topic;
  }

  /**
   * What `attempt` gives, tried again while it fails with something that passes by itself. Fails with a FreshetError
   * that says `detail`.
   */
  async retrying<T>(detail: string, position: Position, attempt: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + this.options.patienceMs;
    for (let delayMs = FIRST_DELAY_MS; ; delayMs = Math.min(delayMs * 2, MAX_DELAY_MS)) {
      if (this.#closed) throw new FreshetError('LOG_UNAVAILABLE', `${detail}: the log is closed`, { position });
      try {
        return await attempt();
      } catch (error) {
        if (!passes(error) || performance.now() + delayMs > deadline || this.#closed) {
          throw kafkaError(error, detail, position);
        }
        await sleep(delayMs);
        // Where it fails too, the next attempt says why.
        if (concernsMetadata(error)) await this.#cluster.refreshMetadata().catch(() => undefined);
      }
    }
  }

  /** The broker that leads a partition. Fails with UNKNOWN_TOPIC if there is no such partition. */
  async leader(at: TopicPartition): Promise<Broker> {
    const topic = this.topicName(at.topic);
    for (let attempt = 1; ; attempt += 1) {
      const nodeId = await this.#leaderId(topic, at.partition);
      if (nodeId !== undefined) return this.#cluster.findBroker({ nodeId });
      if (attempt === UNKNOWN_TOPIC_ATTEMPTS) {
        const remedy = REMEDIES.UNKNOWN_TOPIC!;
        throw new FreshetError('UNKNOWN_TOPIC', `not in this Kafka cluster: ${topic}`, { position: at, remedy });
      }
      await sleep(UNKNOWN_TOPIC_DELAY_MS);
      await this.#cluster.refreshMetadata();
    }
  }

  /** Asks again who leads what. */
  async refresh(): Promise<void> {
    await this.#cluster.refreshMetadata();
  }

  async anyBroker(): Promise<Broker> {
    await this.#connect();
    return this.#cluster.brokerPool.findConnectedBroker();
  }

  async controller(): Promise<Broker> {
    await this.#connect();
    await this.#cluster.refreshMetadata();
    return this.#cluster.findControllerBroker();
  }

  /** The broker that keeps the offsets of a group, or the transactions of a transactional id. */
  async coordinator(type: Coordinated, id: string): Promise<Broker> {
    // Not by kafkajs's own search, which swallows what the brokers answer, a refusal included.
    const broker = await this.anyBroker();
    await this.#cluster.refreshMetadataIfNecessary();
    const found = await broker.findGroupCoordinator({ groupId: id, coordinatorType: COORDINATOR_TYPES[type] });
    return this.#cluster.findBroker({ nodeId: found.coordinator.nodeId });
  }

  /** A connection of its own to the broker that leads a partition, for requests that take long to be answered. */
  async separateConnection(broker: Broker): Promise<Broker> {
    const { connectionPoolBuilder, rootLogger: logger, brokerPool } = this.#cluster;
    const { host, port } = broker.connectionPool;
    const separate = new BrokerClass({
      connectionPool: await connectionPoolBuilder.build({ host, port }),
      logger,
      nodeId: broker.nodeId,
      versions: brokerPool.versions,
      authenticationTimeout: this.options.kafka.authenticationTimeout,
      allowAutoTopicCreation: false,
    });
    await separate.connect();
    return separate;
  }

  /** Closes all connections at once; requests under way fail. */
  async close(): Promise<void> {
    this.#closed = true;
    const { brokers, seedBroker } = this.#cluster.brokerPool;
    const all = new Set([...Object.values(brokers), ...(seedBroker === undefined ? [] : [seedBroker])]);
    for (const { connectionPool } of all) await closeConnections(connectionPool);
    // Of connections that are being opened, which stand in no pool yet.
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Whoever is being connected when all is closed would try again, and wait for a broker that may never answer. */
  #openSocket(args: Parameters<ISocketFactory>[0]): Socket {
    if (this.#closed) throw new FreshetError('LOG_UNAVAILABLE', 'the log is closed');
    const socket = this.#socketFactory(args);
    this.#sockets.add(socket);
    return socket.once('close', () => this.#sockets.delete(socket));
  }

  async #leaderId(topic: string, partition: number): Promise<number | undefined> {
    await this.#connect();
    try {
      if (!this.#topics.has(topic)) await this.#cluster.addMultipleTargetTopics([topic]);
      this.#topics.add(topic);
      await this.#cluster.refreshMetadataIfNecessary();
    } catch (error) {
      if (protocolCode(error) === 'UNKNOWN_TOPIC_OR_PARTITION') return undefined;
      throw error;
    }
    return this.#cluster.findTopicPartitionMetadata(topic).find(({ partitionId }) => partitionId === partition)?.leader;
  }

  async #connect(): Promise<void> {
    if (this.#closed) throw new FreshetError('LOG_UNAVAILABLE', 'the log is closed');
    await this.#cluster.connect();
  }
}

/** Sends a request over one of the two connections of a broker; kafkajs keeps the second for fetches. */
export async function send<T>(broker: Broker, call: ProtocolCall<T>, connection: 0 | 1 = 0): Promise<T> {
  return (await broker.connectionPool.getConnection(connection)).send(call);
}

export async function closeConnections({ pool }: ConnectionPool): Promise<void> {
  for (const connection of pool) {
    // Who waits for an answer is not to try again.
    connection.rejectRequests(new FreshetError('LOG_UNAVAILABLE', 'the connection is being closed'));
    const { socket } = connection;
    await connection.disconnect();
    socket?.destroy();
  }
}

/**
 * Whether the same may work later; a FreshetError comes from where that was tried already. A topic that is in the metadata, and that its leader does not know, is being made or
 * moved; one that is not in the metadata is missing.
 */
const passes = (error: unknown): boolean =>
  !(error instanceof FreshetError) &&
  (kafkaErrorClass(error) === 'retry' || protocolCode(error) === 'UNKNOWN_TOPIC_OR_PARTITION');

const STALE_METADATA: ReadonlySet<string> = new Set([
  'UNKNOWN_TOPIC_OR_PARTITION',
  'LEADER_NOT_AVAILABLE',
  'NOT_LEADER_FOR_PARTITION',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'NOT_CONTROLLER',
]);

function concernsMetadata(error: unknown): boolean {
  const code = protocolCode(error);
  // Without an answer the broker may be gone, and another one lead its partitions.
  return code === undefined || STALE_METADATA.has(code);
}
