/** The LevelDB under the embedded log: how it is opened, and what its errors mean to a person. */
import { readdir } from 'node:fs/promises';
import { ClassicLevel, type ChainedBatch } from 'classic-level';
import { FreshetError, storageError, type Position } from '../base/errors.ts';

export type Storage = ClassicLevel<Buffer, Buffer>;
export type StorageBatch = ChainedBatch<Storage, Buffer, Buffer>;

export interface StorageOptions {
  /** LevelDB's memtable; up to two are in memory. */
  readonly writeBufferBytes?: number;
  /** Cache of uncompressed blocks. */
  readonly cacheBytes?: number;
}

const MEBIBYTE = 1024 * 1024;

/** Fails with DATA_DIR_IN_USE, DISK_FULL, LOG_CORRUPT or STORAGE_FAILED. */
export async function openStorage(folder: string, options: StorageOptions): Promise<Storage> {
  await assertWhole(folder);
  const storage: Storage = new ClassicLevel<Buffer, Buffer>(folder, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    writeBufferSize: options.writeBufferBytes ?? MEBIBYTE,
    cacheSize: options.cacheBytes ?? MEBIBYTE,
    // Tables are mapped while they are open: few and small ones bound what the process is seen to hold.
    maxFileSize: MEBIBYTE,
    maxOpenFiles: 74,
  });
  try {
    await storage.open();
    return storage;
  } catch (error) {
    throw logError(error, `the log in ${folder} cannot be opened`);
  }
}

/** LevelDB takes a folder without CURRENT for a new one, and removes the data that it finds there. */
async function assertWhole(folder: string): Promise<void> {
  const files = await readdir(folder).catch((): string[] => []);
  if (files.includes('CURRENT') || !files.some((file) => /\.(ldb|sst|log)$/.test(file))) return;
  throw new FreshetError('LOG_CORRUPT', `${folder} holds data of LevelDB but not its file CURRENT`);
}

/** What a person is told about an error of LevelDB; a FreshetError passes as it is. */
export function logError(error: unknown, detail: string, position: Position = {}): FreshetError {
  if (error instanceof FreshetError) return error;
  const known = storageError(error, detail);
  if (known !== undefined) return known;
  const code = isCorruption(error) ? 'LOG_CORRUPT' : 'STORAGE_FAILED';
  return new FreshetError(code, `${detail}: ${innermostMessage(error)}`, { position, cause: error });
}

/** A file that LevelDB's own index names, but that is gone or cut short, is damage like a checksum that does not match. */
function isCorruption(error: unknown): boolean {
  for (let current = error; current instanceof Error; current = current.cause) {
    const { code, message } = current as NodeJS.ErrnoException;
    if (code === 'LEVEL_CORRUPTION') return true;
    if (code === 'LEVEL_IO_ERROR' && /No such file|Invalid argument/.test(message)) return true;
  }
  return false;
}

function innermostMessage(error: unknown): string {
  let message = String(error);
  for (let current = error; current instanceof Error; current = current.cause) message = current.message;
  return message;
}
