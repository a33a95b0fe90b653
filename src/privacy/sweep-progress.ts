/** How far a sweep has come, in a file beside the stores, so that one that was interrupted goes on. It names no user. */
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { storageError } from '../base/errors.ts';

const schema = z.strictObject({
  appId: z.string(),
  idleMs: z.int().positive(),
  asOfMs: z.int().nonnegative(),
  /** By partition: features offset at which the next pass begins. Absent: nothing of it is done. */
  next: z.record(z.string(), z.int().nonnegative()),
});

export type SweepProgress = z.infer<typeof schema>;

export const sweepProgressPath = (dataDir: string): string => join(dataDir, 'expire.json');

/** Undefined without one, and with one that cannot be read: a sweep from the beginning finds the same users. */
export async function readSweepProgress(file: string): Promise<SweepProgress | undefined> {
  try {
    return schema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    const isUseless = error instanceof z.ZodError || error instanceof SyntaxError;
    if (isUseless || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** In one step: after a crash the file is the old or the new one, whole. */
export async function writeSweepProgress(file: string, progress: SweepProgress): Promise<void> {
  try {
    const temporary = `${file}.tmp`;
    const handle = await open(temporary, 'w');
    try {
      await handle.writeFile(JSON.stringify(progress));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    const folder = await open(dirname(file), 'r');
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    throw storageError(error, file) ?? error;
  }
}

export const removeSweepProgress = (file: string): Promise<void> => rm(file, { force: true });
