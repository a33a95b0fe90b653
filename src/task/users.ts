/** The users of a task between two commits: the last ones decoded in memory, all of them in the store. */
import { LRUCache } from 'lru-cache';
import type { UserState } from '../../state/user-state.ts';
import type { CachedUser } from './score-cache.ts';
import type { StorePosition, UserChange, UserStore } from './user-store.ts';

export class Users {
  /** Users read or written lately; all clean. */
  private readonly decoded: LRUCache<string, CachedUser<UserState>>;

  /** @param decodedMax - users kept decoded in memory. */
  constructor(decodedMax: number) {
    this.decoded = new LRUCache({ max: decodedMax });
  }

  get decodedMax(): number {
    return this.decoded.max;
  }

  /** From memory or the store; who is in neither is left out. */
  async load(userIds: Iterable<string>, store: UserStore): Promise<Map<string, CachedUser<UserState>>> {
    const loaded = new Map<string, CachedUser<UserState>>();
    const missing = new Set<string>();
    for (const userId of userIds) {
      const user = this.decoded.get(userId);
      if (user !== undefined) loaded.set(userId, user);
      else missing.add(userId);
    }
    const ids = [...missing];
    const found = await store.getMany(ids);
    ids.forEach((userId, index) => {
      const user = found[index];
      if (user !== undefined) loaded.set(userId, user);
    });
    return loaded;
  }

  /** Enters what the log has committed; `decoded` holds those of the changed users that are to stay in memory. */
  async commit(
    changes: ReadonlyMap<string, UserChange>,
    decoded: ReadonlyMap<string, CachedUser<UserState>>,
    store: UserStore,
    position: StorePosition,
  ): Promise<void> {
    for (const userId of changes.keys()) {
      const user = decoded.get(userId);
      if (user === undefined) this.decoded.delete(userId);
      else this.decoded.set(userId, user);
    }
    await store.commit(changes.values(), position);
  }

  forget(): void {
    this.decoded.clear();
  }
}
