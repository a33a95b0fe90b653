/** Freshet as its users start it, a process of its own configured by flags and environment, with what it took. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import type { Readable } from 'node:stream';
import { packagePath } from '../src/base/package-root.ts';
import { containerMemorySettings } from './environment.ts';
import type { Usage } from './kafka-usage.ts';

export interface Cluster {
  /** host:port, … */
  readonly brokers: string;
  readonly registry: string;
}

export interface Ended<T> {
  /** The last line of stdout. */
  readonly result: T;
  /** Of the process: Node's start, loading the model, joining the group and closing are part of it. */
  readonly seconds: number;
  /** Of the last part, from the first line of progress on: nothing is cold any more. */
  readonly warm: { readonly seconds: number; readonly afterRecords: number } | null;
  readonly usage: Usage;
}

export class Job {
  private readonly child: ChildProcess;
  private readonly args: readonly string[];
  private readonly startedMs = performance.now();
  private readonly logs: string[] = [];
  private warm: { readonly fromMs: number; readonly afterRecords: number } | undefined;
  /** Resolves at the log line RUNNING. */
  readonly running: Promise<void>;
  private readonly stdout: Promise<string>;
  private readonly usage: Promise<string>;
  private readonly closed: Promise<[number | null]>;

  constructor({ brokers, registry }: Cluster, args: readonly string[]) {
    this.args = args;
    const command = ['--import', packagePath('bench', 'kafka-usage.ts'), packagePath('bin', 'freshet.js'), ...args];
    this.child = spawn(process.execPath, command, {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      env: {
        ...process.env,
        ...containerMemorySettings(),
        FRESHET_BROKERS: brokers,
        FRESHET_REGISTRY: registry,
      },
    });
    this.stdout = text(this.child.stdout!);
    this.usage = text(this.child.stdio[3] as Readable);
    this.closed = once(this.child, 'close') as Promise<[number | null]>;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.running = promise;
    createInterface({ input: this.child.stderr! }).on('line', (line) => {
      this.logs.push(line);
      if (this.logs.length > MAX_LOG_LINES) this.logs.shift();
      if (line.includes('"code":"RUNNING"')) resolve();
      if (!line.includes('"code":"RUN_PROGRESS"') || this.warm !== undefined) return;
      const { records } = JSON.parse(line) as { records: number };
      this.warm = { fromMs: performance.now(), afterRecords: records };
    });
  }

  stop(): void {
    this.child.kill('SIGTERM');
  }

  async end<T>(): Promise<Ended<T>> {
    const [code] = await this.closed;
    const endMs = performance.now();
    if (code !== 0) throw new Error(`freshet ${this.args.join(' ')} ended with ${code}\n${this.logs.join('\n')}`);
    const { warm } = this;
    return {
      result: JSON.parse(lastLine(await this.stdout)) as T,
      seconds: (endMs - this.startedMs) / 1000,
      warm: warm === undefined ? null : { seconds: (endMs - warm.fromMs) / 1000, afterRecords: warm.afterRecords },
      usage: JSON.parse(lastLine(await this.usage)) as Usage,
    };
  }
}

/** Runs a command to its end; its result. */
export const freshet = async <T>(cluster: Cluster, ...args: string[]): Promise<T> =>
  (await new Job(cluster, args).end<T>()).result;

/** Kept for the message where a job fails. */
const MAX_LOG_LINES = 200;

const lastLine = (output: string): string => output.trimEnd().split('\n').at(-1)!;
