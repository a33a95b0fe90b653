/** `freshet snapshot`, `reset` and `migrate` as their users have them. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { CliProcess, freshet, inputFile, jsonLines, logLines, succeed } from './support/cli.ts';
import { tempDir } from './support/temp-dir.ts';

const folder = tempDir();
const dataDir = join(folder, 'data');
const env = {
  FRESHET_DATA_DIR: dataDir,
  FRESHET_PARTITIONS: '2',
  FRESHET_MODEL: packagePath('test', 'fixtures', 'intent', 'small'),
  FRESHET_SEQUENCES: JSON.stringify([{ name: 'engagement', windowSize: 5, sealSize: 2 }]),
};
const rows = (from: number, to: number): object[] =>
  Array.from({ length: to - from }, (_, index) => {
    const at = from + index;
    return { userId: `u${at % 5}`, itemId: `i${at % 3}`, actionType: 'view', eventTime: 1_000_000 + at * 1_000 };
  });
const json = async <T>(...args: string[]): Promise<T> =>
  jsonLines<T>(await succeed([...args, '--json'], { env })).at(-1)!;
const load = (file: string, from: number, to: number): Promise<string> =>
  succeed(['load', inputFile(file, rows(from, to)), '--format=ndjson'], { env });
const run = (): Promise<string> => succeed(['run', '--until-end'], { env });

interface Summary {
  readonly name: string;
  readonly appId: string;
  readonly features: readonly { readonly partition: number; readonly offset: number }[];
}

describe('an embedded deployment', () => {
  let first: Summary;
  let hash: object;

  beforeAll(async () => {
    await load('first.ndjson', 0, 60);
    await run();
    first = await json<Summary>('snapshot', 'create');
    await load('second.ndjson', 60, 100);
    await run();
    hash = await json<object>('inspect', '--hash');
  });

  it('goes back to a snapshot, or to the beginning, and comes out as it was', async () => {
    const restored = await json<Summary>('snapshot', 'restore', first.name);
    expect(restored).toMatchObject({ name: first.name, features: first.features });
    const [{ offset = 0 } = {}] = first.features;
    const reset = await json<{ partitions: object[] }>('reset', `--to=${offset}`, '--partitions-only=0');
    expect(reset.partitions).toMatchObject([{ partition: 0, to: offset, snapshot: first.name, generation: 1 }]);
    expect(await succeed(['reset', '--to=1970-01-01T00:16:41Z'], { env })).toContain('the beginning');
    await run();
    expect(await json<object>('inspect', '--hash')).toEqual(hash);
  });

  it('is left alone while a process holds it, and its snapshots are listed', async () => {
    const live = new CliProcess(['run'], { env });
    await live.logged('RUNNING');
    const [reset, listed] = await Promise.all([
      freshet(['reset', '--to=0'], { env }),
      json<Summary>('snapshot', 'list'),
    ]);
    expect([reset.exitCode, logLines(reset)]).toMatchObject([4, [{ code: 'DATA_DIR_IN_USE' }]]);
    expect(listed.name).toBe(first.name);
    await live.stop('SIGTERM');
  });

  it.concurrent.each([
    [['reset', '--to=yesterday'], 'USAGE'],
    [['migrate', '--from-app=feed', '--from-config=absent.json'], 'FILE_NOT_FOUND'],
  ])('%j is wrong use', async (args, code) => {
    const result = await freshet(args, { env });
    expect([result.exitCode, logLines(result)]).toMatchObject([2, [{ code }]]);
  });

  it('is handed to another application, with a larger window', async () => {
    const config = join(folder, 'old.json');
    writeFileSync(config, JSON.stringify({ partitions: 2, sequences: JSON.parse(env.FRESHET_SEQUENCES) as object }));
    const sequences = JSON.stringify([{ name: 'engagement', windowSize: 9, sealSize: 2 }]);
    const next = ['--app-id=new', `--sequences=${sequences}`];
    const moved = await succeed(['migrate', ...next, '--from-app=freshet', `--from-config=${config}`], { env });
    expect(moved).toMatch(/partition 0: \d users moved as of \d+, 0 of them with late actions/);
    const old = await freshet(['run', '--until-end'], { env });
    expect([old.exitCode, logLines(old).at(-1)]).toMatchObject([4, { code: 'APP_MOVED' }]);
    expect(await succeed(['run', '--until-end', ...next], { env })).toContain('"records":0');
  });
});
