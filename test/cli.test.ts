/** What every command has in common: help, wrong use, configuration, streams and exit codes. */
import { execFile } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { program } from '../src/cli/main.ts';
import { CliProcess, freshet, inputFile, logLines, succeed, USER_MARK } from './support/cli.ts';
import { tempDir } from './support/temp-dir.ts';

const folder = tempDir();
const dataDir = join(folder, 'data');

interface Node {
  readonly path: readonly string[];
  readonly command: Command;
}

const tree = (command: Command, path: readonly string[]): Node[] => [
  { path, command },
  ...command.commands.flatMap((child) => tree(child, [...path, child.name()])),
];
const NODES = tree(await program(), []);

/** What `--help` prints; in this process, as there are many commands. */
async function helpOf(path: readonly string[]): Promise<string> {
  let text = '';
  const root = await program();
  for (const { command } of tree(root, [])) command.configureOutput({ writeOut: (more) => (text += more) });
  const parsed = root.parseAsync([...path, '--help'], { from: 'user' });
  await expect(parsed).rejects.toMatchObject({ code: 'commander.helpDisplayed' });
  return text;
}

describe('help', () => {
  it.each(NODES.map((node) => ({ ...node, name: ['freshet', ...node.path].join(' ') })))(
    '$name --help names every option and command, with examples',
    async ({ path, command }) => {
      const text = await helpOf(path);
      for (const { long } of command.options) expect(text).toMatch(new RegExp(`${long}[ \\n]`));
      for (const child of command.commands) expect(text).toContain(`\n  ${child.name()}`);
      expect(text).toMatch(new RegExp(`\nExamples:\n  \\$ ${['freshet', ...path].join(' ')}`));
    },
  );

  it('every command that does something takes --data-dir', () => {
    const leaves = NODES.filter(({ command }) => command.commands.length === 0);
    expect(leaves.map(({ path }) => path.join(' ')).sort()).toEqual(
      [
        [
          'asof',
          'backfill',
          'config',
          'demo',
          'erase',
          'expire',
          'inspect',
          'join',
          'load',
          'migrate',
          'model scores',
          'read',
          'replay',
          'reset',
          'run',
          'skew',
          'snapshot create',
          'snapshot list',
          'snapshot restore',
          'status',
          'topics apply',
          'topics list',
          'topics plan',
        ],
        ['vectors activate', 'vectors build', 'vectors load'],
      ].flat(),
    );
    for (const { command } of leaves) expect(command.options.map(({ long }) => long)).toContain('--data-dir');
  });

  it('comes from a process as it is', async () => {
    for (const path of [[], ['vectors', 'load']]) {
      expect(await succeed([...path, '--help'])).toBe(await helpOf(path));
    }
  });

  it('--version', async () => {
    expect(await succeed(['--version'])).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('a clone starts it', () => {
  const env = {
    ...process.env,
    PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
    npm_config_offline: 'true',
  };
  it.concurrent.each([
    ['npx', ['freshet', '--help']],
    ['npm', ['run', '--silent', 'freshet', '--', '--help']],
  ])('by %s', async (file, args) => {
    const { stdout } = await promisify(execFile)(file, args, { cwd: packagePath(), env });
    expect(stdout).toMatch(/^Usage: freshet /);
  });
});

describe('an older Node', () => {
  // In its place: the version, and the module names without what came later.
  const OLDER = `import module, { syncBuiltinESMExports } from 'node:module';
    Object.defineProperty(process.versions, 'node', { value: '20.20.2' });
    for (const name of ['enableCompileCache', 'registerHooks', 'stripTypeScriptTypes']) delete module[name];
    syncBuiltinESMExports();`;

  it('is told which one is needed', async () => {
    const older = `data:text/javascript,${encodeURIComponent(OLDER)}`;
    const args = ['--import', older, packagePath('bin', 'freshet.js'), '--version'];
    const run = promisify(execFile)(process.execPath, args);
    await expect(run).rejects.toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('needs Node 22.18 or newer') as string,
    });
  });

  it('has all that is imported by name before it is told', () => {
    const source = readFileSync(packagePath('bin', 'freshet.js'), 'utf8');
    expect([...source.matchAll(/^import \{ (.+) \}/gm)].map(([, names]) => names)).toEqual(['existsSync']);
  });
});

describe('exit 2: wrong use, told on stderr alone', () => {
  const CONFIG = join(folder, 'unknown.json');
  writeFileSync(CONFIG, '{"commit":{"intervalMz":5}}');
  const at = `--data-dir=${dataDir}-usage`;

  it.concurrent.each<[string, string[], string, RegExp]>([
    ['no command', ['topics'], 'USAGE', /no command is given/],
    ['an unknown command', ['frobnicate'], 'USAGE', /unknown command 'frobnicate'/],
    ['an unknown option', ['run', `--usr=${USER_MARK}ann`], 'USAGE', /unknown option '--usr'/],
    ['a format there is not', ['load', 'x.csv', '--format=xml', at], 'USAGE', /Allowed choices are csv, ndjson/],
    ['a number that is none', ['read', 'user-actions', '--limit=ten', at], 'USAGE', /--limit/],
    ['a missing option', ['join', `--user=${USER_MARK}ann`, at], 'USAGE', /--items/],
    [
      'an unknown key in a file',
      ['config', `--config=${CONFIG}`],
      'CONFIG_UNKNOWN_KEY',
      /intervalMz.*commit.intervalMs/,
    ],
    ['a value out of range', ['config', '--partitions=0'], 'CONFIG_INVALID', /partitions: .*flag --partitions/],
    ['a missing configuration', ['config', '--config=/nowhere.json'], 'FILE_NOT_FOUND', /nowhere.json/],
    ['a missing file', ['load', '/nowhere.csv', '--format=csv', `${at}-file`], 'FILE_NOT_FOUND', /nowhere.csv/],
    ['contradicting options', ['load', '/nowhere.csv', '--format=csv', '--no-header', at], 'USAGE', /--columns/],
    ['neither user nor hash', ['inspect', at], 'USAGE', /--user=ID or --hash/],
    ['an unknown topic', ['read', 'user-action', `${at}-topic`], 'UNKNOWN_TOPIC', /user-action/],
    ['an unknown vector version', ['vectors', 'activate', 'v0', `${at}-v0`], 'VECTOR_VERSION_UNKNOWN', /v0/],
  ])('%s', async (_name, args, code, message) => {
    const result = await freshet(args);
    expect([result.exitCode, result.stdout]).toEqual([2, '']);
    const isGroup = args.length === 1 && args[0] === 'topics';
    const stderr = isGroup ? result.stderr.slice(result.stderr.indexOf('{"level"')) : result.stderr;
    expect(logLines({ stderr })).toMatchObject([{ code, msg: expect.stringMatching(message) as string }]);
    expect(logLines({ stderr })[0]!.remedy).not.toBe('');
    if (isGroup) expect(result.stderr).toMatch(/^Usage: freshet topics/);
  });

  it('an unknown environment variable, with the nearest known one', async () => {
    const result = await freshet(['config'], { env: { FRESHET_DATADIR: 'x' } });
    expect([result.exitCode, result.stdout]).toEqual([2, '']);
    expect(logLines(result)[0]!.msg).toContain('FRESHET_DATADIR; the nearest known one is FRESHET_DATA_DIR');
  });
});

describe('configuration', () => {
  it('flags override the environment, the environment the file, key by key', async () => {
    const cwd = tempDir();
    const commit = { intervalMs: 1, maxRecords: 1, maxOutputBytes: 1_000_000 };
    writeFileSync(join(cwd, 'freshet.config.json'), JSON.stringify({ appId: 'file', commit }));
    const env = { FRESHET_COMMIT_INTERVAL_MS: '2', FRESHET_COMMIT_MAX_RECORDS: '2', FRESHET_DATA_DIR: 'from-env' };
    const config = JSON.parse(await succeed(['config', '--commit-max-records=3'], { cwd, env })) as object;
    expect(config).toMatchObject({
      appId: 'file',
      commit: { intervalMs: 2, maxRecords: 3, maxOutputBytes: 1_000_000 },
      dataDir: join(cwd, 'from-env'),
    });
  });

  it('--keys prints all of them', async () => {
    expect(await succeed(['config', '--keys'])).toContain('| `commit.intervalMs` |');
  });
});

describe('stdout', () => {
  it('that closes early, as `| head` does, is no failure', async () => {
    const rows = Array.from({ length: 1_500 }, (_, at) => `${USER_MARK}ann,i${at},view,${at}`);
    const file = inputFile('head.csv', ['userId,itemId,actionType,eventTime', ...rows]);
    await succeed(['load', file, '--format=csv', `--data-dir=${dataDir}`]);
    const reader = new CliProcess(['read', 'user-actions', '--limit=1500', '--json', `--data-dir=${dataDir}`]);
    reader.child.stdout!.once('data', () => reader.child.stdout!.destroy());
    const result = await reader.result;
    expect([result.exitCode, result.stderr]).toEqual([0, '']);
    expect(result.stdout.length).toBeLessThan(150_000);
  });

  it('on a full disk is a state for a person: exit 4', async () => {
    const full = openSync('/dev/full', 'w');
    const result = await freshet(['config'], { stdout: full });
    closeSync(full);
    expect(result.exitCode).toBe(4);
    expect(logLines(result)).toMatchObject([{ code: 'DISK_FULL' }]);
  });
});

it('exit 1: what nobody foresaw fails, and says that it is a defect', async () => {
  const fault = join(folder, 'fault.mjs');
  writeFileSync(fault, 'process.stdout.write = () => { throw new RangeError("out of luck"); };');
  const result = await freshet(['config'], { env: { NODE_OPTIONS: `--import=${fault}` } });
  expect([result.exitCode, result.stdout]).toEqual([1, '']);
  expect(logLines(result)).toMatchObject([{ code: 'INTERNAL', err: { message: 'out of luck' } }]);
});
