/**
 * Opening a store folder: proved whole, or wiped and empty. Only what is wrong with the content wipes; what is wrong
 * around it (another process, a full disk, permissions) is thrown and leaves the folder as it is.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { FreshetError, storageError } from '../src/base/errors.ts';
import { MARK_FILE, readMark, removeMark } from './store-mark.ts';
import { META_KEY, encodeMeta } from './store-record.ts';
import type { StoreMeta } from './store-record.ts';
import { proveStore } from './store-scan.ts';
import type { LevelStore, RebuildReason } from './store-scan.ts';
import { findTableDamage } from './store-table.ts';

export interface OpenedStore {
  readonly db: LevelStore;
  readonly meta: StoreMeta;
  /** Why the store is empty; absent where it was taken over as it was. */
  readonly reason?: RebuildReason;
}

export interface LevelOptions {
  readonly layoutHash: string;
  /** LevelDB's write buffer; up to two of them are held in memory. */
  readonly writeBufferBytes: number;
}

/** LevelDB serves uncompressed tables from their mappings, past its cache of blocks: what it gets is taken from nobody. */
const CACHE_BYTES = 256 * 1024;
/** LevelDB's least: 64 tables beside its own files. Tables are mapped while they are open, and count as memory. */
const OPEN_FILES_MAX = 74;
const COMPACTION_BUFFER_BYTES = 1024 * 1024;

/** Names of the files that make up a store; others in its folder are LevelDB's lock and its chatter. */
export const STORE_FILE = /^(?:CURRENT|MANIFEST-\d+|\d+\.(?:log|ldb|sst|dbtmp)|CLEAN)$/;

/** Throws DATA_DIR_IN_USE, DISK_FULL and FILE_NOT_FOUND. */
export async function openStore(folder: string, options: LevelOptions): Promise<OpenedStore> {
  try {
    const opened = await openWhole(folder, options);
    if ('db' in opened) return opened;
    return { ...(await openEmpty(folder, options)), reason: opened };
  } catch (error) {
    throw environmentError(error, folder) ?? error;
  }
}

/** Removes the store's files, under LevelDB's lock, and opens an empty one. Other files in the folder stay. */
export async function openEmpty(folder: string, options: LevelOptions): Promise<OpenedStore> {
  try {
    await ClassicLevel.destroy(folder);
    await rm(join(folder, MARK_FILE), { force: true });
    const db = newLevel(folder, options);
    await db.open();
    const meta: StoreMeta = { layoutHash: options.layoutHash, batch: 0, count: 0, digest: 0n, position: undefined };
    await db.batch([{ type: 'put', key: META_KEY, value: encodeMeta(meta) }], { sync: true });
    return { db, meta };
  } catch (error) {
    // There was nothing to be damaged: whatever stands in the way stands around the store.
    throw environmentError(error, folder) ?? new FreshetError('FILE_NOT_FOUND', folder, { cause: error });
  }
}

async function openWhole(folder: string, options: LevelOptions): Promise<OpenedStore | RebuildReason> {
  const names = (await filesOf(folder)).filter((name) => STORE_FILE.test(name));
  if (names.length === 0) return { code: 'new', detail: 'there was no store' };
  if (!names.includes('CURRENT')) return { code: 'files_missing', detail: 'there is no file CURRENT' };
  try {
    const damage = await findTableDamage(folder, names);
    if (damage !== undefined) return { code: 'checksum', detail: damage };
  } catch (error) {
    return reasonOf(error, folder, 'unreadable');
  }

  const db = newLevel(folder, options);
  try {
    await db.open();
  } catch (error) {
    return reasonOf(error, folder, 'open_failed');
  }
  // From here on LevelDB's lock is held. Every way out but the good one closes, as wiping needs the lock.
  try {
    const result = await prove(db, folder, options.layoutHash);
    if ('batch' in result) return { db, meta: result };
    await db.close();
    return result;
  } catch (error) {
    await db.close();
    return reasonOf(error, folder, 'unreadable');
  }
}

async function prove(db: LevelStore, folder: string, layoutHash: string): Promise<StoreMeta | RebuildReason> {
  const closedAt = await readMark(folder);
  await removeMark(folder);
  const result = await proveStore(db, layoutHash);
  if ('batch' in result && closedAt !== undefined && closedAt !== result.batch) {
    return { code: 'batches_lost', detail: `closed after batch ${closedAt}, but it ends at ${result.batch}` };
  }
  return result;
}

/** The LevelDB of a closed store, as it is, for work on its files. Throws DATA_DIR_IN_USE and DISK_FULL. */
export async function openLevel(folder: string): Promise<LevelStore> {
  const db = newLevel(folder, { writeBufferBytes: COMPACTION_BUFFER_BYTES });
  try {
    await db.open();
    return db;
  } catch (error) {
    throw environmentError(error, folder) ?? error;
  }
}

/** A database that begins to open by itself, so it must not be made before the tables are checked. */
function newLevel(folder: string, { writeBufferBytes }: Pick<LevelOptions, 'writeBufferBytes'>): LevelStore {
  return new ClassicLevel<Buffer, Buffer>(folder, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    writeBufferSize: writeBufferBytes,
    cacheSize: CACHE_BYTES,
    maxOpenFiles: OPEN_FILES_MAX,
    // Tables are checked before LevelDB reads them (store-table.ts), by a check that knows no decoder.
    compression: false,
  });
}

async function filesOf(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function reasonOf(error: unknown, folder: string, code: 'open_failed' | 'unreadable'): RebuildReason {
  const cause = environmentError(error, folder);
  if (cause !== undefined) throw cause;
  return { code, detail: errorText(error) };
}

/** What is wrong around the store and not with it: wiping would not help. */
export function environmentError(error: unknown, folder: string): FreshetError | undefined {
  if (error instanceof FreshetError) return error;
  const known = storageError(error, folder);
  if (known !== undefined) return known;
  const text = errorText(error);
  if (/EACCES|EPERM|EROFS|ENOTDIR|Permission denied|Read-only file system/.test(text)) {
    return new FreshetError('FILE_NOT_FOUND', `${folder} cannot be used as a store: ${text}`, { cause: error });
  }
  if (/EMFILE|ENFILE|Too many open files/.test(text)) {
    const remedy = 'Allow the process more open files (ulimit -n).';
    return new FreshetError('FILE_NOT_FOUND', `${folder}: too many open files`, { cause: error, remedy });
  }
  return undefined;
}

function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${errorText(error.cause)}`;
}
