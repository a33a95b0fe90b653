/** The embedded demo, played twice in one folder; once for all files of a test run. */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { packagePath } from '../../src/base/package-root.ts';
import type { DemoResult } from '../../src/demo/demo.ts';
import { sharedFolder } from './shared-folder.ts';

export interface SharedDemo {
  readonly dataDir: string;
  /** What the first run told a person. */
  readonly text: string;
  /** Of the second one. */
  readonly result: DemoResult;
}

export async function sharedDemo(): Promise<SharedDemo> {
  const folder = await sharedFolder('demo', async (made) => {
    const dataDir = join(made, 'data');
    writeFileSync(join(made, 'text'), await freshet('demo', `--data-dir=${dataDir}`));
    writeFileSync(join(made, 'json'), await freshet('demo', '--json', `--data-dir=${dataDir}`));
  });
  const [text, json] = ['text', 'json'].map((name) => readFileSync(join(folder, name), 'utf8'));
  return { dataDir: join(folder, 'data'), text: text!, result: JSON.parse(json!) as DemoResult };
}

/** Runs a command in the folder of this clone, as a visitor does. */
export async function freshet(...args: string[]): Promise<string> {
  const options = { cwd: packagePath(), maxBuffer: 64 * 1024 * 1024 };
  const { stdout } = await promisify(execFile)(process.execPath, ['bin/freshet.js', ...args], options);
  return stdout;
}
