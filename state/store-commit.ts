/** One change of the store and the LevelDB batch that it becomes. */
import { invariant } from '../src/base/errors.ts';
import type { Ledger } from './store-ledger.ts';
import { META_KEY, checksum, encodeMeta, entryKey, seal, sequenceKey } from './store-record.ts';
import type { StoreMeta } from './store-record.ts';
import { SEQUENCE_WINDOW } from './store-scan.ts';
import type { LevelStore } from './store-scan.ts';

/** One change of the store, all of it or nothing. No key may occur twice in it. */
export interface StoreCommit<P> {
  readonly puts: readonly (readonly [key: Buffer, value: Buffer])[];
  /** Keys without an entry may be among them. */
  readonly deletes: readonly Buffer[];
  /** What the store is as of after this commit; anything that JSON keeps, given back by `position()`. */
  readonly position: P;
}

/** A commit that has been checked: an entry a changed key; a null value deletes. */
export interface CheckedCommit {
  readonly changes: readonly KeyChange[];
  /** JSON. */
  readonly position: string;
}

export interface KeyChange {
  readonly name: string;
  readonly storedKey: Buffer;
  readonly value: Buffer | null;
}

/** Keys and values of one commit: far above what a task sends, and far below the largest table that is checked. */
const MAX_COMMIT_BYTES = 256 * 1024 * 1024;
const NOTHING = Buffer.alloc(0);

/** The name of a key in maps. */
export const nameOf = (key: Buffer): string => key.toString('latin1');

/** Throws INTERNAL if a key occurs twice or the commit is too large. */
export function checkCommit<P>({ puts, deletes, position }: StoreCommit<P>): CheckedCommit {
  const changes = [
    ...puts.map(([key, value]) => ({ name: nameOf(key), storedKey: entryKey(key), value })),
    ...deletes.map((key) => ({ name: nameOf(key), storedKey: entryKey(key), value: null })),
  ];
  const bytes = changes.reduce((sum, { storedKey, value }) => sum + storedKey.length + (value?.length ?? 0), 0);
  invariant(bytes <= MAX_COMMIT_BYTES, `a commit of ${bytes} bytes exceeds ${MAX_COMMIT_BYTES}`);
  invariant(new Set(changes.map(({ name }) => name)).size === changes.length, 'a key occurs twice in a commit');
  const json: string | undefined = JSON.stringify(position);
  invariant(json !== undefined, 'the position of a commit is nothing that JSON keeps');
  return { changes, position: json };
}

/**
 * Writes the changes, the batch's number and the new meta record as one batch, and returns the meta record.
 *
 * @param previous - checksums of the entries that the changes replace, in the order of the changes; null for no entry.
 */
export async function writeCommit(
  db: LevelStore,
  { changes, position }: CheckedCommit,
  previous: readonly (number | null)[],
  ledger: Ledger,
  last: StoreMeta,
): Promise<StoreMeta> {
  const writes = db.batch();
  for (const [index, { name, storedKey, value }] of changes.entries()) {
    const sum = value === null ? null : checksum(storedKey, value);
    if (value === null || sum === null) writes.del(storedKey);
    else writes.put(storedKey, seal(value, sum));
    ledger.replace(name, previous[index] ?? null, sum);
  }
  const batch = last.batch + 1;
  const sequence = sequenceKey(batch);
  writes.put(sequence, seal(NOTHING, checksum(sequence, NOTHING)));
  if (batch > SEQUENCE_WINDOW) writes.del(sequenceKey(batch - SEQUENCE_WINDOW));
  const meta: StoreMeta = { ...last, batch, count: ledger.count, digest: ledger.digest, position };
  writes.put(META_KEY, encodeMeta(meta));
  await writes.write();
  return meta;
}
