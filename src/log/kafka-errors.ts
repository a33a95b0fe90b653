/**
 * What an error of the Kafka client means to the one who called. Three classes: somebody else has taken over
 * (migrated), the same may work later (retry), a person has to act (fatal). Each error of kafkajs and each error code
 * of the protocol is in one of them; test/kafka-errors.test.ts goes through all.
 */
import { FreshetError, type ErrorCode, type Position } from '../base/errors.ts';
import { missingAcl } from './kafka-missing-acl.ts';

export type KafkaErrorClass = 'migrated' | 'retry' | 'fatal';

/** By name of the code in the protocol. What is not listed is refused: it concerns requests that are not made here. */
const MIGRATED: ReadonlySet<string> = new Set([
  'INVALID_PRODUCER_EPOCH',
  'INVALID_TXN_STATE',
  'INVALID_PRODUCER_ID_MAPPING',
  'TRANSACTION_COORDINATOR_FENCED',
  'PRODUCER_FENCED',
  'FENCED_INSTANCE_ID',
]);

const RETRY: ReadonlySet<string> = new Set([
  'UNKNOWN',
  'CORRUPT_MESSAGE',
  'LEADER_NOT_AVAILABLE',
  'NOT_LEADER_FOR_PARTITION',
  'REQUEST_TIMED_OUT',
  'BROKER_NOT_AVAILABLE',
  'REPLICA_NOT_AVAILABLE',
  'STALE_CONTROLLER_EPOCH',
  'NETWORK_EXCEPTION',
  'GROUP_LOAD_IN_PROGRESS',
  'GROUP_COORDINATOR_NOT_AVAILABLE',
  'NOT_COORDINATOR_FOR_GROUP',
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  // Membership never decides what is written: the transactional id does. A member joins again.
  'ILLEGAL_GENERATION',
  'UNKNOWN_MEMBER_ID',
  'REBALANCE_IN_PROGRESS',
  'MEMBER_ID_REQUIRED',
  'NOT_CONTROLLER',
  // A new producer numbers its records anew.
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'DUPLICATE_SEQUENCE_NUMBER',
  'UNKNOWN_PRODUCER_ID',
  'CONCURRENT_TRANSACTIONS',
  'TRANSACTION_ABORTABLE',
  'OPERATION_NOT_ATTEMPTED',
  'KAFKA_STORAGE_ERROR',
  'REASSIGNMENT_IN_PROGRESS',
  'FETCH_SESSION_ID_NOT_FOUND',
  'INVALID_FETCH_SESSION_EPOCH',
  'LISTENER_NOT_FOUND',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'STALE_BROKER_EPOCH',
  'OFFSET_NOT_AVAILABLE',
  'PREFERRED_LEADER_NOT_AVAILABLE',
  'ELIGIBLE_LEADERS_NOT_AVAILABLE',
  'UNSTABLE_OFFSET_COMMIT',
  'THROTTLING_QUOTA_EXCEEDED',
]);

const FATAL: ReadonlyMap<string, ErrorCode> = new Map([
  ['OFFSET_OUT_OF_RANGE', 'OFFSET_OUT_OF_RANGE'],
  ['UNKNOWN_TOPIC_OR_PARTITION', 'UNKNOWN_TOPIC'],
  ['MESSAGE_TOO_LARGE', 'KAFKA_RECORD_TOO_LARGE'],
  ['RECORD_LIST_TOO_LARGE', 'KAFKA_RECORD_TOO_LARGE'],
  ['TOPIC_AUTHORIZATION_FAILED', 'KAFKA_AUTHORIZATION'],
  ['GROUP_AUTHORIZATION_FAILED', 'KAFKA_AUTHORIZATION'],
  ['CLUSTER_AUTHORIZATION_FAILED', 'KAFKA_AUTHORIZATION'],
  ['TRANSACTIONAL_ID_AUTHORIZATION_FAILED', 'KAFKA_AUTHORIZATION'],
  ['DELEGATION_TOKEN_AUTHORIZATION_FAILED', 'KAFKA_AUTHORIZATION'],
  ['UNSUPPORTED_SASL_MECHANISM', 'KAFKA_AUTHENTICATION'],
  ['ILLEGAL_SASL_STATE', 'KAFKA_AUTHENTICATION'],
  ['SASL_AUTHENTICATION_FAILED', 'KAFKA_AUTHENTICATION'],
  ['SECURITY_DISABLED', 'KAFKA_AUTHENTICATION'],
  ['UNSUPPORTED_VERSION', 'KAFKA_UNSUPPORTED'],
  ['UNSUPPORTED_FOR_MESSAGE_FORMAT', 'KAFKA_UNSUPPORTED'],
  ['UNSUPPORTED_COMPRESSION_TYPE', 'KAFKA_COMPRESSION_UNSUPPORTED'],
]);

/** Codes that are newer than kafkajs, which then gives their number in the message alone. */
const NEWER_CODES: ReadonlyMap<number, string> = new Map([
  [89, 'THROTTLING_QUOTA_EXCEEDED'],
  [90, 'PRODUCER_FENCED'],
  [120, 'TRANSACTION_ABORTABLE'],
]);

