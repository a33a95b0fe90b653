import { readdirSync } from 'node:fs';
import { ESLint } from 'eslint';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { LAYERS } from '../layers.js';

/** The rule reads no types: without them, and without the rules that do, the rest of the project need not be read. */
const eslint = new ESLint({
  cwd: packagePath(),
  overrideConfig: { languageOptions: { parserOptions: { projectService: false } } },
  ruleFilter: ({ ruleId }) => ruleId === 'no-restricted-imports',
});

async function violations(file: string, code: string): Promise<string[]> {
  const [result] = await eslint.lintText(code, { filePath: packagePath(file) });
  return result!.messages.filter((message) => message.ruleId === 'no-restricted-imports').map(({ message }) => message);
}

describe('folders', () => {
  it('are all in the list, and the list has no others', () => {
    const sources = readdirSync(packagePath('src')).map((folder) => `src/${folder}`);
    expect([...sources, 'topics', 'state'].sort()).toEqual([...LAYERS].sort());
  });

  it.each([
    ['state/reducer.ts', "import '../src/task/feature-task.ts';"],
    ['state/reducer.ts', "import type { X } from '../src/cli/main.ts';"],
    ['topics/index.ts', "import '../state/reducer.ts';"],
    ['topics/index.ts', "import '../src/log/log.ts';"],
    ['src/log/log.ts', "import '../../state/reducer.ts';"],
    ['src/log/log.ts', "import '../intent/scorer.ts';"],
    ['src/log/log.ts', "export * from '../task/feature-task.ts';"],
    ['src/base/errors.ts', "import '../../topics/index.ts';"],
    ['src/task/judge.ts', "import '../join/join-task.ts';"],
    ['src/task/judge.ts', "import '../../test/oracle.ts';"],
  ])('%s may not say %s', async (file, code) => {
    expect(await violations(file, code)).toHaveLength(1);
  });

  it.each([
    ['src/task/judge.ts', "import '../../state/reducer.ts';"],
    ['src/task/judge.ts', "import '../log/log.ts';"],
    ['src/task/judge.ts', "import './batch.ts';"],
    ['state/reducer.ts', "import './action.ts';"],
  ])('%s may say %s', async (file, code) => {
    expect(await violations(file, code)).toEqual([]);
  });
});
