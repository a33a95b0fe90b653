/** The embedded demo, played in a folder that an earlier one has left; once for all files of a test run. */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { packagePath } from '../../src/base/package-root.ts';
import type { DeploymentHash } from '../../src/run/inspect.ts';
import { sharedFolder } from './shared-folder.ts';

export interface SharedDemo {
  readonly dataDir: string;
  /** What it told a person. */
  readonly text: string;
  readonly hash: DeploymentHash;
}

/** What stood in the folder before: no run could go on from it. */
export const LEFT_BEHIND = ['log/left', 'state/left', 'schemas.json'];

export async function sharedDemo(): Promise<SharedDemo> {
  const folder = await sharedFolder('demo', async (made) => {
    const dataDir = join(made, 'data');
    for (const name of ['demo.json', ...LEFT_BEHIND]) {
      mkdirSync(dirname(join(dataDir, name)), { recursive: true });
      writeFileSync(join(dataDir, name), 'an earlier demo');
    }
    writeFileSync(join(made, 'text'), await freshet('demo', `--data-dir=${dataDir}`));
    writeFileSync(join(made, 'hash'), await freshet('inspect', '--hash', '--json', `--data-dir=${dataDir}`));
  });
  const [text, hash] = ['text', 'hash'].map((name) => readFileSync(join(folder, name), 'utf8'));
  return { dataDir: join(folder, 'data'), text: text!, hash: JSON.parse(hash!) as DeploymentHash };
}

/** Runs a command in the folder of this clone, as a visitor does. */
export async function freshet(...args: string[]): Promise<string> {
  const options = { cwd: packagePath(), maxBuffer: 64 * 1024 * 1024 };
  const { stdout } = await promisify(execFile)(process.execPath, ['bin/freshet.js', ...args], options);
  return stdout;
}
