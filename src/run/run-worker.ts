/** One worker from its start to its end, in the thread that calls: a deployment, a model, and the tasks. */
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { stallMsOf, WorkerObserver, type WorkerReport } from '../observe/worker-observer.ts';
import { Deployment } from './deployment.ts';
import { GroupWorker } from './group-worker.ts';
import { patiently } from './patience.ts';
import { Worker, type Progress, type RunResult } from './worker.ts';

export interface WorkerJob {
  readonly config: Config;
  readonly logger: Logger;
  /** Number of the worker in its process, from 0. */
  readonly worker: number;
  readonly signal: AbortSignal;
  /** Whether to stop at the end of the input. */
  readonly untilEnd: boolean;
  readonly onReport: (report: WorkerReport) => void;
  readonly onProgress: (progress: Progress) => void;
  /** Where several workers share the input, and the end of one is not the end of all. */
  readonly onCaughtUp?: (isCaughtUp: boolean, generation: number) => void;
  readonly onOpened?: (deployment: Deployment) => void;
}

const NOTHING: RunResult = { records: 0, features: 0, ranked: 0, counts: {} };

export async function runWorker(job: WorkerJob): Promise<RunResult> {
  const { config, logger, worker, signal, onReport } = job;
  const observer = new WorkerObserver({ worker, stallMs: stallMsOf(config.kafka.sessionTimeoutMs), send: onReport });
  let result = NOTHING;
  try {
    const deployment = await open(job, observer);
    try {
      job.onOpened?.(deployment);
      result = await (config.brokers.length > 0 ? runInGroup : runAlone)(job, deployment, observer);
    } finally {
      await deployment.close();
    }
  } catch (error) {
    // Told to stop before it had begun.
    if (!signal.aborted || (error !== signal.reason && (error as Error).name !== 'AbortError')) throw error;
  } finally {
    await observer.close();
  }
  logger.info({ code: 'CLOSED' }, 'closed cleanly');
  return result;
}

/** A broker or a registry that is away is waited for: whoever starts again and again would find it no sooner. */
function open({ config, logger, signal }: WorkerJob, observer: WorkerObserver): Promise<Deployment> {
  return patiently(() => Deployment.open(config, logger, { signal, registryWaitMs: 0 }), {
    signal,
    logger,
    who: {},
    onWait: (error) => {
      observer.waiting(error);
    },
    onResume: () => {
      observer.resumed();
    },
  });
}

async function runInGroup(job: WorkerJob, deployment: Deployment, observer: WorkerObserver): Promise<RunResult> {
  const { signal, untilEnd, onProgress, onCaughtUp } = job;
  const { membershipOf } = await import('./group-member.ts');
  const worker = new GroupWorker({
    deployment,
    scorer: observer.watchScores(await deployment.loadScorer()),
    membership: membershipOf(deployment),
    ...{ signal, untilEnd, onProgress, observer },
    ...(onCaughtUp && { onCaughtUp }),
  });
  observer.watchLag(deployment.log, () => worker.positions());
  return worker.run();
}

async function runAlone(job: WorkerJob, deployment: Deployment, observer: WorkerObserver): Promise<RunResult> {
  const { signal, untilEnd, onProgress, logger, config } = job;
  const worker = new Worker({
    deployment,
    scorer: observer.watchScores(await deployment.loadScorer()),
    ...{ signal, onProgress, observer },
  });
  try {
    await worker.start();
    observer.watchLag(deployment.log, () => worker.positions());
    logger.info({ code: 'RUNNING', dataDir: config.dataDir }, 'running');
    return await worker.run(untilEnd);
  } finally {
    await worker.close();
  }
}
