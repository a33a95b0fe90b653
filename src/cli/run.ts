import type { Command } from 'commander';
import { tallyOf } from '../run/tally.ts';
import { Worker } from '../run/worker.ts';
import { command, contextOf, print, untilSignal, withDeployment, type Context } from './command.ts';
import { grouped, ProgressLine } from './progress.ts';

/** `freshet run`: the job itself. */
export function runCommand(): Command {
  return command('run', 'Turn actions into features and ranking features, until stopped.', [
    'freshet run',
    'freshet run --until-end --data-dir=/var/lib/freshet',
    'freshet run --commit-interval-ms=200',
  ])
    .option('--until-end', 'Stop at the end of the log.')
    .action(async (options: Record<string, unknown>) => {
      await run(contextOf(options), options['untilEnd'] === true);
    });
}

async function run(context: Context, untilEnd: boolean): Promise<void> {
  // From the start: as the first process of a container, one without a handler is never told to stop.
  const { signal, release } = untilSignal();
  await withDeployment(context, async (deployment) => {
    const scorer = await deployment.loadScorer();
    const line = new ProgressLine(context.logger, 'RUN_PROGRESS');
    const startedMs = performance.now();
    const worker = new Worker({
      deployment,
      scorer,
      signal,
      onProgress: ({ records, lag, features }) => {
        const perSecond = Math.round((records * 1000) / (performance.now() - startedMs));
        const text = `${grouped(records)} records, ${grouped(perSecond)}/s, ${grouped(lag)} to go`;
        line.update(text, { records, lag, features, perSecond });
      },
    });
    try {
      await worker.start();
      context.logger.info({ code: 'RUNNING', dataDir: context.config.dataDir }, 'running');
      const { counts, ...result } = await worker.run(untilEnd);
      line.end();
      print(JSON.stringify({ ...result, total: tallyOf(counts) }));
    } finally {
      release();
      await worker.close();
    }
    context.logger.info({ code: 'CLOSED' }, 'closed cleanly');
  });
}