/** By name of the class in kafkajs, for errors that carry no code of the protocol. */
const BY_NAME: ReadonlyMap<string, ErrorCode> = new Map([
  ['KafkaJSConnectionError', 'LOG_UNAVAILABLE'],
  ['KafkaJSConnectionClosedError', 'LOG_UNAVAILABLE'],
  ['KafkaJSRequestTimeoutError', 'LOG_UNAVAILABLE'],
  ['KafkaJSMetadataNotLoaded', 'LOG_UNAVAILABLE'],
  ['KafkaJSTopicMetadataNotLoaded', 'LOG_UNAVAILABLE'],
  ['KafkaJSStaleTopicMetadataAssignment', 'LOG_UNAVAILABLE'],
  ['KafkaJSBrokerNotFound', 'LOG_UNAVAILABLE'],
  ['KafkaJSNoBrokerAvailableError', 'LOG_UNAVAILABLE'],
  ['KafkaJSGroupCoordinatorNotFound', 'LOG_UNAVAILABLE'],
  ['KafkaJSTimeout', 'LOG_UNAVAILABLE'],
  ['KafkaJSLockTimeout', 'LOG_UNAVAILABLE'],
  ['KafkaJSPartialMessageError', 'LOG_UNAVAILABLE'],
  ['KafkaJSSASLAuthenticationError', 'KAFKA_AUTHENTICATION'],
  ['KafkaJSNotImplemented', 'KAFKA_UNSUPPORTED'],
  ['KafkaJSServerDoesNotSupportApiKey', 'KAFKA_UNSUPPORTED'],
  ['KafkaJSUnsupportedMagicByteInMessageSet', 'KAFKA_UNSUPPORTED'],
]);

/** What Node.js says of certificates and handshakes; kafkajs passes it on as the code of a connection error. */
const TLS_CODE = /^(ERR_TLS|ERR_SSL|ERR_OSSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|HOSTNAME_MISMATCH|EPROTO)/;

const CLASS_OF: Readonly<Partial<Record<ErrorCode, KafkaErrorClass>>> = {
  FENCED: 'migrated',
  LOG_UNAVAILABLE: 'retry',
  COMMIT_UNKNOWN: 'retry',
};

interface ErrorLike {
  readonly name?: string;
  readonly type?: string;
  readonly code?: unknown;
  readonly message?: string;
  readonly cause?: unknown;
  readonly errors?: readonly unknown[];
}

/** The name of the code that the broker answered with; undefined if the error is not an answer. */
export function protocolCode(error: unknown): string | undefined {
  for (const { type, message } of causes(error)) {
    const number = /Unknown error code (-?\d+)/.exec(message ?? '')?.[1];
    if (number !== undefined) return NEWER_CODES.get(Number(number)) ?? `code ${number}`;
    if (type !== undefined) return type;
  }
  return undefined;
}

/** The code under which an error of the Kafka client reaches a person. */
export function kafkaErrorCode(error: unknown): ErrorCode {
  if (error instanceof FreshetError) return error.code;
  const type = protocolCode(error);
  if (type !== undefined) {
    if (MIGRATED.has(type)) return 'FENCED';
    if (RETRY.has(type)) return 'LOG_UNAVAILABLE';
    return FATAL.get(type) ?? 'KAFKA_REFUSED';
  }
  // From the innermost outwards: what wraps says less than what it wraps.
  for (const { name, code } of causes(error).reverse()) {
    if (typeof code === 'string' && TLS_CODE.test(code)) return 'KAFKA_TLS';
    const known = BY_NAME.get(name ?? '');
    if (known !== undefined) return known;
  }
  return 'INTERNAL';
}

export const kafkaErrorClass = (error: unknown): KafkaErrorClass => CLASS_OF[kafkaErrorCode(error)] ?? 'fatal';

/** What a person is told; a FreshetError passes as it is. */
export function kafkaError(error: unknown, detail: string, position: Position = {}): FreshetError {
  if (error instanceof FreshetError) return error;
  const code = kafkaErrorCode(error);
  const innermost = causes(error).at(-1)?.message ?? String(error);
  const type = protocolCode(error);
  const missing = type === undefined ? undefined : missingAcl(type, error);
  const needs = missing === undefined ? '' : `, needs ${missing}`;
  const remedy =
    missing === undefined ? REMEDIES[code] : `Grant ${missing}; docs/security.md lists the ACLs of each role.`;
  return new FreshetError(code, `${detail}: ${type ?? innermost}${needs}`, {
    position,
    cause: error,
    ...(remedy !== undefined && { remedy }),
  });
}

/** Where the general remedy speaks of the embedded log. */
export const REMEDIES: Readonly<Partial<Record<ErrorCode, string>>> = {
  UNKNOWN_TOPIC: 'Create the topics with `freshet topics apply`, or correct the name.',
  OFFSET_OUT_OF_RANGE:
    'Retention or a person has removed the records, or the topic was made again. Nothing is skipped silently: load the source again into new topics, under a new app id, and raise retention.ms of the topic.',
  LOG_CORRUPT: 'Read the partition from another replica: move its leadership, or restore the broker from a copy.',
};

/** The error, what it was caused by, and so on; of several at once the first. */
function causes(error: unknown): ErrorLike[] {
  const chain: ErrorLike[] = [];
  for (let next = error; typeof next === 'object' && next !== null && chain.length < 8;) {
    const current = next as ErrorLike;
    chain.push(current);
    next = current.errors?.[0] ?? current.cause;
  }
  return chain;
}
