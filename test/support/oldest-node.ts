/** The oldest Node that package.json allows, from the npm registry by way of npm's own cache. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { packagePath } from '../../src/base/package-root.ts';
import { tempDir } from './temp-dir.ts';

const INSTALL_TIMEOUT_MS = 150_000;

/** Its executable and version. Installed once; later it is found in the cache, without the network. */
export async function oldestNode(): Promise<{ readonly path: string; readonly version: string }> {
  const { engines } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as { engines: { node: string } };
  const version = `${engines.node.replace('>=', '')}.0`;
  const script = 'process.stdout.write(process.execPath)';
  const args = ['exec', '--yes', '--prefer-offline', `--package=node@${version}`, '--', 'node', '-e', script];
  try {
    // In an empty folder, or npm takes the Node that this package has installed.
    const options = { cwd: tempDir(), timeout: INSTALL_TIMEOUT_MS };
    const { stdout } = await promisify(execFile)('npm', args, options);
    return { path: stdout, version };
  } catch (error) {
    throw new Error(`Node ${version} cannot be installed by npm: check the network`, { cause: error });
  }
}
