/**
 * Makes a store anew from what it holds. LevelDB forgets removed keys at its leisure, and keeps some for ever: in tables
 * that nothing newer overlaps, and as the places where compactions have ended. A fresh store knows of none.
 */
import { existsSync } from 'node:fs';
import { copyFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MARK_FILE } from './store-mark.ts';
import { openLevel } from './store-open.ts';
import { chunksOf } from './store-scan.ts';

/**
 * Rewrites a closed store. A kill leaves it as it was, as it will be, or absent: then the owner makes it from the log.
 *
 * @throws DATA_DIR_IN_USE, DISK_FULL; what LevelDB throws if the store is damaged.
 */
export async function rewriteStore(folder: string): Promise<void> {
  const rewritten = `${folder}.rewritten`;
  await rm(rewritten, { recursive: true, force: true });
  const from = await openLevel(folder);
  try {
    const to = await openLevel(rewritten);
    try {
      for await (const chunk of chunksOf(from)) {
        await to.batch(chunk.map(([key, value]) => ({ type: 'put', key, value })));
      }
    } finally {
      await to.close();
    }
    if (existsSync(join(folder, MARK_FILE))) await copyFile(join(folder, MARK_FILE), join(rewritten, MARK_FILE));
    // While LevelDB's lock is held: nobody opens what is about to go.
    await rm(folder, { recursive: true });
  } finally {
    await from.close();
  }
  await rename(rewritten, folder);
}
