/** The users of one task in LevelDB: state and score cache by user id, and how far into the log they have come. */
import type { Logger } from 'pino';
import { ProgressStore, type Change } from '../../state/progress-store.ts';
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

export class UserStore {
  private readonly store: ProgressStore<StorePosition>;
  private readonly stateCodec: StateCodec;

  private constructor(store: ProgressStore<StorePosition>, stateCodec: StateCodec) {
    this.store = store;
    this.stateCodec = stateCodec;
  }

  static async open(folder: string, options: UserStoreOptions): Promise<UserStore> {
    return new UserStore(await ProgressStore.open<StorePosition>(folder, options), options.stateCodec);
  }

  /** L; undefined: the store is empty, or its first fill was interrupted. */
  position(): StorePosition | undefined {
    return this.store.position();
  }

  /** Whether the store holds what L says and nothing of what comes after it. */
  isWhole(): boolean {
    return this.store.isWhole();
  }

  /** Whether the last commit is longer ago than that, or may be. */
  isOlderThan(ageMs: number): boolean {
    return this.store.isOlderThan(ageMs);
  }

  isEmpty(): boolean {
    return this.store.isEmpty();
  }

  async getMany(userIds: readonly string[]): Promise<(CachedUser<UserState> | undefined)[]> {
    const values = await this.store.getMany(userIds.map((userId) => Buffer.from(userId)));
    return values.map((value) => (value === undefined ? undefined : this.decode(value)));
  }

  /** Interrupted, it leaves the store at its old position, and not whole. */
  commit(changes: Iterable<UserChange>, position: StorePosition): Promise<void> {
    return this.store.commit(this.encodeAll(changes), position);
  }

  /** A part of what leads to the next position. */
  add(changes: Iterable<UserChange>): Promise<void> {
    return this.store.add(this.encodeAll(changes));
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

  private *encodeAll(changes: Iterable<UserChange>): Generator<Change> {
    for (const { userId, stateBody, cache } of changes) {
      yield [Buffer.from(userId), stateBody === null ? null : this.encode(stateBody, cache)];
    }
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
