/** docs/bring-your-own-model.md, done as it says: a model exported from PyTorch runs in the stream, without PyTorch. */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { OnnxScorer } from '../src/intent/onnx-scorer.ts';
import { tempDir } from './support/temp-dir.ts';

const FOLDER = packagePath('examples', 'bring-your-own-model', 'linear-recurrence');
const PAGE = readFileSync(packagePath('docs', 'bring-your-own-model.md'), 'utf8');

interface Features {
  readonly value: {
    readonly itemVersion: string;
    readonly sequences: readonly { readonly itemIds: readonly string[] }[];
    readonly intent: readonly { readonly outcome: string; readonly vector: readonly number[] }[];
    readonly finite: boolean;
  };
}

/** Runs commands in a folder that looks like a clone's root. */
async function inClone(commands: string): Promise<string> {
  const root = join(tempDir(), 'clone');
  mkdirSync(root);
  for (const name of ['bin', 'examples', 'node_modules', 'package.json']) {
    symlinkSync(packagePath(name), join(root, name));
  }
  const env = { PATH: `${dirname(process.execPath)}:${process.env['PATH']}`, HOME: process.env['HOME'] };
  const { stdout } = await promisify(execFile)('sh', ['-euc', commands], { cwd: root, env });
  return stdout;
}

describe('the model of the example', () => {
  it('is loaded: the card is complete, PyTorch’s outputs come out, and the batch does not matter', async () => {
    const scorer = await OnnxScorer.load(FOLDER);
    expect([scorer.hiddenSize, scorer.dimension, scorer.space]).toEqual([16, 48, 'deskdrop-ri48-1']);
  });

  it('is of a module of at most 40 lines', () => {
    const source = readFileSync(packagePath('examples', 'bring-your-own-model', 'model.py'), 'utf8');
    expect(source.trimEnd().split('\n').length).toBeLessThanOrEqual(40);
  });
});

describe('the commands of docs/bring-your-own-model.md', () => {
  let stdout: string;
  beforeAll(async () => {
    const [, commands] = /<!-- stream:begin -->\n```sh\n(.*?)```/s.exec(PAGE)!;
    // As npx would find it, without what npx takes to start.
    stdout = await inClone(commands!.replaceAll('npx freshet', 'node bin/freshet.js'));
  }, 180_000);

  it('run the model in the stream', () => {
    const line = stdout.split('\n').find((each) => each.startsWith('{"topic":"sequence-features"'))!;
    const { sequences, intent, finite, itemVersion } = (JSON.parse(line) as Features).value;
    expect(sequences[0]!.itemIds).toEqual(['a3', 'a2', 'a1', 'a1']); // what came last is the second oldest
    expect(intent.map(({ outcome, vector }) => [outcome, vector.length])).toEqual([
      ['click', 48],
      ['save', 48],
    ]);
    expect(intent.every(({ vector }) => vector.some((value) => value !== 0))).toBe(true);
    expect([finite, itemVersion]).toEqual([true, '2026-01-02']);
  });

  it('verify that a replay makes the same records', () => {
    expect(stdout).toContain('2 features records compared: 2 equal, 0 differing, 0 extra, 0 missing');
  });
});
