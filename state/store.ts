/**
 * A keyed store on LevelDB: a cache of the log, guarded against LevelDB's faults. It holds exactly what one of its
 * commits left, or it is wiped at open and the owner rebuilds it; its content is never half right.
 *
 * One owner, one folder. Calls may overlap: they run one after the other, since a read holds a snapshot in
 * classic-level, and LevelDB 1.20 reads stale values where a snapshot lives across a write (google/leveldb#320).
 */
import { FreshetError, invariant } from '../src/base/errors.ts';
import { checkCommit, nameOf, writeCommit } from './store-commit.ts';
import type { KeyChange, StoreCommit } from './store-commit.ts';
import { Ledger } from './store-ledger.ts';
import { writeMark } from './store-mark.ts';
import { environmentError, openEmpty, openStore } from './store-open.ts';
import type { OpenedStore } from './store-open.ts';
import { ENTRY_KIND, META_KEY, encodeMeta, entryKey, unseal } from './store-record.ts';
import type { StoreMeta } from './store-record.ts';
import { chunksOf } from './store-scan.ts';
import type { LevelStore, RebuildCode } from './store-scan.ts';
import { TurnQueue } from './store-turns.ts';

export type { StoreCommit } from './store-commit.ts';
export type { RebuildCode } from './store-scan.ts';

/** The part of pino's logger that the store needs. */
export interface StoreLogger {
  warn(details: object, message: string): void;
}

export interface StoreOptions {
  /** What the values mean. A store written under another hash is wiped. */
  readonly layoutHash: string;
  readonly logger?: StoreLogger;
  /** Keys whose checksums are remembered between a read and a commit, about 100 bytes each; by default 65,536. */
  readonly rememberedKeys?: number;
  /** LevelDB's write buffer, by default 1 MB; up to two of them, and a commit each, are held. Larger ones write faster. */
  readonly writeBufferBytes?: number;
}

const DEFAULTS = { rememberedKeys: 65_536, writeBufferBytes: 1024 * 1024 } as const;

type ResolvedOptions = Required<Omit<StoreOptions, 'logger'>>;

export class KeyedStore<P> {
  readonly #folder: string;
  readonly #options: ResolvedOptions;
  readonly #turns = new TurnQueue();
  #db: LevelStore;
  #meta: StoreMeta;
  #ledger: Ledger;
  #iterations = 0;
  #closed = false;
  /** Set once a read or a write has failed: what is on disk is unknown until the store is wiped or opened again. */
  #failure: FreshetError | undefined;

  private constructor(folder: string, options: ResolvedOptions, opened: OpenedStore) {
    this.#folder = folder;
    this.#options = options;
    this.#db = opened.db;
    this.#meta = opened.meta;
    this.#ledger = newLedger(opened.meta, options);
  }

  /**
   * Opens the store in `folder`, which it creates. Reads all of it; if anything is wrong the store is wiped, and
   * `reason` says why: a stable code (`RebuildCode`), a colon, the circumstances. The owner then rebuilds.
   *
   * @throws DATA_DIR_IN_USE, DISK_FULL, FILE_NOT_FOUND (permissions): nothing is wiped then.
   */
  static async open<P>(
    folder: string,
    options: StoreOptions,
  ): Promise<{ store: KeyedStore<P>; reason?: `${RebuildCode}: ${string}` }> {
    const resolved = { ...DEFAULTS, ...options };
    const opened = await openStore(folder, resolved);
    const store = new KeyedStore<P>(folder, resolved, opened);
    if (opened.reason === undefined) return { store };
    const { code, detail } = opened.reason;
    if (code !== 'new') options.logger?.warn({ folder, code, detail }, 'state store wiped, to be rebuilt from the log');
    return { store, reason: `${code}: ${detail}` };
  }

  /** The position of the last commit; undefined in an empty store. */
  position(): P | undefined {
    return this.#meta.position === undefined ? undefined : (JSON.parse(this.#meta.position) as P);
  }

  /** Number of entries. */
  get size(): number {
    return this.#meta.count;
  }

