/** A worker in a thread of its own: `runWorker`, with messages in the place of callbacks. */
import { parentPort, workerData } from 'node:worker_threads';
import type { Config } from '../base/config.ts';
import { FreshetError, type ErrorCode, type Position } from '../base/errors.ts';
import { createLogger } from '../base/logger.ts';
import type { WorkerReport } from '../observe/worker-observer.ts';
import { runWorker } from './run-worker.ts';
import type { Progress, RunResult } from './worker.ts';

export interface ThreadData {
  readonly config: Config;
  readonly worker: number;
  readonly untilEnd: boolean;
}

/** What a thread tells; the last one is its result or its error. */
export type ThreadMessage =
  | { readonly kind: 'report'; readonly report: WorkerReport }
  | { readonly kind: 'progress'; readonly progress: Progress }
  | { readonly kind: 'caught up'; readonly isCaughtUp: boolean; readonly generation: number }
  | { readonly kind: 'result'; readonly result: RunResult }
  | { readonly kind: 'error'; readonly error: ThreadError };

/** An error of ours loses its class on the way between threads. */
export type ThreadError =
  | { readonly code: ErrorCode; readonly detail: string; readonly position: Position; readonly remedy: string }
  | { readonly code: null; readonly message: string; readonly stack: string | undefined };

const { config, worker, untilEnd } = workerData as ThreadData;
const stop = new AbortController();
// The only message there is.
parentPort!.once('message', () => {
  stop.abort();
});
const tell = (message: ThreadMessage): void => {
  parentPort!.postMessage(message);
};

try {
  const result = await runWorker({
    ...{ config, worker, untilEnd, signal: stop.signal },
    logger: createLogger(config.log.level).child({ worker }),
    onReport: (report) => {
      tell({ kind: 'report', report });
    },
    onProgress: (progress) => {
      tell({ kind: 'progress', progress });
    },
    onCaughtUp: (isCaughtUp, generation) => {
      tell({ kind: 'caught up', isCaughtUp, generation });
    },
  });
  tell({ kind: 'result', result });
} catch (error) {
  tell({ kind: 'error', error: errorOf(error) });
}
parentPort!.close();

function errorOf(error: unknown): ThreadError {
  if (error instanceof FreshetError) {
    const { code, detail, position, remedy } = error;
    return { code, detail, position, remedy };
  }
  const { message, stack } = error as Error;
  return { code: null, message, stack };
}
