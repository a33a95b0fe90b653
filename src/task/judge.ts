/**
 * What an input record is: a user's, an activation, or nobody's. Only causes that are functions of the record's bytes
 * (and of the configuration) reject it, so that a replay judges as the stream did.
 */
import { FreshetError } from '../base/errors.ts';
import { partitionOf } from '../base/murmur2.ts';
import type { Codec } from '../serde/codec.ts';
import type { LogRecord } from '../log/log.ts';
import type { UserRecord } from '../../state/reducer.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT } from '../../topics/index.ts';
import type { ControlRecord, UserActionRecord } from '../../topics/records.ts';

/** Why a record was not taken: the `cause` of `rejected-actions`. */
export type Cause =
  | 'late'
  | 'future'
  | 'unknown_action_type'
  | 'invalid_time'
  | 'empty_id'
  | 'oversized_id'
  | 'oversized_surface'
  | 'wrong_key'
  | 'wrong_partition'
  | 'undecodable'
  | 'unknown_schema'
  | 'invalid_control';

export interface Rejection {
  readonly cause: Cause;
  /** What exactly was wrong, for a person. */
  readonly detail: string;
}

export type Activation = NonNullable<ControlRecord['activation']>;

export type Judgement =
  | {
      readonly kind: 'user';
      readonly userId: string;
      readonly record: UserRecord;
      readonly rejection: Rejection | null;
    }
  | { readonly kind: 'activation'; readonly activation: Activation }
  /** Belongs to no user: it moves no version. */
  | { readonly kind: 'nobody'; readonly rejection: Rejection };

export interface JudgeOptions {
  readonly codec: Pick<Codec, 'decode'>;
  readonly partition: number;
  readonly partitions: number;
  readonly actionTypes: ReadonlySet<string>;
  readonly maxIdBytes: number;
  readonly maxSurfaceBytes: number;
}

/** Record timestamps at or above this size fit no Avro long that is read here; producers err by a unit or two. */
const TIME_LIMIT_MS = 2 ** 52;

export function judge(record: LogRecord, options: JudgeOptions): Judgement {
  if (record.headers[CONTROL_HEADER] !== undefined) return judgeControl(record, options);
  const owner = ownerOf(record.key, options);
  if ('cause' in owner) return { kind: 'nobody', rejection: owner };
  const { userId } = owner;
  const at = { offset: record.offset, arrivalTimeMs: record.timestampMs };
  // An erase is obeyed whatever its timestamp.
  if (record.value === null) return { kind: 'user', userId, record: { kind: 'erase', ...at }, rejection: null };
  if (!isTime(record.timestampMs)) return { kind: 'nobody', rejection: invalidArrival(record) };

  let value: UserActionRecord;
  try {
    value = options.codec.decode<UserActionRecord>('user-actions-value', record.value, record.headers);
  } catch (error) {
    return { kind: 'user', userId, record: { kind: 'rejected', ...at }, rejection: decodingRejection(error) };
  }
  if (value.userId !== userId) {
    return { kind: 'nobody', rejection: { cause: 'wrong_key', detail: 'the key is not the user id of the value' } };
  }
  const rejection = check(value, options);
  if (rejection?.cause === 'oversized_id') return { kind: 'nobody', rejection };
  if (rejection !== null) return { kind: 'user', userId, record: { kind: 'rejected', ...at }, rejection };
  const { eventTimeMs, itemId, actionType, surface } = value;
  const action = { eventTimeMs, itemId, actionType, surface: surface ?? '' };
  return { kind: 'user', userId, record: { kind: 'action', ...at, action }, rejection: null };
}

/** Of an activation as JSON: version names have at most 128 characters, hashes 64. */
const MAX_ACTIVATION_CHARS = 1_024;

