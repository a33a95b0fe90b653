/**
 * A keyed store that knows how far into the log it has come, and writes a commit in slices: LevelDB holds a batch whole
 * in memory, three times over, and a commit of a busy partition is many times as large as its write buffer.
 *
 * A store that a commit was interrupted in holds its old position and some keys of the new one. It is brought to the
 * new one by entering that commit, or the tail of the log from the old position on, again: both put whole values.
 */
import { KeyedStore, type StoreOptions } from './store.ts';

/** A null value removes the key. No key may occur twice in a commit. */
export type Change = readonly [key: Buffer, value: Buffer | null];

interface Progress<P> {
  /** Null until the first fill of the store is complete. */
  readonly position: P | null;
  /** False in the middle of a commit. */
  readonly whole: boolean;
  /** Wall clock at the last whole commit: it stands beside the entries and in none of them. */
  readonly committedAtMs: number | null;
}

/** About the size of LevelDB's write buffer, so that its memory is bounded by that. */
const SLICE_BYTES = 256 * 1024;

export class ProgressStore<P> {
  readonly #store: KeyedStore<Progress<P>>;

  private constructor(store: KeyedStore<Progress<P>>) {
    this.#store = store;
  }

  /** @throws as KeyedStore.open. */
  static async open<P>(folder: string, options: StoreOptions): Promise<ProgressStore<P>> {
    const { store } = await KeyedStore.open<Progress<P>>(folder, options);
    return new ProgressStore<P>(store);
  }

  /** Where the log is to be read on from; undefined: the store is empty, or its first fill was interrupted. */
  position(): P | undefined {
    return this.#store.position()?.position ?? undefined;
  }

  /** Whether the store holds what `position` says and nothing of what comes after it. */
  isWhole(): boolean {
    return this.#store.position()?.whole ?? true;
  }

  isEmpty(): boolean {
    return this.#store.position() === undefined;
  }

  /** Whether the last whole commit is longer ago than that. A clock that went back since proves nothing: then it is. */
  isOlderThan(ageMs: number): boolean {
    const committedAtMs = this.#store.position()?.committedAtMs ?? null;
    if (committedAtMs === null) return true;
    const passedMs = Date.now() - committedAtMs;
    return passedMs < 0 || passedMs > ageMs;
  }

  getMany(keys: readonly Buffer[]): Promise<(Buffer | undefined)[]> {
    return this.#store.getMany(keys);
  }

  /** All entries in the order of their keys. No commit may happen before it has ended. */
  entries(): AsyncGenerator<[key: Buffer, value: Buffer], void> {
    return this.#store.entries();
  }

  /** Enters changes that make the store whole at `position`. They are drawn slice by slice. */
  async commit(changes: Iterable<Change>, position: P): Promise<void> {
    await this.#write(changes, { position, whole: true, committedAtMs: Date.now() });
  }

  /** Enters a part of what leads to the next position; the present one stays. */
  async add(changes: Iterable<Change>): Promise<void> {
    await this.#write(changes, this.#partial());
  }

  wipe(): Promise<void> {
    return this.#store.wipe();
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #write(changes: Iterable<Change>, last: Progress<P>): Promise<void> {
    let puts: [Buffer, Buffer][] = [];
    let deletes: Buffer[] = [];
    let bytes = 0;
    for (const [key, value] of changes) {
      if (value === null) deletes.push(key);
      else puts.push([key, value]);
      bytes += key.length + (value?.length ?? 0);
      if (bytes < SLICE_BYTES) continue;
      await this.#store.commit({ puts, deletes, position: this.#partial() });
      [puts, deletes, bytes] = [[], [], 0];
    }
    await this.#store.commit({ puts, deletes, position: last });
  }

  #partial(): Progress<P> {
    const { position = null, committedAtMs = null } = this.#store.position() ?? {};
    return { position, whole: false, committedAtMs };
  }
}
