/** `freshet replay` by its commands: output beside a deployment, and what a change would change. */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import type { DeploymentHash } from '../src/run/inspect.ts';
import {
  CliProcess,
  freshet,
  inputFile,
  jsonLines,
  logLines,
  succeed,
  USER_MARK,
  type CliResult,
} from './support/cli.ts';
import { tempDir } from './support/temp-dir.ts';

const dataDir = join(tempDir(), 'data');
const env = {
  FRESHET_DATA_DIR: dataDir,
  FRESHET_MODEL: packagePath('test', 'fixtures', 'intent', 'small'),
  FRESHET_PARTITIONS: '2',
};
const USERS = 6;
const ACTIONS = 30;

const run = (...args: string[]): Promise<string> => succeed(args, { env });
const runJson = async <T>(...args: string[]): Promise<T> => jsonLines<T>(await run(...args)).at(-1)!;
const failed = (...args: string[]): Promise<CliResult> => freshet(args, { env });
const hash = (folder: string): Promise<DeploymentHash> =>
  runJson('inspect', '--hash', '--json', `--data-dir=${folder}`);

beforeAll(async () => {
  const rows = Array.from({ length: USERS * ACTIONS }, (_, at) => ({
    userId: `${USER_MARK}${at % USERS}`,
    itemId: `i${at % 7}`,
    actionType: 'view',
    eventTime: Date.parse('2026-01-02') + at * 60_000,
  }));
  await run('load', inputFile('replay.ndjson', rows), '--format=ndjson');
  await run('run', '--until-end');
});

describe('freshet replay --out', () => {
  const out = join(tempDir(), 'out');

  it('makes a folder with the same features, goes on with it, and refuses another replay', async () => {
    const first = await runJson('replay', `--out=${out}`, '--json', '--to=2026-01-02T01:00:00Z');
    expect(first).toMatchObject({ target: { folder: out }, records: 60, complete: true });
    expect(await runJson('replay', `--out=${out}`, '--json')).toMatchObject({ records: USERS * ACTIONS - 60 });
    expect(await hash(out)).toEqual(await hash(dataDir));
    const other = await failed('replay', `--out=${out}`, '--session-gap-ms=1000');
    expect(other.exitCode).toBe(2);
    expect(logLines(other).at(-1)!.msg).toContain('differs in config');
  });

  it('takes users from a file, and tells none in a log', async () => {
    const users = inputFile('users.txt', [`${USER_MARK}1`, `${USER_MARK}4`]);
    const counts = await runJson('replay', `--users=${users}`, '--json');
    expect(counts).toMatchObject({ records: 2 * ACTIONS, counts: { accepted: 2 * ACTIONS }, gaps: [] });
  });

  it('says what to do where another process holds the log', async () => {
    const worker = new CliProcess(['run'], { env });
    await worker.logged('RUNNING');
    const result = await failed('replay', `--out=${join(tempDir(), 'held')}`);
    expect(result.exitCode).toBe(4);
    expect(logLines(result).at(-1)).toMatchObject({ code: 'DATA_DIR_IN_USE' });
    expect(logLines(result).at(-1)!.remedy).toContain('copy the folder while it is stopped');
    await worker.stop('SIGTERM');
  });
});

describe('freshet replay --what-if', () => {
  it('tells what differs, and exits 1 where a limit is passed', async () => {
    const result = await failed(
      ...['replay', '--what-if-set', 'sequences.0.windowSize=10', '--json', '--show-users'],
      '--fail-over=engagement.length.max:20,engagement.length.p50:19,finite.changed:0',
    );
    expect(result.exitCode).toBe(1);
    expect(logLines(result).at(-1)).toMatchObject({ code: 'LIMIT_PASSED' });
    expect(jsonLines(result.stdout).at(-1)).toMatchObject({
      changes: [{ path: 'sequences.0.windowSize', value: 10 }],
      users: USERS,
      compared: USERS,
      changed: 1,
      quality: null,
      limits: [
        { metric: 'engagement.length.max', value: 20, passed: false },
        { metric: 'engagement.length.p50', passed: true },
        { metric: 'finite.changed', value: 0, passed: false },
      ],
    });
    expect(result.stdout).toContain(`${USER_MARK}0`);
  });

  it('hashes users, and keeps nothing', async () => {
    const file = join(tempDir(), 'change.json');
    writeFileSync(file, '{"sessionGapMs": 1000}');
    const before = readdirSync(dataDir);
    const text = await run('replay', `--what-if=${file}`);
    expect(text).toMatch(/session\.length +100\.0 %/);
    expect(text).not.toContain(USER_MARK);
    expect(readdirSync(dataDir)).toEqual(before);
  });

  it.each([
    [['--out=x', '--what-if-set=sessionGapMs=1'], 'do not go together'],
    [['--what-if-set=sessionGapMs=1', '--fail-over=loss.hybrid.mrr:1'], 'needs --quality'],
    [['--partition=2'], 'there are 0 to 1'],
  ])('is wrong use with %j', async (args, why) => {
    const result = await failed('replay', ...args);
    expect(result.exitCode).toBe(2);
    expect(logLines(result).at(-1)!.msg).toContain(why);
  });
});
