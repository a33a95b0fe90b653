/** Runs the benchmarks, each in a process of its own with the container's memory settings, and prints one line of JSON. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { packagePath } from '../src/base/package-root.ts';

const BENCHES = ['core', 'embedded'];

const results: unknown[] = [];
for (const name of BENCHES) {
  process.stderr.write(`${name} …\n`);
  const result = await runBench(name);
  process.stderr.write(`${JSON.stringify(result, null, 2)}\n`);
  results.push(result);
}
const { dependencies } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as {
  dependencies: Record<string, string>;
};
process.stdout.write(
  `${JSON.stringify({
    commit: commitId(),
    machine: { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, memoryGb: Math.round(totalmem() / 2 ** 30) },
    versions: {
      node: process.versions.node,
      'onnxruntime-node': dependencies['onnxruntime-node'],
      'classic-level': dependencies['classic-level'],
      avsc: dependencies['avsc'],
    },
    results,
  })}\n`,
);

async function runBench(name: string): Promise<unknown> {
  const file = packagePath('bench', `${name}.ts`);
  const child = spawn(process.execPath, [file], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...containerMemorySettings() },
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`benchmark ${name} ended with ${code}`);
  return JSON.parse(output.trim().split('\n').at(-1)!);
}

/** What the Dockerfile sets for malloc and V8. */
function containerMemorySettings(): Record<string, string> {
  const line = /^ENV (MALLOC_ARENA_MAX=.*)$/m.exec(readFileSync(packagePath('Dockerfile'), 'utf8'));
  if (line === null) throw new Error('the Dockerfile sets no MALLOC_ARENA_MAX');
  const settings = line[1]!.split(' ').map((setting): [string, string] => {
    const [name, ...value] = setting.split('=');
    return [name!, value.join('=')];
  });
  return Object.fromEntries(settings);
}

function commitId(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, { cwd: packagePath(), encoding: 'utf8' }).trim();
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') === '' ? '' : ' with changes');
  } catch {
    return 'unknown';
  }
}
