/**
 * What is on the wire: one declaration a topic. Partition counts of the topics placed by user are equal and pinned,
 * since task p reads partition p of one and is the sole writer of partition p of the others.
 */
import { readFileSync } from 'node:fs';
import type { schema } from 'avsc';
import { packagePath } from '../src/base/package-root.ts';

export type TopicName =
  | 'user-actions'
  | 'item-embeddings'
  | 'user-embeddings'
  | 'sequence-features'
  | 'action-history'
  | 'rejected-actions'
  | 'ranking-features';

export interface TopicDeclaration {
  readonly name: TopicName;
  readonly doc: string;
  /** What the key's bytes are. */
  readonly key: string;
  readonly partitions: number;
  readonly cleanup: 'delete' | 'compact';
  /** -1 keeps records for ever; null where the cleanup policy makes retention by time meaningless. */
  readonly retentionMs: number | null;
  /** How long a compacted topic keeps at least the tombstone of a key; null where nothing is compacted. */
  readonly tombstoneRetentionMs: number | null;
  /** How long at least a record stays before compaction may take it for a newer one of its key. */
  readonly compactionLagMs: number | null;
  /**
   * Who sets the record timestamp, as Kafka's message.timestamp.type. `either`: created as CreateTime; an operator may
   * choose LogAppendTime.
   */
  readonly timestamps: 'CreateTime' | 'LogAppendTime' | 'either';
  /** How far at most a producer's timestamp may be ahead of the broker's clock; null: as far as it likes. */
  readonly timestampsAheadMs: number | null;
  /** Subjects of the registry whose schemas the values follow. */
  readonly subjects: readonly string[];
}

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
/** A reader or a store that was away for longer may miss that a key is gone. Erases must not wait for ever either. */
const TOMBSTONE_RETENTION_MS = 7 * DAY_MS;
const COMPACTED = {
  cleanup: 'compact',
  retentionMs: null,
  tombstoneRetentionMs: TOMBSTONE_RETENTION_MS,
  compactionLagMs: 0,
  timestamps: 'CreateTime',
  // Its writer takes the timestamp from its input: a broker that refused it would stop the task for good.
  timestampsAheadMs: null,
} as const;

/** The declarations, for a number of partitions of everything that is placed by user. */
export function declareTopics(partitions: number): readonly TopicDeclaration[] {
  return [
    {
      name: 'user-actions',
      doc: 'What users do, and control records: activations of item vectors, erases (null value), expiries.',
      key: 'user id, UTF-8; null for activations',
      partitions,
      cleanup: 'delete',
      // A loaded log is as old as its source: Kafka would delete it at once under any other retention.
      retentionMs: -1,
      tombstoneRetentionMs: null,
      compactionLagMs: null,
      timestamps: 'either',
      // An action is future where its event time is after its arrival: that needs producers whose clocks are about right.
      timestampsAheadMs: HOUR_MS,
      subjects: ['user-actions-value', CONTROL_SUBJECT],
    },
    {
      name: 'item-embeddings',
      doc: 'Item vectors by version; a version takes effect when user-actions activates it.',
      key: 'version, slash, item id, UTF-8; the manifest has an empty item id',
      partitions: 1,
      ...COMPACTED,
      subjects: ['item-embeddings-value'],
    },
    {
      name: 'user-embeddings',
      doc: 'Long-term user vectors, computed daily or so.',
      key: 'user id, UTF-8',
      partitions,
      ...COMPACTED,
      subjects: ['user-embeddings-value'],
    },
    {
      name: 'sequence-features',
      doc: 'Realtime sequence features, one a changed user and commit: the product and the recovery log.',
      key: 'user id, UTF-8',
      partitions,
      ...COMPACTED,
      // Readers that follow less than this behind see each record.
      compactionLagMs: HOUR_MS,
      subjects: ['sequence-features-value'],
    },
    {
      name: 'action-history',
      doc: 'Sealed actions in chunks, a ring of 1,024 chunks a user and sequence.',
      key: 'user id and sequence, length-prefixed, then chunk number modulo 1,024',
      partitions,
      ...COMPACTED,
      subjects: ['action-history-value'],
    },
    {
      name: 'rejected-actions',
      doc: 'Input records that were not taken, with cause, position and bytes.',
      key: 'that of the input record, at most 256 bytes',
      partitions,
      cleanup: 'delete',
      retentionMs: 30 * DAY_MS,
      tombstoneRetentionMs: null,
      compactionLagMs: null,
      // The days count from the rejection: the input may be years old, and would be deleted at once.
      timestamps: 'LogAppendTime',
      timestampsAheadMs: null,
      subjects: ['rejected-actions-value'],
    },
    {
      name: 'ranking-features',
      doc: 'Newest realtime features joined with the newest long-term vector of a user: what ranking reads.',
      key: 'user id, UTF-8',
      partitions,
      ...COMPACTED,
      subjects: ['ranking-features-value'],
    },
  ];
}

/** The subject of the control records, named in their header, so that no reader takes them for actions. */
export const CONTROL_SUBJECT = 'user-actions-control';
/** Header of a control record in `user-actions`; its value is CONTROL_SUBJECT. */
export const CONTROL_HEADER = 'freshet-control';

export const SUBJECTS = [
  'user-actions-value',
  CONTROL_SUBJECT,
  'item-embeddings-value',
  'user-embeddings-value',
  'sequence-features-value',
  'action-history-value',
  'rejected-actions-value',
  'ranking-features-value',
] as const;
export type Subject = (typeof SUBJECTS)[number];

/** The Avro schema of a record, as avsc takes it. */
export type RecordSchema = schema.RecordType;

/** The shipped schema of a subject, as in topics/schemas. */
export function shippedSchema(subject: Subject): RecordSchema {
  const file = packagePath('topics', 'schemas', `${subject.replace(/-value$/, '')}.avsc`);
  return JSON.parse(readFileSync(file, 'utf8')) as RecordSchema;
}