  /** The values of `keys`, in their order. @throws STORE_DAMAGED: wipe and rebuild. */
  async getMany(keys: readonly Buffer[]): Promise<(Buffer | undefined)[]> {
    return this.#turns.take(async () => {
      this.#usable();
      return this.#attempt(() => this.#read(keys));
    });
  }

  /**
   * Writes one batch. It outlives the process once this returns, not the machine: the log is what is synced.
   *
   * @throws INTERNAL if an iteration is open or a key occurs twice: nothing has changed. DISK_FULL and STORE_DAMAGED:
   * the batch is in or not, and every later call fails alike until the store is wiped or opened again.
   */
  async commit(change: StoreCommit<P>): Promise<void> {
    return this.#turns.take(async () => {
      this.#usable();
      invariant(this.#iterations === 0, 'the store was written to while it is iterated over');
      const checked = checkCommit(change);
      await this.#attempt(async () => {
        const previous = await this.#previousSums(checked.changes);
        this.#meta = await writeCommit(this.#db, checked, previous, this.#ledger, this.#meta);
      });
    });
  }

  /** All entries in the order of their keys, read in chunks of about 1 MB. No commit may happen before it has ended. */
  async *entries(): AsyncGenerator<[key: Buffer, value: Buffer], void> {
    await this.#turns.take(async () => {
      this.#usable();
      this.#iterations += 1;
    });
    try {
      for await (const chunk of chunksOf(this.#db, ENTRY_KIND)) {
        for (const [stored, sealed] of chunk) yield [stored.subarray(1), this.#opened(stored, sealed).value];
      }
    } catch (error) {
      throw this.#failed(error);
    } finally {
      this.#iterations -= 1;
    }
  }

  /** Empties the store, also a damaged one; the owner rebuilds. */
  async wipe(): Promise<void> {
    return this.#turns.take(async () => {
      invariant(!this.#closed, 'the store is closed');
      invariant(this.#iterations === 0, 'the store was wiped while it is iterated over');
      await this.#attempt(async () => {
        await this.#db.close();
        const { db, meta } = await openEmpty(this.#folder, this.#options);
        this.#db = db;
        this.#meta = meta;
        this.#ledger = newLedger(meta, this.#options);
      });
      this.#failure = undefined;
    });
  }

  /** Syncs, closes and leaves the clean-close mark, unless something has failed. Closing again does nothing. */
  async close(): Promise<void> {
    return this.#turns.take(async () => {
      if (this.#closed) return;
      this.#closed = true;
      if (this.#failure !== undefined) return this.#db.close();
      await this.#attempt(async () => {
        await this.#db.batch([{ type: 'put', key: META_KEY, value: encodeMeta(this.#meta) }], { sync: true });
        await this.#db.close();
        await writeMark(this.#folder, this.#meta.batch);
      });
    });
  }

  async #read(keys: readonly Buffer[]): Promise<(Buffer | undefined)[]> {
    const storedKeys = keys.map(entryKey);
    const sealed = await this.#db.getMany(storedKeys);
    return sealed.map((bytes, index) => {
      const found = bytes === undefined ? undefined : this.#opened(storedKeys[index]!, bytes);
      this.#ledger.remember(nameOf(keys[index]!), found?.sum);
      return found?.value;
    });
  }

  /** The checksums of the entries that a commit replaces: remembered, or read now. */
  async #previousSums(changes: readonly KeyChange[]): Promise<(number | null)[]> {
    const sums = changes.map(({ name }) => this.#ledger.recall(name));
    const unknown = changes.filter((_, index) => sums[index] === undefined);
    const sealed = unknown.length === 0 ? [] : await this.#db.getMany(unknown.map(({ storedKey }) => storedKey));
    const read = unknown.map(({ storedKey }, at) => {
      const bytes = sealed[at];
      return bytes === undefined ? null : this.#opened(storedKey, bytes).sum;
    });
    let next = 0;
    return sums.map((sum) => (sum === undefined ? (read[next++] ?? null) : sum));
  }

  #opened(storedKey: Buffer, sealed: Buffer): { value: Buffer; sum: number } {
    const opened = unseal(storedKey, sealed);
    if (opened === undefined) throw new FreshetError('STORE_DAMAGED', `${this.#folder}: an entry fails its checksum`);
    return opened;
  }

  #usable(): void {
    invariant(!this.#closed, 'the store is closed');
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #attempt<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.#failed(error);
    }
  }

  #failed(error: unknown): FreshetError {
    this.#failure =
      environmentError(error, this.#folder) ?? new FreshetError('STORE_DAMAGED', this.#folder, { cause: error });
    return this.#failure;
  }
}

const newLedger = ({ count, digest }: StoreMeta, { rememberedKeys }: ResolvedOptions): Ledger =>
  new Ledger(count, digest, rememberedKeys);
