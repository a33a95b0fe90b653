/** The worker processes of the chaos test: started, stopped, killed, put to sleep. Each keeps its data folder for the next. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChaosJob } from './worker.ts';

const WORKER = join(import.meta.dirname, 'worker.ts');
const STOP_TIMEOUT_MS = 60_000;
/** The last ones, told where a worker failed. */
const LOGGED_LINES = 10;

export interface PooledWorker {
  readonly name: string;
  readonly process: ChildProcess;
  /** It has logged its first line: from then on it ends in order when it is told to. */
  readonly listening: Promise<unknown>;
  readonly exited: Promise<[code: number | null, signal: NodeJS.Signals | null]>;
}

export class WorkerPool {
  readonly running: PooledWorker[] = [];
  private readonly folder: string;
  private readonly flags: ChaosJob['flags'];
  private readonly topicPrefix: string;

  /** Folders and logs of the workers stand in `folder`. */
  constructor(folder: string, flags: ChaosJob['flags'], topicPrefix = '') {
    this.folder = folder;
    this.flags = flags;
    this.topicPrefix = topicPrefix;
    mkdirSync(folder, { recursive: true });
  }

  /** Starts a worker under the first name that no running one has. */
  start(kill: ChaosJob['kill'] = null): PooledWorker {
    const taken = new Set(this.running.map(({ name }) => name));
    const name = ['w0', 'w1', 'w2', 'w3', 'w4', 'w5'].find((each) => !taken.has(each))!;
    const { topicPrefix } = this;
    const job: ChaosJob = { flags: { ...this.flags, dataDir: join(this.folder, name) }, topicPrefix, kill };
    const child = spawn(process.execPath, [WORKER, JSON.stringify(job)], { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.on('data', (lines: Buffer) => {
      appendFileSync(this.logFile(name), lines);
    });
    const exited = once(child, 'exit') as PooledWorker['exited'];
    const listening = Promise.race([once(child.stderr, 'data'), exited]);
    const worker = { name, process: child, listening, exited };
    this.running.push(worker);
    void exited.then(() => this.running.splice(this.running.indexOf(worker), 1));
    return worker;
  }

  /** Where the lines stand that the workers of a name have logged. */
  logFile(name: string): string {
    return join(this.folder, `${name}.log`);
  }

  /** Asks the worker to end, and fails if it does not do so cleanly. */
  async stop(worker: PooledWorker): Promise<void> {
    await worker.listening;
    worker.process.kill('SIGTERM');
    const ended = await Promise.race([worker.exited, sleep(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    if (ended === undefined) throw new Error(`${worker.name} did not stop within ${STOP_TIMEOUT_MS / 1000} s`);
    if (ended[0] === 0) return;
    const logged = readFileSync(this.logFile(worker.name), 'utf8').trimEnd().split('\n').slice(-LOGGED_LINES);
    throw new Error(`${worker.name} ended with ${ended[0] ?? ended[1]} instead of 0:\n${logged.join('\n')}`);
  }

  async kill(worker: PooledWorker): Promise<void> {
    worker.process.kill('SIGKILL');
    await worker.exited;
  }

  async killAll(): Promise<void> {
    await Promise.all(this.running.map((worker) => this.kill(worker)));
  }
}
