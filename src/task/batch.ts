/**
 * What one commit gathers: the users its records changed and the records it will write. All records are reduced first;
 * each changed user is folded once, under the item vectors in force at its last record. So a features record depends
 * on its user's offsets alone, never on where a commit was cut.
 */
import type { LogRecord, NewRecord } from '../log/log.ts';
import type { ItemTable } from '../intent/item-table.ts';
import type { Codec } from '../serde/codec.ts';
import { historyKey, historyKeys, historyRecord } from '../../state/history.ts';
import type { Layout } from '../../state/layout.ts';
import { reduce, type UserRecord } from '../../state/reducer.ts';
import type { UserState } from '../../state/user-state.ts';
import type { TopicName } from '../../topics/index.ts';
import type { RejectedActionRecord } from '../../topics/records.ts';
import { isTime, type Rejection } from './judge.ts';
import type { CachedUser, ScoreCache } from './score-cache.ts';

/** Bytes of a rejected record's key and value that go out with the rejection. */
const MAX_REJECTED_BYTES = 65_536;
/** Bytes of a features record beside its actions, and of one action: for closing a batch before it grows too large. */
const FEATURE_BYTES = 800;
const ACTION_BYTES = 24;

export interface BatchUser {
  readonly userId: string;
  readonly existed: boolean;
  state: UserState | null;
  /** Null where the window has to be folded from its beginning. */
  cache: ScoreCache | null;
  /** The item vectors in force at the user's last record. */
  table: ItemTable;
  /** Arrival of the user's last record: the timestamp of what is written for it. */
  arrivalTimeMs: number;
}

export interface BatchOptions {
  readonly layout: Layout;
  readonly codec: Pick<Codec, 'encode'>;
  readonly partition: number;
}

export class Batch {
  readonly users = new Map<string, BatchUser>();
  /** History chunks, their tombstones, and rejections, in log order. */
  readonly outputs: NewRecord[] = [];
  readonly counts = new Map<string, number>();
  /** About how many bytes the commit will write. */
  outputBytes = 0;
  private readonly options: BatchOptions;

  constructor(options: BatchOptions) {
    this.options = options;
  }

  /** Reduces one record of a user; `loaded` is what is kept of the user before this batch. */
  apply(
    userId: string,
    record: UserRecord,
    loaded: CachedUser<UserState> | undefined,
    table: ItemTable,
  ): 'late' | 'future' | null {
    const { layout, partition } = this.options;
    const user = this.user(userId, loaded, table);
    const reduction = reduce(user.state, record, { userId, partition }, layout);
    if (reduction.outcome === 'skipped') {
      this.count('skipped');
      return null;
    }
    if (reduction.state === null && user.state !== null) this.tombstoneHistory(user.state, record.arrivalTimeMs);
    for (const chunk of reduction.chunks) {
      const key = historyKey(userId, chunk.sequence, chunk.chunk);
      const value = this.options.codec.encode('action-history-value', historyRecord(userId, chunk));
      this.write('action-history', key, value, record.arrivalTimeMs);
    }
    if (reduction.fold === 'refold' || reduction.state === null) user.cache = null;
    user.state = reduction.state;
    user.table = table;
    user.arrivalTimeMs = record.arrivalTimeMs;
    // A rejection's own cause is counted by `reject`.
    if (reduction.outcome !== 'rejected') this.count(reduction.outcome);
    return reduction.outcome === 'late' || reduction.outcome === 'future' ? reduction.outcome : null;
  }

  /** Sends a record that was not taken to the side output, with its cause, position and bytes. */
  reject(record: LogRecord, rejection: Rejection): void {
    const { codec, partition } = this.options;
    const value: RejectedActionRecord = {
      cause: rejection.cause,
      detail: rejection.detail,
      partition,
      offset: record.offset,
      // What is no time is told in the detail.
      timestampMs: isTime(record.timestampMs) ? record.timestampMs : -1,
      key: record.key?.subarray(0, MAX_REJECTED_BYTES) ?? null,
      value: record.value?.subarray(0, MAX_REJECTED_BYTES) ?? null,
      keySize: record.key?.length ?? -1,
      valueSize: record.value?.length ?? 0,
    };
    const key = record.key?.subarray(0, 256) ?? null;
    this.write('rejected-actions', key, codec.encode('rejected-actions-value', value), record.timestampMs);
    if (rejection.cause !== 'late' && rejection.cause !== 'future') this.count(rejection.cause);
  }

  count(outcome: string): void {
    this.counts.set(outcome, (this.counts.get(outcome) ?? 0) + 1);
  }

  private user(userId: string, loaded: CachedUser<UserState> | undefined, table: ItemTable): BatchUser {
    let user = this.users.get(userId);
    if (user === undefined) {
      const state = loaded?.state ?? null;
      user = { userId, existed: state !== null, state, cache: loaded?.cache ?? null, table, arrivalTimeMs: 0 };
      this.users.set(userId, user);
      this.outputBytes += FEATURE_BYTES + ACTION_BYTES * windowLength(state);
    }
    this.outputBytes += ACTION_BYTES;
    return user;
  }

  private tombstoneHistory(state: UserState, timestampMs: number): void {
    for (const key of historyKeys(state, this.options.layout)) this.write('action-history', key, null, timestampMs);
  }

  private write(topic: TopicName, key: Buffer | null, value: Buffer | null, timestampMs: number): void {
    this.outputs.push({ topic, partition: this.options.partition, timestampMs, key, value });
    this.outputBytes += (key?.length ?? 0) + (value?.length ?? 0);
  }
}

const windowLength = (state: UserState | null): number =>
  state?.sequences.reduce((sum, sequence) => sum + sequence.window.length, 0) ?? 0;
