/** The demo's data folder: made anew by every run, so that every run shows the same. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FreshetError, storageError } from '../base/errors.ts';

const MARKER = 'demo.json';
const CONTENTS = ['log', 'state', 'schemas.json', 'rejected-rows'];

/** Empties the folder of an earlier demo. A folder that holds anything else is refused: it may be somebody's data. */
export async function prepareDemoFolder(dataDir: string): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true });
    if (!existsSync(join(dataDir, MARKER)) && (await readdir(dataDir)).length > 0) {
      throw new FreshetError('USAGE', `${dataDir} is not empty and was not made by the demo`, {
        remedy: 'Give the demo a folder of its own with --data-dir.',
      });
    }
    await writeFile(
      join(dataDir, MARKER),
      `${JSON.stringify({ madeBy: 'freshet demo', emptiedByTheNextDemo: true })}\n`,
    );
    for (const name of CONTENTS) await rm(join(dataDir, name), { recursive: true, force: true });
  } catch (error) {
    throw storageError(error, dataDir) ?? error;
  }
}
