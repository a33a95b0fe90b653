/** The worker processes of the chaos test: started, stopped, killed, put to sleep. Each keeps its data folder for the next. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ChaosJob } from './worker.ts';

const WORKER = join(import.meta.dirname, 'worker.ts');
const STOP_TIMEOUT_MS = 60_000;

export interface PooledWorker {
  readonly name: string;
  readonly process: ChildProcess;
  readonly exited: Promise<[code: number | null, signal: NodeJS.Signals | null]>;
}

export class WorkerPool {
  readonly running: PooledWorker[] = [];
  private readonly folder: string;
  private readonly flags: ChaosJob['flags'];

  /** Folders and logs of the workers stand in `folder`. */
  constructor(folder: string, flags: ChaosJob['flags']) {
    this.folder = folder;
    this.flags = flags;
    mkdirSync(folder, { recursive: true });
  }

  /** Starts a worker under the first name that no running one has. */
  start(kill: ChaosJob['kill'] = null): PooledWorker {
    const taken = new Set(this.running.map(({ name }) => name));
    const name = ['w0', 'w1', 'w2', 'w3', 'w4', 'w5'].find((each) => !taken.has(each))!;
    const job: ChaosJob = { flags: { ...this.flags, dataDir: join(this.folder, name) }, kill };
    const child = spawn(process.execPath, [WORKER, JSON.stringify(job)], { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.on('data', (lines: Buffer) => {
      appendFileSync(join(this.folder, `${name}.log`), lines);
    });
    const exited = once(child, 'exit') as PooledWorker['exited'];
    const worker = { name, process: child, exited };
    this.running.push(worker);
    void exited.then(() => this.running.splice(this.running.indexOf(worker), 1));
    return worker;
  }

  /** Asks the worker to end, and fails if it does not do so cleanly. */
  async stop(worker: PooledWorker): Promise<void> {
    worker.process.kill('SIGTERM');
    const ended = await Promise.race([worker.exited, sleep(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    if (ended === undefined) throw new Error(`${worker.name} did not stop within ${STOP_TIMEOUT_MS / 1000} s`);
    if (ended[0] !== 0) throw new Error(`${worker.name} ended with ${ended[0] ?? ended[1]} instead of 0`);
  }

  async kill(worker: PooledWorker): Promise<void> {
    worker.process.kill('SIGKILL');
    await worker.exited;
  }

  async killAll(): Promise<void> {
    await Promise.all(this.running.map((worker) => this.kill(worker)));
  }
}
