/** Folders that live as long as the test file that asks for them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

const folders: string[] = [];

afterAll(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A new, empty folder; removed when the test file is done. */
export function tempDir(): string {
  const folder = mkdtempSync(join(tmpdir(), 'freshet-test-'));
  folders.push(folder);
  return folder;
}
