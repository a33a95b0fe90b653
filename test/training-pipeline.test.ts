/** The data side of the training pipeline: its own unit tests, which need NumPy and pyarrow but no training framework. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { pythonEnvironment } from './support/python.ts';

it('the training pipeline passes its unit tests', () => {
  const python = join(pythonEnvironment('examples/training/requirements.txt'), 'bin', 'python');
  const script = packagePath('models', 'train', 'run.sh');
  const environment = { ...process.env, PYTHON: python };
  // unittest reports on stderr; a failure makes the script fail, and its text is in the error
  const report = execFileSync('sh', ['-c', '"$0" --test 2>&1', script], { encoding: 'utf8', env: environment });
  const [, count] = /Ran (\d+) tests/.exec(report) ?? [];
  expect(Number(count)).toBeGreaterThanOrEqual(25);
  expect(report).not.toContain('skipped');
}, 240_000);
