/** Every error of kafkajs and every error code of the protocol has its class: migrated, retry or fatal. */
import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { FreshetError, type ErrorCode } from '../src/base/errors.ts';
import { kafkaError, kafkaErrorClass, kafkaErrorCode } from '../src/log/kafka-errors.ts';
import { createErrorFromCode } from '../src/log/kafka-internals.ts';

const load = createRequire(import.meta.url);
const { errorCodes } = load('kafkajs/src/protocol/error.js') as {
  errorCodes: readonly { type: string; code: number }[];
};
type ErrorClass = new (...parameters: unknown[]) => Error;
const classes = load('kafkajs/src/errors.js') as Record<string, ErrorClass>;

/** `migrated`, `retry`, or the code under which a person is told; `refused` where no request of ours gets that answer. */
const PROTOCOL: Record<string, 'migrated' | 'retry' | 'refused' | ErrorCode> = {
  UNKNOWN: 'retry',
  OFFSET_OUT_OF_RANGE: 'OFFSET_OUT_OF_RANGE',
  CORRUPT_MESSAGE: 'retry',
  UNKNOWN_TOPIC_OR_PARTITION: 'UNKNOWN_TOPIC',
  INVALID_FETCH_SIZE: 'refused',
  LEADER_NOT_AVAILABLE: 'retry',
  NOT_LEADER_FOR_PARTITION: 'retry',
  REQUEST_TIMED_OUT: 'retry',
  BROKER_NOT_AVAILABLE: 'retry',
  REPLICA_NOT_AVAILABLE: 'retry',
  MESSAGE_TOO_LARGE: 'KAFKA_RECORD_TOO_LARGE',
  STALE_CONTROLLER_EPOCH: 'retry',
  OFFSET_METADATA_TOO_LARGE: 'refused',
  NETWORK_EXCEPTION: 'retry',
  GROUP_LOAD_IN_PROGRESS: 'retry',
  GROUP_COORDINATOR_NOT_AVAILABLE: 'retry',
  NOT_COORDINATOR_FOR_GROUP: 'retry',
  INVALID_TOPIC_EXCEPTION: 'refused',
  RECORD_LIST_TOO_LARGE: 'KAFKA_RECORD_TOO_LARGE',
  NOT_ENOUGH_REPLICAS: 'retry',
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: 'retry',
  INVALID_REQUIRED_ACKS: 'refused',
  ILLEGAL_GENERATION: 'retry',
  INCONSISTENT_GROUP_PROTOCOL: 'refused',
  INVALID_GROUP_ID: 'refused',
  UNKNOWN_MEMBER_ID: 'retry',
  INVALID_SESSION_TIMEOUT: 'refused',
  REBALANCE_IN_PROGRESS: 'retry',
  INVALID_COMMIT_OFFSET_SIZE: 'refused',
  TOPIC_AUTHORIZATION_FAILED: 'KAFKA_AUTHORIZATION',
  GROUP_AUTHORIZATION_FAILED: 'KAFKA_AUTHORIZATION',
  CLUSTER_AUTHORIZATION_FAILED: 'KAFKA_AUTHORIZATION',
  INVALID_TIMESTAMP: 'refused',
  UNSUPPORTED_SASL_MECHANISM: 'KAFKA_AUTHENTICATION',
  ILLEGAL_SASL_STATE: 'KAFKA_AUTHENTICATION',
  UNSUPPORTED_VERSION: 'KAFKA_UNSUPPORTED',
  TOPIC_ALREADY_EXISTS: 'refused',
  INVALID_PARTITIONS: 'refused',
  INVALID_REPLICATION_FACTOR: 'refused',
  INVALID_REPLICA_ASSIGNMENT: 'refused',
  INVALID_CONFIG: 'refused',
  NOT_CONTROLLER: 'retry',
  INVALID_REQUEST: 'refused',
  UNSUPPORTED_FOR_MESSAGE_FORMAT: 'KAFKA_UNSUPPORTED',
  POLICY_VIOLATION: 'refused',
  OUT_OF_ORDER_SEQUENCE_NUMBER: 'retry',
  DUPLICATE_SEQUENCE_NUMBER: 'retry',
  INVALID_PRODUCER_EPOCH: 'migrated',
  INVALID_TXN_STATE: 'migrated',
  INVALID_PRODUCER_ID_MAPPING: 'migrated',
  INVALID_TRANSACTION_TIMEOUT: 'refused',
  CONCURRENT_TRANSACTIONS: 'retry',
  TRANSACTION_COORDINATOR_FENCED: 'migrated',
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: 'KAFKA_AUTHORIZATION',
  SECURITY_DISABLED: 'KAFKA_AUTHENTICATION',
  OPERATION_NOT_ATTEMPTED: 'retry',
  KAFKA_STORAGE_ERROR: 'retry',
  LOG_DIR_NOT_FOUND: 'refused',
  SASL_AUTHENTICATION_FAILED: 'KAFKA_AUTHENTICATION',
  UNKNOWN_PRODUCER_ID: 'retry',
  REASSIGNMENT_IN_PROGRESS: 'retry',
  DELEGATION_TOKEN_AUTH_DISABLED: 'refused',
  DELEGATION_TOKEN_NOT_FOUND: 'refused',
  DELEGATION_TOKEN_OWNER_MISMATCH: 'refused',
  DELEGATION_TOKEN_REQUEST_NOT_ALLOWED: 'refused',
  DELEGATION_TOKEN_AUTHORIZATION_FAILED: 'KAFKA_AUTHORIZATION',
  DELEGATION_TOKEN_EXPIRED: 'refused',
  INVALID_PRINCIPAL_TYPE: 'refused',
  NON_EMPTY_GROUP: 'refused',
  GROUP_ID_NOT_FOUND: 'refused',
  FETCH_SESSION_ID_NOT_FOUND: 'retry',
  INVALID_FETCH_SESSION_EPOCH: 'retry',
  LISTENER_NOT_FOUND: 'retry',
  TOPIC_DELETION_DISABLED: 'refused',
  FENCED_LEADER_EPOCH: 'retry',
  UNKNOWN_LEADER_EPOCH: 'retry',
  UNSUPPORTED_COMPRESSION_TYPE: 'KAFKA_COMPRESSION_UNSUPPORTED',
  STALE_BROKER_EPOCH: 'retry',
  OFFSET_NOT_AVAILABLE: 'retry',
  MEMBER_ID_REQUIRED: 'retry',
  PREFERRED_LEADER_NOT_AVAILABLE: 'retry',
  GROUP_MAX_SIZE_REACHED: 'refused',
  FENCED_INSTANCE_ID: 'migrated',
  ELIGIBLE_LEADERS_NOT_AVAILABLE: 'retry',
  ELECTION_NOT_NEEDED: 'refused',
  NO_REASSIGNMENT_IN_PROGRESS: 'refused',
  GROUP_SUBSCRIBED_TO_TOPIC: 'refused',
  INVALID_RECORD: 'refused',
  UNSTABLE_OFFSET_COMMIT: 'retry',
};

