/**
 * Several workers in one process, a thread each, with nothing shared but the data folder: each is a member of the group
 * and serves the partitions that it is given. What is fatal to one ends all, as a person has to act.
 */
import { extname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { FreshetError } from '../base/errors.ts';
import type { WorkerReport } from '../observe/worker-observer.ts';
import type { ThreadData, ThreadError, ThreadMessage } from './worker-thread.ts';
import type { Progress, RunResult } from './worker.ts';

export interface WorkerThreadsOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly untilEnd: boolean;
  readonly onReport: (report: WorkerReport) => void;
  readonly onEnded: (worker: number) => void;
  readonly onProgress: (progress: Progress) => void;
}

/** Of each thread's heap; what is not on it is bounded by the configuration. A thread that needs more has a leak. */
const LIMITS = { maxOldGenerationSizeMb: 384, maxYoungGenerationSizeMb: 32 };
/** After the word to stop: longer than a worker takes to give up on a broker that does not answer. */
const STOP_TIMEOUT_MS = 25_000;
const FILE = new URL(`./worker-thread${extname(import.meta.url)}`, import.meta.url);

interface Thread {
  readonly worker: number;
  readonly thread: Worker;
  readonly ended: Promise<RunResult>;
  progress: Progress;
  /** Null: not at the end of its input. */
  caughtUpIn: number | null;
}

/** Ends when all have ended, with their results summed; rejects with the first error. */
export async function runWorkerThreads(options: WorkerThreadsOptions): Promise<RunResult> {
  const { config, signal } = options;
  const threads: Thread[] = [];
  const stopAll = (): void => {
    for (const { thread } of threads) thread.postMessage('stop');
  };
  for (let worker = 0; worker < config.workers; worker += 1) threads.push(start(worker, options, threads, stopAll));
  signal.addEventListener('abort', stopAll, { once: true });
  if (signal.aborted) stopAll();
  try {
    return sum(await Promise.all(threads.map(({ ended }) => ended)));
  } catch (error) {
    stopAll();
    const all = Promise.allSettled(threads.map(({ ended }) => ended));
    await Promise.race([all, sleep(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    throw error;
  } finally {
    signal.removeEventListener('abort', stopAll);
    await Promise.all(threads.map(({ thread }) => thread.terminate()));
  }
}

function start(
  worker: number,
  { config, untilEnd, onReport, onProgress, onEnded }: WorkerThreadsOptions,
  threads: readonly Thread[],
  stopAll: () => void,
): Thread {
  const workerData: ThreadData = { config, worker, untilEnd };
  const thread = new Worker(FILE, { workerData, resourceLimits: LIMITS, name: `worker ${worker}` });
  const { promise: ended, resolve, reject } = Promise.withResolvers<RunResult>();
  const state: Thread = { worker, thread, ended, progress: { records: 0, lag: 0, features: 0 }, caughtUpIn: null };
  thread.on('message', (message: ThreadMessage) => {
    switch (message.kind) {
      case 'report':
        onReport(message.report);
        break;
      case 'progress':
        state.progress = message.progress;
        onProgress(sum(threads.map(({ progress }) => progress)));
        break;
      case 'caught up':
        state.caughtUpIn = message.isCaughtUp ? message.generation : null;
        if (haveCaughtUp(threads)) stopAll();
        break;
      case 'result':
        resolve(message.result);
        break;
      case 'error':
        reject(errorOf(message.error));
        break;
    }
  });
  thread.on('error', reject);
  thread.on('exit', (exitCode) => {
    onEnded(worker);
    reject(new FreshetError('INTERNAL', `worker ${worker} has ended without a word, with exit code ${exitCode}`));
  });
  ended.catch(() => undefined); // All are waited for together.
  return state;
}

/** In one generation of the group: then no partition is on its way from one to another. */
function haveCaughtUp(threads: readonly Thread[]): boolean {
  const [first] = threads;
  return (
    first !== undefined && first.caughtUpIn !== null && threads.every((each) => each.caughtUpIn === first.caughtUpIn)
  );
}

type Sums = Readonly<Record<string, number | Readonly<Record<string, number>>>>;

/** Adds up numbers, and maps of numbers, under each name. */
function sum<T extends object>(parts: readonly T[]): T {
  const total: Record<string, unknown> = {};
  for (const part of parts) {
    for (const [name, value] of Object.entries(part as Sums)) {
      const before = total[name];
      total[name] =
        typeof value === 'number'
          ? ((before as number | undefined) ?? 0) + value
          : sum([(before as object) ?? {}, value]);
    }
  }
  return total as T;
}

function errorOf(error: ThreadError): Error {
  if (error.code !== null) {
    const { code, detail, position, remedy } = error;
    return new FreshetError(code, detail, { position, remedy });
  }
  const unexpected = new Error(error.message);
  if (error.stack !== undefined) unexpected.stack = error.stack;
  return unexpected;
}
