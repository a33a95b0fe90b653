/**
 * The Dockerfile without an engine: its steps as plain commands in clean folders, then the result as it says.
 *
 * Literal: every COPY and RUN line in its order, in a folder for each stage; ENV; ENTRYPOINT and CMD; the user id.
 * Substituted: the base image (this Node, copied in, and this machine's npm, which may use its cache); paths of the image
 * become paths below the folder of the stage, and `node:node` the ids behind it, or one's own where the test is not root;
 * what a stage copies from an earlier one is moved, as that one is not needed again.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { jsonLines, logLines } from './support/cli.ts';
import { tempDir } from './support/temp-dir.ts';

interface Step {
  readonly name: string;
  readonly text: string;
}

interface Stage {
  readonly image: string;
  readonly name: string;
  readonly root: string;
  readonly steps: readonly Step[];
}

const folder = tempDir();
const STAGES = parse(readFileSync(packagePath('Dockerfile'), 'utf8'));
const FINAL = STAGES.at(-1)!;
const HEAD_ROWS = 2_000;
const IS_ROOT = process.getuid!() === 0;
/** The user `node` of the base image. */
const OWNER = IS_ROOT ? { uid: 1000, gid: 1000 } : { uid: process.getuid!(), gid: process.getgid!() };

function parse(text: string): Stage[] {
  const stages: { image: string; name: string; root: string; steps: Step[] }[] = [];
  for (const line of text.replaceAll(/\\\n/g, ' ').split('\n')) {
    const [, name, rest] = /^([A-Z]+) (.+)$/.exec(line) ?? [];
    if (name === undefined || rest === undefined) {
      if (!/^(#.*)?$/.test(line)) throw new Error(`no instruction: ${line}`);
    } else if (name === 'FROM') {
      const [image, , stage = String(stages.length)] = rest.split(' ');
      stages.push({ image: image!, name: stage, root: join(folder, stage), steps: [] });
    } else stages.at(-1)!.steps.push({ name, text: rest });
  }
  return stages;
}

const textOf = (name: string): string => FINAL.steps.find((step) => step.name === name)!.text;
const environment = (): [string, string][] =>
  textOf('ENV')
    .split(' ')
    .map((pair) => pair.split('=') as [string, string]);

/** Absolute paths of the image, below the folder of its stage. */
const inRoot = (root: string, text: string): string => text.replaceAll(/(^|[\s"])(\/[a-z])/g, `$1${root}$2`);

/** What git does not ignore, without what .dockerignore names. */
function context(): string {
  const ignored = readFileSync(packagePath('.dockerignore'), 'utf8').trim().split('\n');
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: packagePath(),
    encoding: 'utf8',
  }).split('\0');
  const target = join(folder, 'context');
  for (const file of files) {
    const isIgnored = ignored.some((pattern) => file === pattern || file.startsWith(`${pattern}/`));
    if (file === '' || isIgnored || !existsSync(packagePath(file))) continue;
    cpSync(packagePath(file), join(target, file));
  }
  return target;
}

function build(stage: Stage, contextFolder: string): void {
  let workdir = stage.root;
  for (const { name, text } of stage.steps) {
    if (name === 'WORKDIR') mkdirSync((workdir = join(stage.root, text)), { recursive: true });
    else if (name === 'COPY') copy(text, workdir, contextFolder);
    else if (name === 'RUN') {
      const command = inRoot(stage.root, text).replace('node:node', `${OWNER.uid}:${OWNER.gid}`);
      const env = { ...process.env, npm_config_prefer_offline: 'true' };
      execFileSync('sh', ['-c', command], { cwd: workdir, env, stdio: 'pipe' });
    }
  }
}

function copy(text: string, workdir: string, contextFolder: string): void {
  const [, from, paths] = /^(?:--from=(\w+) )?(.+)$/.exec(text)!;
  const sources = paths!.split(' ');
  const target = sources.pop()!;
  for (const source of sources) {
    const to = join(workdir, target, target === './' ? basename(source) : '');
    mkdirSync(dirname(to), { recursive: true });
    if (from !== undefined) renameSync(join(STAGES.find((stage) => stage.name === from)!.root, source), to);
    else if (source === '.') cpSync(contextFolder, workdir, { recursive: true });
    else cpSync(join(contextFolder, source), to, { recursive: true });
  }
}

/** `docker run IMAGE args…`: configured by the environment alone; without arguments CMD. */
function start(...args: string[]) {
  const [entry, ...rest] = JSON.parse(inRoot(FINAL.root, textOf('ENTRYPOINT'))) as [string, ...string[]];
  const cmd = args.length > 0 ? args : (JSON.parse(textOf('CMD')) as string[]);
  const child = spawn(entry, [...rest, ...cmd], {
    cwd: join(FINAL.root, 'app'),
    env: {
      PATH: join(FINAL.root, 'usr', 'local', 'bin'),
      ...Object.fromEntries(environment().map(([name, value]) => [name, inRoot(FINAL.root, value)])),
    },
    ...(IS_ROOT && OWNER),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  const ended = once(child, 'close').then(([exitCode]) => ({ exitCode: exitCode as number | null, ...output }));
  return { child, output, ended };
}

async function run<T>(...args: string[]): Promise<T> {
  const { exitCode, stdout, stderr } = await start(...args).ended;
  if (exitCode !== 0) throw new Error(`${args.join(' ')}: exit ${exitCode}\n${stderr}`);
  return jsonLines<T>(stdout)[0]!;
}

const app = (...parts: string[]): string => join(FINAL.root, 'app', ...parts);

beforeAll(() => {
  // A user that is not root has to find its way in.
  chmodSync(folder, 0o755);
  const contextFolder = context();
  for (const stage of STAGES) build(stage, contextFolder);
  cpSync(process.execPath, join(FINAL.root, 'usr', 'local', 'bin', 'node'));
}, 300_000);

describe('the Dockerfile', () => {
  it('has two stages on one exact version of Node, that of package.json', () => {
    const { devDependencies } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as {
      devDependencies: Record<string, string>;
    };
    const image = `node:${devDependencies['node']}-bookworm-slim`;
    expect(image).toMatch(/^node:\d+\.\d+\.\d+-/);
    expect(STAGES.map((stage) => stage.image)).toEqual([image, image]);
  });

  it('runs as a user that is not root, with the data folder on a volume that is its own', () => {
    const names = FINAL.steps.map(({ name }) => name);
    expect(textOf('USER')).toBe('node');
    expect(textOf('VOLUME')).toBe(Object.fromEntries(environment())['FRESHET_DATA_DIR']);
    // What is done to a folder after it became a volume is lost, and what a user does after USER is done as that user.
    expect(names.lastIndexOf('RUN')).toBeLessThan(names.indexOf('USER'));
    expect(names.indexOf('USER')).toBeLessThan(names.indexOf('VOLUME'));
  });
});

describe('the image', () => {
  it('holds compiled sources, and no TypeScript of ours', () => {
    expect(existsSync(app('dist', 'src', 'cli', 'main.js'))).toBe(true);
    const folders = readdirSync(app()).filter((name) => name !== 'node_modules');
    expect(folders.sort()).toEqual(['bin', 'data', 'dist', 'models', 'package.json', 'topics']);
    const files = folders
      .filter((name) => name !== 'package.json')
      .flatMap((name) => readdirSync(app(name), { recursive: true, encoding: 'utf8' }));
    expect(files.filter((file) => /(?<!\.d)\.ts$/.test(file))).toEqual([]);
  });

  it('holds the production dependencies and no others', () => {
    const { packages } = JSON.parse(readFileSync(packagePath('package-lock.json'), 'utf8')) as {
      packages: Record<string, { dev?: boolean; optional?: boolean; devOptional?: boolean }>;
    };
    const installed = Object.entries(packages).filter(([path]) => path !== '');
    const [development, production] = [
      installed.filter(([, { dev }]) => dev),
      installed.filter(([, each]) => !each.dev),
    ];
    expect(development.map(([path]) => path)).toContain('node_modules/typescript');
    expect(development.filter(([path]) => existsSync(app(path)))).toEqual([]);
    const needed = production.filter(([, { optional, devOptional }]) => optional !== true && devOptional !== true);
    expect(needed.filter(([path]) => !existsSync(app(path)))).toEqual([]);
    const runtimes = readdirSync(app('node_modules', 'onnxruntime-node', 'bin'), { encoding: 'utf8' });
    expect(runtimes.flatMap((version) => readdirSync(app('node_modules/onnxruntime-node/bin', version)))).toEqual([
      'linux',
    ]);
  });

  it('loads, runs, closes at SIGTERM with exit 0, and goes on from there', async () => {
    const rows = gunzipSync(readFileSync(packagePath('data', 'deskdrop', 'actions.csv.gz')))
      .toString()
      .split('\n');
    const file = join(folder, 'head.csv.gz');
    writeFileSync(file, gzipSync(rows.slice(0, HEAD_ROWS + 1).join('\n')));
    const loaded = await run<object>('load', file, '--format=deskdrop', '--json');
    expect(loaded).toMatchObject({ appended: HEAD_ROWS, rejected: {} });

    const live = start();
    while (!live.output.stderr.includes('"code":"RUNNING"')) {
      await Promise.race([
        once(live.child.stderr, 'data'),
        live.ended.then((end) => Promise.reject(new Error(end.stderr))),
      ]);
    }
    live.child.kill('SIGTERM');
    const stopped = await live.ended;
    expect(stopped.exitCode).toBe(0);
    expect(logLines(stopped).map(({ code }) => code)).toEqual(['RUNNING', 'CLOSED']);
    const [first] = jsonLines<{ records: number }>(stopped.stdout);

    const rest = await run<object>('run', '--until-end');
    expect(rest).toMatchObject({ records: HEAD_ROWS - first!.records, total: { actionsRead: HEAD_ROWS } });
    const users = new Set(rows.slice(1, HEAD_ROWS + 1).map((row) => row.split(',')[3])).size;
    expect(await run<object>('inspect', '--hash', '--json')).toMatchObject({ users });
  });
});
