/**
 * The parts of kafkajs below its public API, typed as far as they are used here. Its consumer reads through a group,
 * takes records with the key `00000000` for abort markers and cannot pass a batch whose records were all compacted
 * away; its producer is slow with large batches and wedged by a failed EndTxn. Its connections, authentication and
 * metadata serve well, and that is what is used. The version is pinned exactly, in package.json.
 */
import { createRequire } from 'node:module';
import type { ISocketFactory, ITopicConfig, KafkaConfig, Logger, RetryOptions } from 'kafkajs';
import './kafka-mends.ts';

export { HEADER_ROOM_BYTES } from './kafka-mends.ts';

const load = createRequire(import.meta.url);

export interface KafkaRequest {
  readonly apiKey: number;
  readonly apiVersion: number;
  readonly apiName: string;
  encode(): Promise<unknown>;
}

export interface ProtocolCall<T> {
  readonly request: KafkaRequest;
  readonly response: { decode(payload: Buffer): Promise<T>; parse(decoded: T): Promise<T> };
  readonly requestTimeout?: number;
  readonly logResponseError?: boolean;
}

export interface KafkaConnection {
  send<T>(call: ProtocolCall<T>): Promise<T>;
  rejectRequests(error: Error): void;
  disconnect(): Promise<unknown>;
  readonly socket?: { destroy(): void } | null;
}

export interface ConnectionPool {
  readonly host: string;
  readonly port: number;
  readonly pool: readonly KafkaConnection[];
  getConnection(index?: number): Promise<KafkaConnection>;
}

export interface TxnIdentity {
  readonly transactionalId: string;
  readonly producerId: string;
  readonly producerEpoch: number;
}

/** A partition's offset in a request that commits it, as kafkajs writes it. */
export interface OffsetTopic {
  readonly topic: string;
  readonly partitions: readonly { partition: number; offset: string; metadata: string }[];
}

export interface Broker {
  readonly nodeId: number;
  readonly connectionPool: ConnectionPool;
  readonly versions: unknown;
  connect(): Promise<void>;
  findGroupCoordinator(group: { groupId: string; coordinatorType: number }): Promise<{ coordinator: BrokerAddress }>;
  describeGroups(request: { groupIds: readonly string[] }): Promise<{
    groups: readonly { readonly members: readonly { readonly clientHost: string }[] }[];
  }>;
  initProducerId(identity: {
    transactionalId?: string;
    transactionTimeout: number;
  }): Promise<{ producerId: string; producerEpoch: number }>;
  addPartitionsToTxn(request: TxnIdentity & { topics: { topic: string; partitions: number[] }[] }): Promise<unknown>;
  addOffsetsToTxn(request: TxnIdentity & { groupId: string }): Promise<unknown>;
  txnOffsetCommit(request: TxnIdentity & { groupId: string; topics: readonly OffsetTopic[] }): Promise<unknown>;
  endTxn(request: TxnIdentity & { transactionResult: boolean }): Promise<unknown>;
  createTopics(request: { topics: readonly ITopicConfig[]; timeout: number }): Promise<unknown>;
  listOffsets(request: {
    isolationLevel: number;
    topics: { topic: string; partitions: { partition: number; timestamp: number }[] }[];
  }): Promise<{ responses: { topic: string; partitions: { partition: number; offset: string }[] }[] }>;
}

export interface BrokerAddress {
  readonly nodeId: number;
}

export interface ClusterMetadata {
  readonly topicMetadata: readonly {
    readonly topic: string;
    readonly topicErrorCode: number;
    readonly isInternal: boolean;
    readonly partitionMetadata: readonly { readonly partitionId: number; readonly leader: number }[];
  }[];
}

export interface Cluster {
  readonly brokerPool: {
    readonly brokers: Readonly<Record<string, Broker>>;
    readonly seedBroker?: Broker;
    readonly versions: unknown;
    findConnectedBroker(): Promise<Broker>;
  };
  readonly connectionPoolBuilder: { build(address: { host: string; port: number }): Promise<ConnectionPool> };
  readonly rootLogger: Logger;
  connect(): Promise<void>;
  refreshMetadata(): Promise<void>;
  refreshMetadataIfNecessary(): Promise<void>;
  addMultipleTargetTopics(topics: readonly string[]): Promise<void>;
  findBroker(address: { nodeId: number | string }): Promise<Broker>;
  findControllerBroker(): Promise<Broker>;
  findTopicPartitionMetadata(topic: string): readonly { readonly partitionId: number; readonly leader: number }[];
}

interface ClusterOptions {
  readonly logger: Logger;
  readonly retry: RetryOptions;
  readonly socketFactory: ISocketFactory;
  readonly brokers: KafkaConfig['brokers'];
  readonly ssl: KafkaConfig['ssl'];
  readonly sasl: KafkaConfig['sasl'];
  readonly clientId: string | undefined;
  readonly connectionTimeout: number;
  readonly authenticationTimeout: number | undefined;
  readonly reauthenticationThreshold: number | undefined;
  readonly requestTimeout: number;
  readonly enforceRequestTimeout: boolean;
  readonly metadataMaxAge: number;
  readonly allowAutoTopicCreation: boolean;
  readonly isolationLevel: number;
}

export interface EncoderLike {
  buf: Buffer;
  /** Of the next byte. */
  offset: number;
  /** Of the first byte, where room is left before it: see kafka-mends.ts. */
  start?: number;
  writeInt16(value: number): this;
  writeInt32(value: number): this;
  writeString(value: string | null): this;
  writeUVarIntString(value: string): this;
  writeUVarInt(value: number): this;
  writeInt8(value: number): this;
  writeBuffer(value: Buffer): this;
}

type FetchRequest = (options: {
  replicaId: number;
  isolationLevel: number;
  maxWaitTime: number;
  minBytes: number;
  maxBytes: number;
  topics: { topic: string; partitions: { partition: number; fetchOffset: number; maxBytes: number }[] }[];
}) => KafkaRequest;

export const ClusterClass = load('kafkajs/src/cluster/index.js') as new (options: ClusterOptions) => Cluster;
export const BrokerClass = load('kafkajs/src/broker/index.js') as new (options: {
  connectionPool: ConnectionPool;
  logger: Logger;
  nodeId: number;
  versions: unknown;
  authenticationTimeout: number | undefined;
  allowAutoTopicCreation: boolean;
}) => Broker;
export const EncoderClass = load('kafkajs/src/protocol/encoder.js') as new (initialSize?: number) => EncoderLike;
export const fetchRequestV11 = load('kafkajs/src/protocol/requests/fetch/v11/request.js') as FetchRequest;
export const metadataV6 = {
  request: load('kafkajs/src/protocol/requests/metadata/v6/request.js') as (options: {
    topics: readonly string[];
    allowAutoTopicCreation: boolean;
  }) => KafkaRequest,
  decode: (
    load('kafkajs/src/protocol/requests/metadata/v6/response.js') as {
      decode(this: void, payload: Buffer): Promise<ClusterMetadata>;
    }
  ).decode,
};
export const defaultSocketFactory = load('kafkajs/src/network/socketFactory.js') as () => ISocketFactory;
export const createKafkaLogger = (
  load('kafkajs/src/loggers/index.js') as {
    createLogger(this: void, options: { level: number; logCreator: NonNullable<KafkaConfig['logCreator']> }): Logger;
  }
).createLogger;
export const { createErrorFromCode } = load('kafkajs/src/protocol/error.js') as {
  createErrorFromCode(this: void, code: number): Error;
};
