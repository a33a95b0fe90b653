/** Folders that live as long as the test file that asks for them. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folders: string[] = [];

/** Called when a test file is done. */
export function removeTempDirs(): void {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
}

/** A new, empty folder; removed when the test file is done. */
export const tempDir = (): string => newFolder(tmpdir());

/** The same, in memory where there is some: for tests that are not about how long a disk takes to sync. */
export const fastDir = (): string => newFolder(existsSync('/dev/shm') ? '/dev/shm' : tmpdir());

function newFolder(parent: string): string {
  const folder = mkdtempSync(join(parent, 'freshet-test-'));
  folders.push(folder);
  return folder;
}
