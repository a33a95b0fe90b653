/**
 * The users of a replay between two steps: those of late in memory, all others in the store. Nothing but the replay reads
 * its store, so what changed is written when it leaves memory, not after each step.
 */
import type { StateCodec } from '../../state/state-codec.ts';
import type { UserState } from '../../state/user-state.ts';
import type { CachedUser, ScoreCache } from '../task/score-cache.ts';
import type { UserChange, UserStore } from '../task/user-store.ts';
import { VectorPool } from './vector-pool.ts';

export interface HeldUsersOptions {
  readonly store: UserStore;
  readonly stateCodec: StateCodec;
  /** Users in memory after a step, and actions of theirs: about 150 bytes each. */
  readonly maxUsers: number;
  readonly maxActions: number;
  /** Of the model. */
  readonly hiddenSize: number;
}

interface Held {
  /** Null: the user is gone, and the store is to learn of it. */
  readonly user: { readonly state: UserState; readonly cache: ScoreCache } | null;
  readonly actions: number;
  isWritten: boolean;
}

/** What stays in memory of its limits, once they are passed: the store is not written again after every step. */
const KEPT_SHARE = 0.5;

export class HeldUsers {
  private readonly options: HeldUsersOptions;
  /** Those changed last at the end. */
  private readonly held = new Map<string, Held>();
  private readonly hidden: VectorPool;
  private actions = 0;

  constructor(options: HeldUsersOptions) {
    this.options = options;
    this.hidden = new VectorPool(options.hiddenSize);
  }

  /** From memory or the store; who is in neither is left out. */
  async load(userIds: Iterable<string>): Promise<Map<string, CachedUser<UserState>>> {
    const loaded = new Map<string, CachedUser<UserState>>();
    const missing = new Set<string>();
    for (const userId of userIds) {
      const held = this.held.get(userId);
      if (held === undefined) missing.add(userId);
      else if (held.user !== null) loaded.set(userId, held.user);
    }
    if (missing.size === 0) return loaded;
    const ids = [...missing];
    const found = await this.options.store.getMany(ids);
    ids.forEach((userId, index) => {
      const user = found[index];
      if (user !== undefined) loaded.set(userId, user);
    });
    return loaded;
  }

  /** Replaces a user; null: it is gone. Of its score the hidden state is kept. */
  set(userId: string, user: { readonly state: UserState; readonly cache: ScoreCache } | null): void {
    this.drop(userId);
    const actions = (user?.state.sequences ?? []).reduce((sum, { window }) => sum + window.length, 0);
    const held = user && {
      state: user.state,
      cache: { ...user.cache, hidden: this.hidden.copy(user.cache.hidden), score: null },
    };
    this.held.set(userId, { user: held, actions, isWritten: false });
    this.actions += actions;
  }

  /** Between two steps: brings memory back below its limits, if it is above them. */
  async settle(offset: number): Promise<void> {
    const { maxUsers, maxActions } = this.options;
    this.hidden.reuse();
    if (this.held.size <= maxUsers && this.actions <= maxActions) return;
    await this.flush(offset);
    for (const userId of this.held.keys()) {
      if (this.held.size <= maxUsers * KEPT_SHARE && this.actions <= maxActions * KEPT_SHARE) break;
      this.drop(userId);
    }
  }

  /** Writes all that has changed: the store holds every user as of the input offset. */
  async flush(offset: number): Promise<void> {
    await this.options.store.commit(this.changes(), { offset, featuresEnd: 0 });
    for (const [userId, held] of this.held) {
      held.isWritten = true;
      if (held.user === null) this.drop(userId);
    }
  }

  forget(): void {
    for (const userId of this.held.keys()) this.drop(userId);
  }

  private drop(userId: string): void {
    const held = this.held.get(userId);
    if (held === undefined) return;
    this.held.delete(userId);
    this.actions -= held.actions;
    if (held.user !== null) this.hidden.giveBack(held.user.cache.hidden);
  }

  private *changes(): Generator<UserChange> {
    const { stateCodec } = this.options;
    for (const [userId, { user, isWritten }] of this.held) {
      if (isWritten) continue;
      if (user === null) yield { userId, stateBody: null, cache: null };
      else yield { userId, stateBody: stateCodec.encode(user.state), cache: user.cache };
    }
  }
}
