/**
 * The clean-close mark: a file beside LevelDB's that names the last batch of a store that was closed and synced. A
 * store that carries it and ends earlier has lost batches that were on disk, so it is damaged, not merely behind.
 */
import { open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

export const MARK_FILE = 'CLEAN';

/** Durable when it returns. */
export async function writeMark(folder: string, batch: number): Promise<void> {
  await writeFile(join(folder, MARK_FILE), `${batch} ${crc32(String(batch)).toString(16)}\n`, { flush: true });
  await syncFolder(folder);
}

/** The batch named by the mark; undefined without one or with a torn one, which proves nothing either way. */
export async function readMark(folder: string): Promise<number | undefined> {
  const text = await readFile(join(folder, MARK_FILE), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const [batch = '', sum] = text.trimEnd().split(' ');
  return text !== '' && crc32(batch).toString(16) === sum ? Number(batch) : undefined;
}

/** Durable when it returns, so that no mark outlives the writes that follow. */
export async function removeMark(folder: string): Promise<void> {
  await rm(join(folder, MARK_FILE), { force: true });
  await syncFolder(folder);
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
