/** `freshet/testing` as another project has it: from the package, compiled, since Node strips no types below node_modules. */
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { sharedImage } from './support/image.ts';
import { tempDir } from './support/temp-dir.ts';

const project = tempDir();

beforeAll(async () => {
  const image = await sharedImage();
  mkdirSync(join(project, 'node_modules'));
  symlinkSync(join(image, 'app'), join(project, 'node_modules', 'freshet'));
  for (const name of ['vitest', '@types']) {
    symlinkSync(packagePath('node_modules', name), join(project, 'node_modules', name));
  }
  writeFileSync(join(project, 'package.json'), '{"type":"module"}');
}, 300_000);

const node = async (...args: string[]): Promise<string> =>
  (await promisify(execFile)(process.execPath, args, { cwd: project })).stdout;

it('is JavaScript, and works', async () => {
  const lines = [
    "import { action, featuresOf } from 'freshet/testing';",
    "const features = await featuresOf([action('view', 'a1')]);",
    "console.log(import.meta.resolve('freshet/testing'), features.window().length);",
  ];
  writeFileSync(join(project, 'use.js'), lines.join('\n'));
  expect(await node('use.js')).toMatch(/\/dist\/src\/testing\/index\.js 1\n$/);
});

it('has types: the examples compile against them, and a slip does not', async () => {
  cpSync(packagePath('examples', 'testing'), project, { recursive: true });
  writeFileSync(join(project, 'slip.ts'), "import { featuresOf } from 'freshet/testing';\nvoid featuresOf(3);\n");
  const options = '--noEmit --module nodenext --target es2024 --strict --skipLibCheck --types node'.split(' ');
  const compile = (...files: string[]) =>
    node(packagePath('node_modules', 'typescript', 'bin', 'tsc'), ...options, ...files);
  expect(await compile('window.test.ts', 'late-events.test.ts', 'own-scorer.test.ts')).toBe('');
  await expect(compile('slip.ts')).rejects.toMatchObject({
    stdout: expect.stringContaining('slip.ts(2,17)') as string,
  });
});
