/** `docker run`, of an image that image.ts has made: ENV, ENTRYPOINT, CMD, HEALTHCHECK and the user as they stand there. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { jsonLines } from './cli.ts';
import { imageEnvironment, inRoot, IS_ROOT, OWNER, textOf } from './image.ts';

export interface ContainerOptions {
  /** Root folder of the image. */
  readonly image: string;
  /** Folder in the place of the declared volume; made, and given to the image's user, if it is absent. */
  readonly volume: string;
  /** Beside the image's own. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Without any, CMD. */
  readonly args?: readonly string[];
}

export interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class Container {
  readonly ended: Promise<Ended>;
  readonly output = { stdout: '', stderr: '' };
  private readonly options: ContainerOptions;
  private readonly child: ChildProcess;

  constructor(options: ContainerOptions) {
    this.options = options;
    const { volume, args = [] } = options;
    if (!existsSync(volume)) {
      mkdirSync(volume, { recursive: true });
      if (IS_ROOT) execFileSync('chown', [`${OWNER.uid}:${OWNER.gid}`, volume]);
    }
    const cmd = args.length > 0 ? args : this.list(textOf('CMD'));
    this.child = this.start([...this.list(textOf('ENTRYPOINT')), ...cmd]);
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.output.stdout += text));
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.output.stderr += text));
    this.ended = once(this.child, 'close').then(([exitCode]) => ({
      exitCode: exitCode as number | null,
      ...this.output,
    }));
  }

  /** Resolves when a log line with this code has been written; fails if the process ends before. */
  async logged(code: string): Promise<void> {
    const early = this.ended.then(({ stderr }) => Promise.reject(new Error(`ended without ${code}: ${stderr}`)));
    early.catch(() => undefined);
    while (!this.output.stderr.includes(`"code":"${code}"`)) {
      await Promise.race([once(this.child.stderr!, 'data'), early]);
    }
  }

  /** What the engine does from time to time: 0 is healthy, 1 is not. */
  async health(): Promise<number | null> {
    const [, command] = /CMD (\[.*\])$/.exec(textOf('HEALTHCHECK'))!;
    const [exitCode] = (await once(this.start(this.list(command!)), 'close')) as [number | null];
    return exitCode;
  }

  async stop(signal: NodeJS.Signals): Promise<Ended> {
    this.child.kill(signal);
    return this.ended;
  }

  private start([executable, ...args]: readonly string[]): ChildProcess {
    const { image, volume, environment } = this.options;
    const placed = (value: string): string => (value === textOf('VOLUME') ? volume : inRoot(image, value));
    return spawn(executable!, args, {
      cwd: join(image, 'app'),
      env: {
        PATH: join(image, 'usr', 'local', 'bin'),
        ...Object.fromEntries(Object.entries(imageEnvironment()).map(([name, value]) => [name, placed(value)])),
        ...environment,
      },
      ...(IS_ROOT && OWNER),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** The exec form of an instruction. */
  private list(text: string): string[] {
    return JSON.parse(inRoot(this.options.image, text)) as string[];
  }
}

/** Runs a command to its end: the first line of its stdout. */
export async function runContainer<T>(options: ContainerOptions): Promise<T> {
  const { exitCode, stdout, stderr } = await new Container(options).ended;
  if (exitCode !== 0) throw new Error(`${options.args?.join(' ')}: exit ${exitCode}\n${stderr}`);
  return jsonLines<T>(stdout)[0]!;
}