function judgeControl(record: LogRecord, options: JudgeOptions): Judgement {
  const invalid = (detail: string): Judgement => ({ kind: 'nobody', rejection: { cause: 'invalid_control', detail } });
  const subject = record.headers[CONTROL_HEADER]?.toString();
  if (subject !== CONTROL_SUBJECT) return invalid(`the header ${CONTROL_HEADER} names an unknown subject`);
  if (record.value === null) return invalid('a control record needs a value');
  let control: ControlRecord;
  try {
    control = options.codec.decode<ControlRecord>(CONTROL_SUBJECT, record.value, record.headers);
  } catch (error) {
    return { kind: 'nobody', rejection: decodingRejection(error) };
  }
  if ((control.activation === null) === (control.expire === null)) return invalid('exactly one field must be set');
  if (control.activation !== null) {
    // It stands in the committed metadata, which Kafka limits to 4 KB.
    const tooLong = JSON.stringify(control.activation).length > MAX_ACTIVATION_CHARS;
    return tooLong ? invalid('the activation is too long') : { kind: 'activation', activation: control.activation };
  }
  const owner = ownerOf(record.key, options);
  if ('cause' in owner) return { kind: 'nobody', rejection: owner };
  if (!isTime(record.timestampMs)) return { kind: 'nobody', rejection: invalidArrival(record) };
  const seenVersion = control.expire!.seenVersion;
  const at = { offset: record.offset, arrivalTimeMs: record.timestampMs };
  return {
    kind: 'user',
    userId: owner.userId,
    record: { kind: 'expire', ...at, seenVersion },
    rejection: null,
  };
}

/** The user a key names, if it may stand in this partition. */
export function ownerOf(
  key: Buffer | null,
  options: Pick<JudgeOptions, 'partition' | 'partitions' | 'maxIdBytes'>,
): { userId: string } | Rejection {
  if (key === null) return { cause: 'wrong_key', detail: 'the record has no key' };
  if (key.length === 0) return { cause: 'empty_id', detail: 'the key is empty' };
  if (key.length > options.maxIdBytes) {
    return { cause: 'oversized_id', detail: `the key has ${key.length} bytes, more than ${options.maxIdBytes}` };
  }
  const placed = partitionOf(key, options.partitions);
  if (placed !== options.partition) {
    return { cause: 'wrong_partition', detail: `murmur2 places the key in partition ${placed}` };
  }
  const userId = key.toString();
  if (userId.includes('\ufffd') && !Buffer.from(userId).equals(key)) {
    return { cause: 'wrong_key', detail: 'the key is not valid UTF-8' };
  }
  return { userId };
}

function check(value: UserActionRecord, options: JudgeOptions): Rejection | null {
  if (value.itemId === '') return { cause: 'empty_id', detail: 'the item id is empty' };
  const itemBytes = Buffer.byteLength(value.itemId);
  if (itemBytes > options.maxIdBytes) {
    return { cause: 'oversized_id', detail: `the item id has ${itemBytes} bytes, more than ${options.maxIdBytes}` };
  }
  if (!options.actionTypes.has(value.actionType)) {
    return { cause: 'unknown_action_type', detail: `action type ${JSON.stringify(value.actionType.slice(0, 64))}` };
  }
  // Decoding has bounded it above.
  if (value.eventTimeMs < 0) {
    return { cause: 'invalid_time', detail: `event time ${value.eventTimeMs} ms` };
  }
  if (value.surface !== null && Buffer.byteLength(value.surface) > options.maxSurfaceBytes) {
    return { cause: 'oversized_surface', detail: `the surface has more than ${options.maxSurfaceBytes} bytes` };
  }
  return null;
}

/** Whether a record timestamp can be kept in a user's envelope. */
export const isTime = (timeMs: number): boolean => Math.abs(timeMs) < TIME_LIMIT_MS;

const invalidArrival = ({ timestampMs }: LogRecord): Rejection => ({
  cause: 'invalid_time',
  detail: `record timestamp ${timestampMs} ms`,
});

/** Anything but these two codes is no matter of the record's bytes and is passed on. */
export function decodingRejection(error: unknown): Rejection {
  if (error instanceof FreshetError && error.code === 'SCHEMA_UNKNOWN') {
    return { cause: 'unknown_schema', detail: error.message };
  }
  if (error instanceof FreshetError && error.code === 'RECORD_UNDECODABLE') {
    return { cause: 'undecodable', detail: error.message };
  }
  throw error;
}
