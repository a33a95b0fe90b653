/** Runs the benchmarks, each in a process of its own with the container's memory settings, and prints one line of JSON. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { packagePath } from '../src/base/package-root.ts';
import { containerMemorySettings, describeEnvironment } from './environment.ts';

const BENCHES = ['core', 'embedded'];

const results: unknown[] = [];
for (const name of BENCHES) {
  process.stderr.write(`${name} …\n`);
  const result = await runBench(name);
  process.stderr.write(`${JSON.stringify(result, null, 2)}\n`);
  results.push(result);
}
const environment = describeEnvironment(['onnxruntime-node', 'classic-level', 'avsc']);
process.stdout.write(`${JSON.stringify({ ...environment, results })}\n`);

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
