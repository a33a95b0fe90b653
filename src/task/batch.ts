/**
 * What one commit gathers: the users its records changed and the records it will write. All records are reduced first;
 * then users are folded, each under the item vectors in force at its last record or, where more than that is emitted, at
 * each record that is. So a features record depends on its user's offsets alone, never on where a commit was cut.
 */
import type { LogRecord, NewRecord } from '../log/log.ts';
import type { ItemTable } from '../intent/item-table.ts';
import type { Codec } from '../serde/codec.ts';
import { historyKey, historyKeys, historyRecord } from '../../state/history.ts';
import type { Layout } from '../../state/layout.ts';
import { reduce, type Reduction, type UserRecord } from '../../state/reducer.ts';
import type { UserState } from '../../state/user-state.ts';
import type { TopicName } from '../../topics/index.ts';
import type { RejectedActionRecord } from '../../topics/records.ts';
import { isTime, type Rejection } from './judge.ts';
import { reviseInPlace, revisionAfter, type Revision, type UserBefore } from './revision.ts';
import type { CachedUser } from './score-cache.ts';

/** Bytes of a rejected record's key and value that go out with the rejection. */
const MAX_REJECTED_BYTES = 65_536;
/** Bytes of a features record beside its actions, and of one action beside its item id. */
const FEATURE_BYTES = 800;
const ACTION_BYTES = 8;

/**
 * Which of a user's states are emitted: the last one, each, or the one that it is in before its record at `offset` (at the
 * end of the batch: before `endOffset`). A rule is asked once at each record of the user but its first in the batch, and is
 * told that state; null: the user is gone.
 */
export type EmitRule = 'commit' | 'action' | ((userId: string, offset: number, state: UserState | null) => boolean);

export interface BatchOptions {
  readonly layout: Layout;
  readonly codec: Pick<Codec, 'encode'>;
  readonly partition: number;
  readonly emit: EmitRule;
}

export class Batch {
  /** History chunks, their tombstones, and rejections, in log order. */
  readonly outputs: NewRecord[] = [];
  readonly counts = new Map<string, number>();
  /** About how many bytes the commit will write. */
  outputBytes = 0;
  /** Of the actions taken; null before the first. */
  newestEventTimeMs: number | null = null;
  newestArrivalTimeMs: number | null = null;
  private readonly users = new Map<string, Revision>();
  private revisions: Revision[] = [];
  private revised = 0;
  private readonly options: BatchOptions;

  constructor(options: BatchOptions) {
    this.options = options;
  }

  has(userId: string): boolean {
    return this.users.has(userId);
  }

  /**
   * Hands over what is to be emitted, in order, so that it can go piece by piece. Where users are emitted once, the
   * batch is at its end then.
   */
  takeRevisions(): Revision[] {
    const { revisions } = this;
    this.revisions = [];
    if (this.options.emit === 'commit') this.users.clear();
    return revisions;
  }

  /** Asks the rule about the last state of each user: to be called at the batch's end, where there is a rule. */
  emitLast(endOffset: number): void {
    for (const [userId, last] of this.users) this.emitBefore(last, userId, endOffset);
  }

  /** Reduces one record of a user; `loaded` is what is kept of the user before this batch. */
  apply(
    userId: string,
    record: UserRecord,
    loaded: CachedUser<UserState> | undefined,
    table: ItemTable,
  ): 'late' | 'future' | null {
    const { layout, partition } = this.options;
    const last = this.users.get(userId);
    if (last !== undefined) this.emitBefore(last, userId, record.offset);
    const state = last === undefined ? (loaded?.state ?? null) : last.state;
    const reduction = reduce(state, record, { userId, partition }, layout);
    const { outcome } = reduction;
    if (outcome === 'skipped') {
      this.count('skipped');
      return null;
    }
    if (reduction.state === null && state !== null) this.tombstoneHistory(state, record.arrivalTimeMs);
    for (const chunk of reduction.chunks) {
      const key = historyKey(userId, chunk.sequence, chunk.chunk);
      const value = this.options.codec.encode('action-history-value', historyRecord(userId, chunk));
      this.write('action-history', key, value, record.arrivalTimeMs);
    }
    if (state !== null || reduction.state !== null) {
      this.revise(last, { userId, state, cache: loaded?.cache ?? null }, reduction, record, table);
    }
    // A rejection's own cause is counted by `reject`.
    if (outcome !== 'rejected') this.count(outcome);
    return outcome === 'late' || outcome === 'future' ? outcome : null;
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

  private revise(
    last: Revision | undefined,
    before: UserBefore,
    reduction: Reduction,
    record: UserRecord,
    table: ItemTable,
  ): void {
    const { arrivalTimeMs } = record;
    if (record.kind === 'action' && (reduction.outcome === 'accepted' || reduction.outcome === 'duplicate')) {
      this.newestEventTimeMs = Math.max(this.newestEventTimeMs ?? -Infinity, record.action.eventTimeMs);
      this.newestArrivalTimeMs = Math.max(this.newestArrivalTimeMs ?? -Infinity, arrivalTimeMs);
    }
    if (last !== undefined && !last.isClosed) {
      reviseInPlace(last, reduction, table, arrivalTimeMs);
      if (record.kind === 'action') this.outputBytes += ACTION_BYTES + record.action.itemId.length;
      return;
    }
    const place = this.revised++;
    const { emit } = this.options;
    const isEmitted = typeof emit === 'string';
    const at = { place, table, arrivalTimeMs, isClosed: emit === 'action', isEmitted };
    const revision = revisionAfter(last, before, reduction, at);
    this.users.set(before.userId, revision);
    this.revisions.push(revision);
    this.outputBytes += FEATURE_BYTES + windowBytes(reduction.state);
  }

  private emitBefore(last: Revision, userId: string, offset: number): void {
    const { emit } = this.options;
    if (typeof emit === 'string' || last.isClosed || !emit(userId, offset, last.state)) return;
    last.isClosed = true;
    last.isEmitted = true;
  }

  private tombstoneHistory(state: UserState, timestampMs: number): void {
    for (const key of historyKeys(state, this.options.layout)) this.write('action-history', key, null, timestampMs);
  }

  private write(topic: TopicName, key: Buffer | null, value: Buffer | null, timestampMs: number): void {
    this.outputs.push({ topic, partition: this.options.partition, timestampMs, key, value });
    this.outputBytes += (key?.length ?? 0) + (value?.length ?? 0);
  }
}

function windowBytes(state: UserState | null): number {
  if (state === null) return 0;
  let bytes = 0;
  for (const { window } of state.sequences) {
    bytes += ACTION_BYTES * window.length;
    for (let at = 0; at < window.length; at += 1) bytes += window[at]!.itemId.length;
  }
  return bytes;
}
