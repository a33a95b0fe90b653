import { InvalidArgumentError, type Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { parseTimeMs } from '../ingest/event-time.ts';
import { refuseLiveMembers } from '../migrate/live-members.ts';
import type { ResetTarget } from '../migrate/reset-plan.ts';
import { resetApplication, type PartitionReset } from '../migrate/reset.ts';
import { command, contextOf, print, withDeployment } from './command.ts';
import { integerOption, listOption } from './options.ts';
import { grouped, ProgressLine } from './progress.ts';

/** `freshet reset`: the application as it was at an earlier offset, to take the input from there on once more. */
export function resetCommand(): Command {
  return command('reset', 'Set the application back to an earlier offset or time, as a new generation of it.', [
    'freshet reset --to=2026-11-01T00:00:00Z',
    'freshet reset --to=0',
    'freshet reset --to=120000 --partitions-only=3 --json',
  ])
    .requiredOption(
      '--to <target>',
      'An input offset, or a time (ISO 8601): before the first record that arrived then or later.',
      targetOption,
    )
    .option('--partitions-only <list>', 'Only these partitions, a,b,… (default: all).', partitionsOption)
    .option('--json', 'One line of JSON.')
    .action(async (options: Record<string, unknown>) => {
      const context = contextOf(options);
      const { config, logger } = context;
      const partitions = options['partitionsOnly'] as number[] | undefined;
      const absent = partitions?.find((partition) => partition >= config.partitions);
      if (absent !== undefined) throw new FreshetError('USAGE', `there is no partition ${absent}`);
      await refuseLiveMembers(config, logger);
      const line = new ProgressLine(logger, 'RESET_PROGRESS');
      const resets = await withDeployment(context, (deployment) =>
        resetApplication(deployment, {
          target: options['to'] as ResetTarget,
          ...(partitions !== undefined && { partitions }),
          onProgress: (partition, restored, total) => {
            const text = `partition ${partition}: ${grouped(restored)} of ${grouped(total)} restored`;
            line.update(text, { partition, restored, total });
          },
        }),
      );
      line.end();
      if (options['json'] === true) print(JSON.stringify({ partitions: resets }));
      else print(resets.length === 0 ? 'no partition is beyond that' : resets.map(textOf).join('\n'));
    });
}

function textOf({ partition, from, to, snapshot, removed, written, generation }: PartitionReset): string {
  const where = snapshot === null ? 'the beginning' : `snapshot ${snapshot}`;
  return [
    `partition ${partition}: from ${grouped(from)} back to ${grouped(to)}, ${where};`,
    `${grouped(removed)} users removed, ${grouped(written)} written as they were; generation ${generation}`,
  ].join(' ');
}

function targetOption(text: string): ResetTarget {
  if (/^\d+$/.test(text)) return { offset: integerOption(0)(text) };
  const timeMs = parseTimeMs(text, 'ms');
  if (timeMs === undefined) throw new InvalidArgumentError('must be an offset or a time like 2026-11-01T00:00:00Z.');
  return { timeMs };
}

const partitionsOption = (text: string): number[] => listOption(text).map(integerOption(0));
