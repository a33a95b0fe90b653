/**
 * The users of one partition that have been idle for long, found in their newest features. A pass holds a bounded number
 * of users: it collects that many, reads on to the end for what came of them since, and the next pass goes on behind.
 */
import type { Log, LogRecord, TopicPartition } from '../log/log.ts';
import { records } from '../log/newest.ts';
import type { Codec } from '../serde/codec.ts';
import type { SequenceFeaturesRecord } from '../../topics/records.ts';

export interface IdleUser {
  /** Of the newest features: the last input record consumed for the user has this offset. */
  readonly version: number;
  /** Arrival of the newest record that was consumed for the user, milliseconds since the epoch. */
  readonly newestArrivalTimeMs: number;
}

export interface IdlePass {
  /** By user id. */
  readonly users: Map<string, IdleUser>;
  /** Features offset at which the next pass begins; the end of the partition after the last one. */
  readonly next: number;
  /** Features records that the pass collected from. */
  readonly records: number;
}

export interface IdleUsersOptions {
  readonly log: Log;
  readonly codec: Pick<Codec, 'decode' | 'learn'>;
  readonly partition: number;
  /** Users with nothing newer than this are idle. */
  readonly cutoffMs: number;
  /** Users held at once. */
  readonly maxUsers: number;
  readonly signal: AbortSignal;
}

/** Users whose newest features stand from `from` on, before the next pass's beginning. Throws the signal's reason. */
export async function idleUsers(from: number, options: IdleUsersOptions): Promise<IdlePass> {
  const { log, codec, partition, cutoffMs, maxUsers, signal } = options;
  const at: TopicPartition = { topic: 'sequence-features', partition };
  const end = await log.endOffset(at);
  const users = new Map<string, IdleUser>();
  let next = end;
  let collected = 0;
  for await (const record of records(log, at, Math.max(from, await log.startOffset(at)), end)) {
    signal.throwIfAborted();
    const userId = record.key!.toString();
    users.delete(userId);
    // Behind its own part a pass only learns which of its users came again: the next one judges those.
    if (record.offset >= next) continue;
    collected += 1;
    // The timestamp is the arrival of the last record consumed: never later than the newest one.
    if (record.value !== null && record.timestampMs < cutoffMs) {
      const user = await decode(record, codec);
      if (user.newestArrivalTimeMs < cutoffMs) users.set(userId, user);
    }
    if (users.size === maxUsers) next = record.offset + 1;
  }
  return { users, next, records: collected };
}

async function decode(record: LogRecord, codec: Pick<Codec, 'decode' | 'learn'>): Promise<IdleUser> {
  await codec.learn([record]);
  const { version, envelope } = codec.decode<SequenceFeaturesRecord>(
    'sequence-features-value',
    record.value!,
    record.headers,
  );
  return { version, newestArrivalTimeMs: envelope.newestArrivalTimeMs };
}

/**
 * Takes out of `users` those with records that the features do not know yet: they have acted since, or leave already.
 * How many those were.
 *
 * @param consumed - input offset that was committed before the features were read.
 */
export async function dropPending(
  users: Map<string, IdleUser>,
  consumed: number,
  { log, partition, signal }: IdleUsersOptions,
): Promise<number> {
  const at: TopicPartition = { topic: 'user-actions', partition };
  const before = users.size;
  const start = Math.max(consumed, await log.startOffset(at));
  for await (const { key, offset } of records(log, at, start, await log.endOffset(at))) {
    signal.throwIfAborted();
    const userId = key?.toString() ?? '';
    if (offset > (users.get(userId)?.version ?? Infinity)) users.delete(userId);
  }
  return before - users.size;
}
