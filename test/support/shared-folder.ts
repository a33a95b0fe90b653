/**
 * Folders that the files of a test run share, as making them takes long. Whichever file asks first makes one; it goes
 * when the run does: every file's process has the run's main process as its parent.
 */
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Fails in every file that asks if it did in the one that made it. */
export async function sharedFolder(name: string, make: (folder: string) => void | Promise<void>): Promise<string> {
  const folder = join(tmpdir(), `freshet-${name}-${process.ppid}`);
  const [ready, failed] = [join(folder, 'ready'), join(folder, 'failed')];
  if (mkdirSync(folder, { recursive: true }) !== undefined) {
    removeWithParent(folder);
    // Another user, as that of an image, has to find its way in.
    chmodSync(folder, 0o755);
    try {
      await make(folder);
      writeFileSync(ready, '');
    } catch (error) {
      writeFileSync(failed, String(error));
      throw error;
    }
  }
  while (!existsSync(ready)) {
    if (existsSync(failed)) throw new Error(`another test file failed to make it: ${readFileSync(failed, 'utf8')}`);
    await sleep(200);
  }
  return folder;
}

/** A process of its own, as a test run may be killed. */
function removeWithParent(folder: string): void {
  const script = 'while kill -0 "$0" 2>/dev/null; do sleep 1; done; rm -rf "$1"';
  spawn('sh', ['-c', script, String(process.ppid), folder], { detached: true, stdio: 'ignore' }).unref();
}
