import type { Command } from 'commander';
import { createSnapshot } from '../snapshot/create.ts';
import { listSnapshots, summaryOf, type SnapshotSummary } from '../snapshot/list.ts';
import { restoreSnapshot } from '../snapshot/restore.ts';
import { command, commandGroup, contextOf, print, withDeployment } from './command.ts';
import { integerOption } from './options.ts';
import { grouped, ProgressLine } from './progress.ts';

/** `freshet snapshot …`: the stores as of an offset, kept, listed and put back. */
export function snapshotCommand(): Command {
  const summary = 'The state of all users as of an offset: kept, listed, put back.';
  return commandGroup('snapshot', summary, [createCommand(), listCommand(), restoreCommand()]);
}

function createCommand(): Command {
  return command('create', 'Keep the stores of the data folder as of what is committed.', [
    'freshet snapshot create',
    'freshet snapshot create --keep=7 --json',
  ])
    .option('--keep <n>', 'Snapshots of the application that stay, this one included (default: all).', integerOption(1))
    .option('--json', 'One line of JSON.')
    .action(async (options: Record<string, unknown>) => {
      const context = contextOf(options);
      const line = new ProgressLine(context.logger, 'SNAPSHOT_PROGRESS');
      const keep = options['keep'] as number | undefined;
      const { manifest, removed } = await withDeployment(context, (deployment) =>
        createSnapshot(deployment, {
          ...(keep !== undefined && { keep }),
          onProgress: (partition, restored, total) => {
            const text = `partition ${partition}: ${grouped(restored)} of ${grouped(total)} restored`;
            line.update(text, { partition, restored, total });
          },
        }),
      );
      line.end();
      const created = summaryOf(manifest);
      if (options['json'] === true) print(JSON.stringify({ ...created, removed }));
      else print([textOf(created), ...removed.map((name) => `removed ${name}`)].join('\n'));
    });
}

function listCommand(): Command {
  return command('list', 'List the snapshots of the data folder, oldest first.', [
    'freshet snapshot list',
    'freshet snapshot list --json',
  ])
    .option('--json', 'One JSON object a line.')
    .action(async (options: Record<string, unknown>) => {
      // Beside a live process: nothing but the manifests is read.
      const { config, logger } = contextOf(options);
      const { snapshots, damaged } = await listSnapshots(config.dataDir);
      for (const each of snapshots) print(options['json'] === true ? JSON.stringify(each) : textOf(each));
      for (const { name, error } of damaged) {
        logger.warn({ code: error.code, remedy: error.remedy }, `snapshot ${name}: ${error.message}`);
      }
    });
}

function restoreCommand(): Command {
  return command('restore <name>', 'Put the stores of a snapshot in place of those in the data folder.', [
    'freshet snapshot restore 2026-11-21T09-48-10.123Z',
  ])
    .option('--json', 'One line of JSON.')
    .action(async (name: string, options: Record<string, unknown>) => {
      const context = contextOf(options);
      const restored = summaryOf(await withDeployment(context, (deployment) => restoreSnapshot(deployment, name)));
      print(options['json'] === true ? JSON.stringify(restored) : textOf(restored));
    });
}

function textOf({ name, appId, bytes, features, layout }: SnapshotSummary): string {
  const at = features.map(({ partition, offset }) => `${partition}:${grouped(offset)}`).join(' ');
  return `${name}  ${appId}  layout ${layout}  ${grouped(Math.ceil(bytes / 1024))} KiB  input offsets ${at}`;
}
