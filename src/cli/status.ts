import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { openKafkaLog } from '../log/kafka.ts';
import { withAdmin } from '../log/kafka-admin.ts';
import { groupOwners, type Owners } from '../observe/group-owners.ts';
import { askStatus } from '../observe/ask-status.ts';
import { readStatus, type Status } from '../observe/status.ts';
import { command, contextOf, print, untilSignal, withDeployment, type Context } from './command.ts';
import { statusText } from './status-text.ts';

const REFRESH_MS = 2_000;

/** `freshet status`: where every partition stands, now or as it goes. */
export function statusCommand(): Command {
  return command('status', 'Show where each partition stands: offsets, lag, item version, owner.', [
    'freshet status',
    'freshet status --watch',
    'freshet status --json',
  ])
    .option('--watch', 'Go on showing it, every two seconds, until stopped.')
    .option('--json', 'One line of JSON.')
    .action(async (options: Record<string, unknown>) => {
      const context = contextOf(options);
      const show = (status: Status): void => {
        if (options['json'] === true) print(JSON.stringify(status));
        else print(statusText(status, process.stdout.isTTY && options['watch'] === true));
      };
      if (options['watch'] !== true) show(await statusOf(context));
      else await watch(context, show);
    });
}

async function watch(context: Context, show: (status: Status) => void): Promise<void> {
  const { signal, release } = untilSignal();
  try {
    while (!signal.aborted) {
      // The log is opened anew each time: held open, the embedded one would keep `run` from starting.
      show(await statusOf(context));
      await sleep(REFRESH_MS, undefined, { signal }).catch(() => undefined);
    }
  } finally {
    release();
  }
}

const statusOf = (context: Context): Promise<Status> =>
  context.config.brokers.length > 0 ? statusOnKafka(context) : embeddedStatus(context);

/** The cluster alone is asked: neither registry nor topics need to be as `run` wants them. */
async function statusOnKafka(context: Context): Promise<Status> {
  const { config, logger } = context;
  const log = openKafkaLog(config, logger);
  try {
    return await readStatus(log, config, await ownersOf(context));
  } finally {
    await log.close();
  }
}

async function embeddedStatus(context: Context): Promise<Status> {
  const { config, logger } = context;
  try {
    return await withDeployment(context, ({ log }) => readStatus(log, config, null));
  } catch (error) {
    if (!(error instanceof FreshetError && error.code === 'DATA_DIR_IN_USE')) throw error;
    logger.debug({ code: error.code }, 'asking the process that holds the data folder');
    return askStatus(config, error);
  }
}

/** Null where the group may not be described: that takes a permission which nothing else needs. */
export async function ownersOf({ config, logger }: Context): Promise<Owners | null> {
  try {
    return await withAdmin(config, logger, (admin) => groupOwners(admin, config.appId));
  } catch (error) {
    if (!(error instanceof FreshetError && error.code === 'KAFKA_AUTHORIZATION')) throw error;
    logger.warn({ err: error }, 'who serves the partitions is not shown');
    return null;
  }
}
