import { resolve } from 'node:path';
import type { Command } from 'commander';
import { loadConfig, type Config } from '../base/config.ts';
import { FreshetError } from '../base/errors.ts';
import { refuseLiveMembers } from '../migrate/live-members.ts';
import { migrateToFolder } from '../migrate/migrate-folder.ts';
import { migrateInPlace, type PartitionMigration } from '../migrate/migrate.ts';
import { Deployment } from '../run/deployment.ts';
import { command, contextOf, print, withDeployment, type Context } from './command.ts';
import { grouped, ProgressLine } from './progress.ts';

interface MigrateFlags extends Record<string, unknown> {
  readonly fromApp: string;
  readonly fromConfig?: string;
  readonly fromDataDir?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** `freshet migrate`: a new application, seeded from what an old one has kept. */
export function migrateCommand(): Command {
  return command('migrate', 'Seed this application from an old one: with another window, sequences or partitions.', [
    'freshet migrate --app-id=feed-2 --from-app=feed --from-config=feed.config.json --dry-run',
    'freshet migrate --app-id=feed-2 --from-app=feed --from-config=feed.config.json',
    'freshet migrate --data-dir=new --partitions=16 --from-app=feed --from-config=feed.config.json --from-data-dir=old',
  ])
    .requiredOption('--from-app <id>', 'Application id of the old one.')
    .option('--from-config <file>', 'Configuration that the old one ran with (default: the present one).')
    .option('--from-data-dir <folder>', 'The old data folder, if this one has another: for other partitions.')
    .option('--dry-run', 'Only check, and say what would be done.')
    .option('--json', 'One line of JSON.')
    .action(async (flags: MigrateFlags) => {
      const context = contextOf(flags);
      const old = oldConfig(context.config, flags);
      await refuseLiveMembers(context.config, context.logger);
      await refuseLiveMembers(old, context.logger);
      const line = new ProgressLine(context.logger, 'MIGRATE_PROGRESS');
      const isInPlace = old.dataDir === context.config.dataDir;
      const partitions = await withDeployment(context, (to) =>
        withOld(context, to, old, (from) =>
          (isInPlace ? migrateInPlace : migrateToFolder)({
            ...{ from, to, isDryRun: flags.dryRun === true },
            onProgress: (partition, restored, total) => {
              const text = `partition ${partition}: ${grouped(restored)} of ${grouped(total)} restored`;
              line.update(text, { partition, restored, total });
            },
          }),
        ),
      );
      line.end();
      if (flags.json === true) print(JSON.stringify({ isDryRun: flags.dryRun === true, isInPlace, partitions }));
      else print(partitions.map((each) => textOf(each, flags.dryRun === true)).join('\n'));
    });
}

/** Where the log is, and how it is reached, is said by the present configuration: secrets are not in a printed one. */
function oldConfig(config: Config, { fromApp, fromConfig, fromDataDir }: MigrateFlags): Config {
  const cwd = process.cwd();
  const old = fromConfig === undefined ? config : loadConfig({ file: fromConfig, env: {}, flags: {}, cwd });
  if (fromDataDir !== undefined && config.brokers.length > 0) {
    throw new FreshetError('USAGE', '--from-data-dir is for embedded logs: on Kafka topics keep their partitions');
  }
  const dataDir = fromDataDir === undefined ? config.dataDir : resolve(cwd, fromDataDir);
  const { brokers, registry, registryMode, registryAuth, kafka } = config;
  const reached = { ...old, brokers, registry, registryMode, registryAuth, kafka, dataDir, appId: fromApp };
  if (dataDir === config.dataDir && old.partitions !== config.partitions) {
    const detail = `${fromApp} has ${old.partitions}, configured are ${config.partitions}`;
    const remedy =
      'Another number of partitions needs a data folder of its own: --data-dir, and --from-data-dir for the old.';
    throw new FreshetError('PARTITIONS_CHANGED', detail, { remedy });
  }
  return reached;
}

/** On Kafka offsets are committed in the group of the application that opened the log; the embedded log opens once. */
async function withOld<T>(
  { logger }: Context,
  to: Deployment,
  old: Config,
  run: (from: Deployment) => Promise<T>,
): Promise<T> {
  const isShared = old.brokers.length === 0 && old.dataDir === to.config.dataDir;
  if (isShared) return run(new Deployment(old, logger, to.log, to.codec));
  return withDeployment({ config: old, logger }, run);
}

function textOf({ partition, offset, users, usersWithLate, isNew }: PartitionMigration, isDryRun: boolean): string {
  if (!isNew) return `partition ${partition}: done by an earlier call`;
  const done = isDryRun ? 'users would be moved' : 'users moved';
  return `partition ${partition}: ${grouped(users)} ${done} as of ${grouped(offset)}, ${grouped(usersWithLate)} of them with late actions`;
}
