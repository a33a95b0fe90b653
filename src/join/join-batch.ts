/**
 * What one commit of the join gathers: each user's newest record of either side. A user changed in a commit is written
 * once, as the newest pair.
 */
import { ByteBlocks } from '../base/byte-blocks.ts';
import type { LogRecord, NewRecord } from '../log/log.ts';
import type { UserEmbeddingRecord } from '../../topics/records.ts';
import type { SidesChange } from './join-store.ts';
import { NO_SIDES, timestampOf, type RankingRecords, type Side, type Sides } from './ranking-record.ts';

interface JoinUser {
  /** What the store holds of the user. */
  readonly before: Sides;
  /** The newest record of `sequence-features`, a tombstone included; undefined: none in this commit. */
  features: LogRecord | undefined;
  /** The newest usable record of `user-embeddings`; null after its removal, undefined: none in this commit. */
  longTerm: Side | null | undefined;
  /** Newest timestamp among the records of this commit. */
  timestampMs: number;
  /** About what each side will take in the output. */
  readonly bytes: { realtime: number; longTerm: number };
}

export interface JoinedBatch {
  readonly outputs: NewRecord[];
  readonly changes: SidesChange[];
  /** Records that are not tombstones. */
  readonly ranked: number;
}

export class JoinBatch {
  private readonly users = new Map<string, JoinUser>();
  private readonly records: RankingRecords;
  private readonly bytes = new ByteBlocks();
  /** Those whose newest features are still the log's bytes. */
  private fresh = new Set<JoinUser>();
  /** About how many bytes the commit will write. */
  outputBytes = 0;

  constructor(records: RankingRecords) {
    this.records = records;
  }

  has(userId: string): boolean {
    return this.users.has(userId);
  }

  /** Enters a user; `before` is what the store holds of it. */
  add(userId: string, before: Sides = NO_SIDES): void {
    const bytes = { realtime: before.realtime?.bytes.length ?? 0, longTerm: before.longTerm?.bytes.length ?? 0 };
    this.users.set(userId, { before, features: undefined, longTerm: undefined, timestampMs: 0, bytes });
    this.outputBytes += bytes.realtime + bytes.longTerm;
  }

  /**
   * Decoding waits until the batch is whole, as only the newest features of a user count. Until `keep` the record's bytes
   * are the log's.
   */
  setFeatures(userId: string, record: LogRecord): void {
    const user = this.touch(userId, record);
    user.features = record;
    this.fresh.add(user);
    this.resize(user, 'realtime', record.value?.length ?? 0);
  }

  /** To be called when all records of a read are set: what is needed of them is copied. */
  keep(): void {
    for (const user of this.fresh) {
      const { features } = user;
      const value = features?.value ?? null;
      if (features === undefined || value === null) continue;
      user.features = { ...features, value: this.bytes.copy(value, 0, value.length) };
    }
    this.fresh = new Set();
  }

  /** To be called when log and store hold the commit: the memory of its records is used again. */
  release(): void {
    this.bytes.release();
  }

  setLongTerm(userId: string, record: LogRecord, embedding: UserEmbeddingRecord | null): void {
    const user = this.touch(userId, record);
    user.longTerm = embedding === null ? null : this.records.longTerm(record, embedding, this.bytes);
    this.resize(user, 'longTerm', user.longTerm?.bytes.length ?? 0);
  }

  /** The records to write to a partition of `ranking-features`, and what to store. */
  join(partition: number): JoinedBatch {
    const joined = { outputs: [] as NewRecord[], changes: [] as SidesChange[], ranked: 0 };
    for (const [userId, user] of this.users) {
      const { before } = user;
      const after = this.after(user);
      if (samePair(before, after)) continue;
      const lives = after.realtime !== null || after.longTerm !== null;
      joined.outputs.push({
        topic: 'ranking-features',
        partition,
        // A tombstone has no pair to take its time from: it takes that of the record which removed the last side.
        timestampMs: lives ? timestampOf(after) : user.timestampMs,
        key: Buffer.from(userId),
        value: lives ? this.records.value(userId, after, this.bytes) : null,
      });
      joined.changes.push({ userId, sides: lives ? after : null });
      if (lives) joined.ranked += 1;
    }
    return joined;
  }

  private after({ before, features, longTerm }: JoinUser): Sides {
    let { realtime } = before;
    if (features !== undefined) realtime = features.value === null ? null : this.records.realtime(features, this.bytes);
    return { realtime, longTerm: longTerm === undefined ? before.longTerm : longTerm };
  }

  private touch(userId: string, record: LogRecord): JoinUser {
    const user = this.users.get(userId)!;
    user.timestampMs = Math.max(user.timestampMs, record.timestampMs);
    return user;
  }

  private resize(user: JoinUser, side: keyof JoinUser['bytes'], bytes: number): void {
    this.outputBytes += bytes - user.bytes[side];
    user.bytes[side] = bytes;
  }
}

const samePair = (a: Sides, b: Sides): boolean =>
  a.realtime?.offset === b.realtime?.offset && a.longTerm?.offset === b.longTerm?.offset;