const NEWER = { 89: 'retry', 90: 'migrated', 110: 'refused', 120: 'retry' } as const;

const codeOf = (expected: string): string =>
  ({ migrated: 'FENCED', retry: 'LOG_UNAVAILABLE', refused: 'KAFKA_REFUSED' })[expected] ?? expected;
const classOf = (expected: string): string => (['migrated', 'retry'].includes(expected) ? expected : 'fatal');

describe('answers of the broker', () => {
  test('the table has each of them', () => {
    expect(Object.keys(PROTOCOL).toSorted()).toEqual(errorCodes.map(({ type }) => type).toSorted());
  });

  test.each(errorCodes.map(({ type, code }) => [type, code] as const))('%s', (type, code) => {
    const expected = PROTOCOL[type]!;
    const bare = createErrorFromCode(code);
    // As it comes out of kafkajs's retries, its admin client and its consumer.
    const wrapped = [
      new classes.KafkaJSNumberOfRetriesExceeded!(bare, { retryCount: 5, retryTime: 100 }),
      new classes.KafkaJSNonRetriableError!(bare, { cause: bare }),
      new classes.KafkaJSAggregateError!('several', [bare]),
      new classes.KafkaJSCreateTopicError!(bare, 'a-topic'),
    ];
    for (const error of [bare, ...wrapped]) {
      expect([kafkaErrorCode(error), kafkaErrorClass(error)]).toEqual([codeOf(expected), classOf(expected)]);
    }
    expect(kafkaError(bare, 'what was tried').detail).toContain(`what was tried: ${type}`);
  });

  test.each(Object.entries(NEWER))('code %s, which kafkajs does not know', (code, expected) => {
    expect(kafkaErrorCode(createErrorFromCode(Number(code)))).toBe(codeOf(expected));
  });
});

