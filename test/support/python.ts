/** Python with the packages of a file of requirements, installed once into a cache. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packagePath } from '../../src/base/package-root.ts';
import { defaultCacheDir } from '../../src/local-kafka/distribution.ts';

const INSTALL_TIMEOUT_MS = 150_000;
const REMEDY = 'install Python 3.9 or newer with its venv module (Debian: apt-get install python3-venv)';

/** The virtual environment's folder. Fails with the remedy where there is no Python. */
export function pythonEnvironment(file = 'examples/python/requirements.txt'): string {
  const requirements = packagePath(file);
  const version = run('python3', ['--version'], `python3 is needed for ${file} and cannot be run: ${REMEDY}`);
  const key = createHash('sha256').update(version).update(readFileSync(requirements)).digest('hex').slice(0, 16);
  const folder = join(defaultCacheDir(), `python-${key}`);
  const complete = join(folder, 'complete');
  if (existsSync(complete)) return folder;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  run('python3', ['-m', 'venv', folder], `python3 cannot make a virtual environment: ${REMEDY}`);
  const install = ['install', '--quiet', '--requirement', requirements];
  run(join(folder, 'bin', 'pip'), install, `the packages of ${file} cannot be installed: check the network`);
  writeFileSync(complete, '');
  return folder;
}

function run(command: string, args: readonly string[], problem: string): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', timeout: INSTALL_TIMEOUT_MS, stdio: 'pipe' });
  } catch (error) {
    throw new Error(problem, { cause: error });
  }
}
