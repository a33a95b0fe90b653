/** What one commit will write: its records in the log, its changes in the store, and the users to keep in memory. */
import type { NewRecord } from '../log/log.ts';
import type { UserState } from '../../state/user-state.ts';
import type { BatchUser } from './batch.ts';
import type { Featured } from './features.ts';
import { storable, type CachedUser } from './score-cache.ts';
import type { UserChange } from './user-store.ts';

const TOPIC = 'sequence-features';

export class CommitDraft {
  readonly outputs: NewRecord[] = [];
  /** Features records among the outputs. */
  features = 0;
  readonly changes: UserChange[] = [];
  /** The last changed users, decoded. */
  readonly decoded = new Map<string, CachedUser<UserState>>();
  private readonly partition: number;
  private readonly decodedMax: number;

  /** @param decodedMax - decoded users that are kept: no more than the task's cache will take. */
  constructor(partition: number, decodedMax: number) {
    this.partition = partition;
    this.decodedMax = decodedMax;
  }

  add({ user, state, cache, stateBody, features }: Featured): void {
    this.write(user, features);
    this.features += 1;
    this.changes.push({ userId: user.userId, stateBody, cache: storable(cache) });
    this.keep(user.userId, { state, cache });
  }

  /** A user that had a state and has none any more. */
  remove(user: BatchUser): void {
    this.write(user, null);
    this.changes.push({ userId: user.userId, stateBody: null, cache: null });
  }

  private write({ userId, arrivalTimeMs }: BatchUser, value: Buffer | null): void {
    const { partition } = this;
    this.outputs.push({ topic: TOPIC, partition, timestampMs: arrivalTimeMs, key: Buffer.from(userId), value });
  }

  private keep(userId: string, user: CachedUser<UserState>): void {
    this.decoded.set(userId, user);
    if (this.decoded.size > this.decodedMax) this.decoded.delete(this.decoded.keys().next().value!);
  }
}