/** Made as kafkajs makes them; those that carry an answer of the broker are classed by that. */
const answer = createErrorFromCode(13);
const CLIENT: Record<string, readonly [ErrorCode, ...unknown[]]> = {
  KafkaJSError: ['INTERNAL', 'text'],
  KafkaJSNonRetriableError: ['INTERNAL', 'text'],
  KafkaJSPartialMessageError: ['LOG_UNAVAILABLE', 'text'],
  KafkaJSBrokerNotFound: ['LOG_UNAVAILABLE', 'text'],
  KafkaJSProtocolError: ['LOG_UNAVAILABLE', answer],
  KafkaJSConnectionError: ['LOG_UNAVAILABLE', 'text', { broker: 'host:9092', code: 'ECONNREFUSED' }],
  KafkaJSConnectionClosedError: ['LOG_UNAVAILABLE', 'text', { host: 'host', port: 9092 }],
  KafkaJSRequestTimeoutError: ['LOG_UNAVAILABLE', 'text'],
  KafkaJSSASLAuthenticationError: ['KAFKA_AUTHENTICATION', 'text'],
  KafkaJSNumberOfRetriesExceeded: ['LOG_UNAVAILABLE', answer, {}],
  KafkaJSOffsetOutOfRange: ['OFFSET_OUT_OF_RANGE', createErrorFromCode(1), { topic: 'a', partition: 0 }],
  KafkaJSMemberIdRequired: ['LOG_UNAVAILABLE', createErrorFromCode(79), { memberId: 'm' }],
  KafkaJSGroupCoordinatorNotFound: ['LOG_UNAVAILABLE', 'text'],
  KafkaJSNotImplemented: ['KAFKA_UNSUPPORTED', 'text'],
  KafkaJSMetadataNotLoaded: ['LOG_UNAVAILABLE', 'text'],
  KafkaJSTopicMetadataNotLoaded: ['LOG_UNAVAILABLE', 'text', { topic: 'a' }],
  KafkaJSStaleTopicMetadataAssignment: ['LOG_UNAVAILABLE', 'text', {}],
  KafkaJSDeleteGroupsError: ['INTERNAL', 'text', []],
  KafkaJSTimeout: ['LOG_UNAVAILABLE', 'text'],
  KafkaJSLockTimeout: ['LOG_UNAVAILABLE', 'text'],
  KafkaJSServerDoesNotSupportApiKey: ['KAFKA_UNSUPPORTED', 'text', {}],
  KafkaJSUnsupportedMagicByteInMessageSet: ['KAFKA_UNSUPPORTED', 'text'],
  KafkaJSDeleteTopicRecordsError: ['INTERNAL', { partitions: [] }],
  KafkaJSInvariantViolation: ['INTERNAL', 'text'],
  KafkaJSInvalidVarIntError: ['INTERNAL', 'text'],
  KafkaJSInvalidLongError: ['INTERNAL', 'text'],
  KafkaJSCreateTopicError: ['KAFKA_REFUSED', createErrorFromCode(38), 'a-topic'],
  KafkaJSAggregateError: ['FENCED', 'text', [createErrorFromCode(47)]],
  KafkaJSFetcherRebalanceError: ['INTERNAL', 'text'],
  KafkaJSNoBrokerAvailableError: ['LOG_UNAVAILABLE'],
  KafkaJSAlterPartitionReassignmentsError: ['LOG_UNAVAILABLE', createErrorFromCode(60), 'a-topic', 0],
};

describe('errors of the client', () => {
  test('the table has each of them', () => {
    const names = Object.keys(classes).filter((name) => !/^is[A-Z]/.test(name));
    expect(Object.keys(CLIENT).toSorted()).toEqual(names.toSorted());
  });

  test.each(Object.entries(CLIENT))('%s', (name, [expected, ...parameters]) => {
    const error = new classes[name]!(...parameters);
    expect(kafkaErrorCode(error)).toBe(expected);
    const exceeded = new classes.KafkaJSNumberOfRetriesExceeded!(error, { retryCount: 5, retryTime: 100 });
    expect(kafkaErrorCode(exceeded)).toBe(expected);
  });

  test.each([
    'DEPTH_ZERO_SELF_SIGNED_CERT',
    'SELF_SIGNED_CERT_IN_CHAIN',
    'CERT_HAS_EXPIRED',
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    'ERR_TLS_CERT_ALTNAME_INVALID',
    'ERR_SSL_WRONG_VERSION_NUMBER',
    'EPROTO',
  ])('%s is a matter of certificates, which waiting does not change', (code) => {
    const error = new classes.KafkaJSConnectionError!('Connection error', { broker: 'host:9092', code });
    const exceeded = new classes.KafkaJSNumberOfRetriesExceeded!(error, { retryCount: 5, retryTime: 100 });
    expect([kafkaErrorCode(exceeded), kafkaErrorClass(exceeded)]).toEqual(['KAFKA_TLS', 'fatal']);
  });

  test('what is no error of Kafka is a defect, and an error of ours stays what it is', () => {
    expect(kafkaErrorCode(new TypeError('undefined is not a function'))).toBe('INTERNAL');
    const ours = new FreshetError('COMMIT_UNKNOWN', 'task t');
    expect(kafkaError(ours, 'what was tried')).toBe(ours);
    expect(kafkaErrorClass(ours)).toBe('retry');
  });

  test('a person is told position, cause and remedy', () => {
    const position = { topic: 'user-actions', partition: 3, offset: 7 };
    const told = kafkaError(createErrorFromCode(29), 'records cannot be read', position);
    expect(told).toMatchObject({ code: 'KAFKA_AUTHORIZATION', exitCode: 4, position });
    expect(told.message).toMatch(/: TOPIC_AUTHORIZATION_FAILED.* \(topic user-actions, partition 3, offset 7\)$/);
    expect(told.remedy).toContain('docs/security.md');
    expect(kafkaError(createErrorFromCode(3), 'x').remedy).toContain('freshet topics apply');
  });
});
