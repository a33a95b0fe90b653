/** The users of one task in LevelDB: state and score cache by user id, and how far into the log they have come. */
import type { Logger } from 'pino';
import { KeyedStore } from '../../state/store.ts';
import type { StateCodec } from '../../state/state-codec.ts';
import type { UserState } from '../../state/user-state.ts';
import { decodeCache, encodeCache, type CachedUser, type ScoreCache } from './score-cache.ts';

/** L: the input offset up to which the store holds all users, and the end of the features topic at that commit. */
export interface StorePosition {
  readonly offset: number;
  readonly featuresEnd: number;
}

export interface UserChange {
  readonly userId: string;
  /** The Avro body of the state; null removes the user. */
  readonly stateBody: Buffer | null;
  readonly cache: ScoreCache | null;
}

export interface UserStoreOptions {
  readonly layoutHash: string;
  readonly stateCodec: StateCodec;
  readonly logger: Logger;
  /** Users whose checksums are remembered between a read and a commit: those of a commit and those in memory. */
  readonly rememberedKeys: number;
}

type Kept = StorePosition | { readonly restoring: true };

export class UserStore {
  private readonly store: KeyedStore<Kept>;
  private readonly stateCodec: StateCodec;

  private constructor(store: KeyedStore<Kept>, stateCodec: StateCodec) {
    this.store = store;
    this.stateCodec = stateCodec;
  }

  static async open(folder: string, options: UserStoreOptions): Promise<UserStore> {
    const { store } = await KeyedStore.open<Kept>(folder, options);
    return new UserStore(store, options.stateCodec);
  }

  /** Undefined: the store is empty, or was left in the middle of a restore. */
  position(): StorePosition | undefined {
    const position = this.store.position();
    return position === undefined || 'restoring' in position ? undefined : position;
  }

  isEmpty(): boolean {
    return this.store.position() === undefined;
  }

  async getMany(userIds: readonly string[]): Promise<(CachedUser<UserState> | undefined)[]> {
    const values = await this.store.getMany(userIds.map((userId) => Buffer.from(userId)));
    return values.map((value) => (value === undefined ? undefined : this.decode(value)));
  }

  /** One batch: all or nothing. A null position marks a restore that has not come to its end. */
  async commit(changes: readonly UserChange[], position: StorePosition | null): Promise<void> {
    const puts: [Buffer, Buffer][] = [];
    const deletes: Buffer[] = [];
    for (const { userId, stateBody, cache } of changes) {
      const key = Buffer.from(userId);
      if (stateBody === null) deletes.push(key);
      else puts.push([key, this.encode(stateBody, cache)]);
    }
    await this.store.commit({ puts, deletes, position: position ?? { restoring: true } });
  }

  /** Every user and the bytes of its state, caches apart, in order of the user id's bytes. */
  async *states(): AsyncGenerator<{ userId: string; stateBody: Buffer; state: UserState }> {
    for await (const [key, value] of this.store.entries()) {
      const stored = value.subarray(2 + value.readUInt16LE(0));
      const state = this.stateCodec.fromStored(stored);
      yield { userId: key.toString(), stateBody: this.stateCodec.encode(state), state };
    }
  }

  wipe(): Promise<void> {
    return this.store.wipe();
  }

  close(): Promise<void> {
    return this.store.close();
  }

  /** Length of the cache (u16), the cache, the state behind its version byte. */
  private encode(stateBody: Buffer, cache: ScoreCache | null): Buffer {
    const cacheBytes = encodeCache(cache);
    const length = Buffer.allocUnsafe(2);
    length.writeUInt16LE(cacheBytes.length, 0);
    return Buffer.concat([length, cacheBytes, this.stateCodec.toStored(stateBody)]);
  }

  private decode(value: Buffer): CachedUser<UserState> {
    const cacheEnd = 2 + value.readUInt16LE(0);
    return {
      state: this.stateCodec.fromStored(value.subarray(cacheEnd)),
      cache: decodeCache(value.subarray(2, cacheEnd)),
    };
  }
}
