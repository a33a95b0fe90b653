import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { packagePath } from '../base/package-root.ts';
import { boundProcessMemory, KAFKA_HEAP_GROWTH_PERCENT } from '../base/process-memory.ts';
import { HttpServer } from '../observe/http-server.ts';
import { ProcessObserver } from '../observe/process-observer.ts';
import { patiently } from '../run/patience.ts';
import { runWorker } from '../run/run-worker.ts';
import { tallyOf } from '../run/tally.ts';
import { runWorkerThreads } from '../run/worker-threads.ts';
import type { RunResult } from '../run/worker.ts';
import { command, contextOf, exitAnyway, print, untilSignal, type Context } from './command.ts';
import { grouped, ProgressLine } from './progress.ts';
import { StatusSource } from './status-source.ts';

/** `freshet run`: the job itself. */
export function runCommand(): Command {
  return command('run', 'Turn actions into features and ranking features, until stopped.', [
    'freshet run',
    'freshet run --until-end --data-dir=/var/lib/freshet',
    'freshet run --commit-interval-ms=200',
    'freshet run --brokers=kafka:9092 --registry=http://registry:8081 --workers=2',
  ])
    .option('--until-end', 'Stop at the end of the log.')
    .action(async (options: Record<string, unknown>) => {
      await run(contextOf(options), options['untilEnd'] === true);
    });
}

/** Longer than a worker takes to give up on a broker that does not answer, and shorter than orchestrators' patience. */
const STOP_LIMIT_MS = 27_000;

async function run(context: Context, untilEnd: boolean): Promise<void> {
  const { config, logger } = context;
  if (config.standby && config.workers > 1) {
    const detail = 'standby: needs workers=1, as the threads of a process share its stores';
    throw new FreshetError('CONFIG_INVALID', detail, { remedy: 'Start processes with data folders of their own.' });
  }
  // Before there are threads: the limit is the process's.
  if (config.brokers.length > 0) boundProcessMemory(KAFKA_HEAP_GROWTH_PERCENT);
  // From the start: as the first process of a container, one without a handler is never told to stop.
  const { signal, release } = untilSignal();
  signal.addEventListener('abort', () => {
    setTimeout(() => {
      logger.error({ code: 'LOG_UNAVAILABLE' }, `not closed ${STOP_LIMIT_MS / 1000} s after the signal; ending anyway`);
      process.exit(1);
    }, STOP_LIMIT_MS).unref();
  });
  const status = new StatusSource(context);
  const observer = new ProcessObserver({ version: version(), partitions: config.partitions });
  let server: HttpServer | undefined;
  try {
    const { port, host } = config.http;
    if (port !== null) {
      server = await HttpServer.open({
        ...{ port, host, logger },
        health: () => observer.health(),
        metrics: () => observer.metrics(),
        status: () => status.read(),
      });
    }
    for (let worker = 0; worker < config.workers; worker += 1) observer.started(worker);
    if (config.brokers.length > 0) {
      const { checkTopics } = await import('../log/kafka-topics.ts');
      await patiently(() => checkTopics(config, logger), { signal, logger, who: {} }).catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
    }
    const { counts, ...result } = await runWorkers(context, { signal, untilEnd, status, observer });
    print(JSON.stringify({ ...result, total: tallyOf(counts) }));
  } finally {
    release();
    await server?.close();
    await status.close();
    exitAnyway();
  }
}

interface Running {
  readonly signal: AbortSignal;
  readonly untilEnd: boolean;
  readonly status: StatusSource;
  readonly observer: ProcessObserver;
}

async function runWorkers({ config, logger }: Context, running: Running): Promise<RunResult> {
  const { signal, untilEnd, status, observer } = running;
  const line = new ProgressLine(logger, 'RUN_PROGRESS');
  const startedMs = performance.now();
  const shared: Parameters<typeof runWorkerThreads>[0] = {
    ...{ config, logger, signal, untilEnd },
    onReport: (report) => {
      observer.reported(report);
    },
    onEnded: (worker) => {
      observer.stopped(worker);
    },
    onProgress: ({ records, lag, features }) => {
      const perSecond = Math.round((records * 1000) / (performance.now() - startedMs));
      const text = `${grouped(records)} records, ${grouped(perSecond)}/s, ${grouped(lag)} to go`;
      line.update(text, { records, lag, features, perSecond });
    },
  };
  try {
    if (config.workers > 1) return await runWorkerThreads(shared);
    const onOpened = status.opened.bind(status);
    return await runWorker({ ...shared, worker: 0, onOpened });
  } finally {
    line.end();
  }
}

const version = (): string =>
  (JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as { version: string }).version;
