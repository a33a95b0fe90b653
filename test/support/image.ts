/**
 * The Dockerfile without an engine: its steps as plain commands in clean folders. container.ts runs what comes out.
 *
 * Literal: every COPY and RUN line in its order, in a folder for each stage. Substituted: the base image (this Node, copied
 * in, and this machine's npm, which may use its cache); paths of the image become paths below the folder of the stage, and
 * `node:node` the ids behind it, or one's own where the test is not root; what a stage copies from an earlier one is moved,
 * as that one is not needed again; `npm ci` says what it would do, and then this checkout's node_modules, which it made of
 * the same lock file, are copied, since unpacking them once more takes longer than all the rest.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { packagePath } from '../../src/base/package-root.ts';
import { sharedFolder } from './shared-folder.ts';

interface Step {
  readonly name: string;
  readonly text: string;
}

export interface Stage {
  readonly image: string;
  readonly name: string;
  readonly steps: readonly Step[];
}

export const IS_ROOT = process.getuid!() === 0;
/** The user `node` of the base image. */
export const OWNER = IS_ROOT ? { uid: 1000, gid: 1000 } : { uid: process.getuid!(), gid: process.getgid!() };

export const STAGES = parse(readFileSync(packagePath('Dockerfile'), 'utf8'));
export const FINAL = STAGES.at(-1)!;

function parse(text: string): Stage[] {
  const stages: { image: string; name: string; steps: Step[] }[] = [];
  for (const line of text.replaceAll(/\\\n/g, ' ').split('\n')) {
    const [, name, rest] = /^([A-Z]+) (.+)$/.exec(line) ?? [];
    if (name === undefined || rest === undefined) {
      if (!/^(#.*)?$/.test(line)) throw new Error(`no instruction: ${line}`);
    } else if (name === 'FROM') {
      const [image, , stage = String(stages.length)] = rest.split(' ');
      stages.push({ image: image!, name: stage, steps: [] });
    } else stages.at(-1)!.steps.push({ name, text: rest });
  }
  return stages;
}

/** The text of the final stage's only instruction of this name. */
export function textOf(name: string): string {
  const [step, ...others] = FINAL.steps.filter((each) => each.name === name);
  if (step === undefined || others.length > 0) throw new Error(`not one ${name} in the final stage`);
  return step.text;
}

/** What ENV lines set, all of them. */
export const imageEnvironment = (): Record<string, string> =>
  Object.fromEntries(
    FINAL.steps
      .filter(({ name }) => name === 'ENV')
      .flatMap(({ text }) => text.split(' ').map((pair) => pair.split(/=(.*)/s).slice(0, 2) as [string, string])),
  );

/** Absolute paths of the image, below the folder of its stage. */
export const inRoot = (root: string, text: string): string => text.replaceAll(/(^|[\s"])(\/[a-z])/g, `$1${root}$2`);

/** The final stage's root folder, made once for all files of a test run. */
export const sharedImage = async (): Promise<string> => join(await sharedFolder('image', buildImage), FINAL.name);

function buildImage(folder: string): void {
  const context = copyContext(join(folder, 'context'));
  for (const stage of STAGES) buildStage(stage, folder, context);
  cpSync(process.execPath, join(folder, FINAL.name, 'usr', 'local', 'bin', 'node'));
}

/** What git does not ignore, without what .dockerignore names. */
function copyContext(target: string): string {
  const ignored = readFileSync(packagePath('.dockerignore'), 'utf8').trim().split('\n');
  for (const file of sourceFiles()) {
    if (ignored.some((pattern) => file === pattern || file.startsWith(`${pattern}/`))) continue;
    cpSync(packagePath(file), join(target, file));
  }
  return target;
}

function sourceFiles(): string[] {
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: packagePath(),
    encoding: 'utf8',
  }).split('\0');
  return files.filter((file) => file !== '' && existsSync(packagePath(file)));
}

function buildStage(stage: Stage, folder: string, context: string): void {
  const root = join(folder, stage.name);
  let workdir = root;
  for (const { name, text } of stage.steps) {
    if (name === 'WORKDIR') mkdirSync((workdir = join(root, text)), { recursive: true });
    else if (name === 'COPY') copy(text, workdir, folder, context);
    else if (name === 'RUN') {
      const isInstall = text.startsWith('npm ci ');
      run(
        isInstall ? `${text} --dry-run` : inRoot(root, text).replace('node:node', `${OWNER.uid}:${OWNER.gid}`),
        workdir,
      );
      if (isInstall) run(`cp -a '${packagePath('node_modules')}' .`, workdir);
    }
  }
}

function run(command: string, cwd: string): void {
  const env = { ...process.env, npm_config_prefer_offline: 'true' };
  const { status, stdout, stderr } = spawnSync('sh', ['-c', command], { cwd, env, encoding: 'utf8' });
  if (status !== 0) throw new Error(`RUN ${command}: exit ${status}\n${stdout}${stderr}`);
}

function copy(text: string, workdir: string, folder: string, context: string): void {
  const [, from, paths] = /^(?:--from=(\w+) )?(.+)$/.exec(text)!;
  const sources = paths!.split(' ');
  const target = sources.pop()!;
  for (const source of sources) {
    const to = join(workdir, target, target === './' ? basename(source) : '');
    mkdirSync(dirname(to), { recursive: true });
    if (from !== undefined) renameSync(join(folder, from, source), to);
    else if (source === '.') cpSync(context, workdir, { recursive: true });
    else cpSync(join(context, source), to, { recursive: true });
  }
}
