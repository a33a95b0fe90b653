import type { Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { expireIdleUsers, type ExpireResult } from '../privacy/expire.ts';
import { command, contextOf, print, untilSignal, withDeployment } from './command.ts';
import { ageOption } from './options.ts';
import { grouped, ProgressLine } from './progress.ts';

/** `freshet expire`: idle users leave. */
export function expireCommand(): Command {
  return command('expire', 'Let users leave who have been idle for longer than an age; run again, it goes on.', [
    'freshet expire --idle=90d --dry-run',
    'freshet expire --idle=90d',
    'freshet expire --idle=90d --brokers=kafka:9092 --registry=http://registry:8081 --json',
  ])
    .requiredOption('--idle <age>', 'Users without a record for longer than this: 90d, 12h, 30m, 45s.', ageOption)
    .option('--as-of <time>', 'Idle as of this time, ISO 8601 (default: now).')
    .option('--dry-run', 'Write nothing: show how many there are, and some by the hash of their id.')
    .option('--json', 'One line of JSON.')
    .action(async (flags: ExpireFlags) => {
      const asOfMs = flags.asOf === undefined ? undefined : Date.parse(flags.asOf);
      if (Number.isNaN(asOfMs)) throw new FreshetError('USAGE', `--as-of=${flags.asOf} is not a time`);
      const { signal, release } = untilSignal();
      const context = contextOf(flags);
      const line = new ProgressLine(context.logger, 'EXPIRE_PROGRESS');
      try {
        const result = await withDeployment(context, ({ log, codec, config }) =>
          expireIdleUsers({
            ...{ log, codec, signal, idleMs: flags.idle, dryRun: flags.dryRun === true },
            ...{ appId: config.appId, partitions: config.partitions, dataDir: config.dataDir },
            ...(asOfMs !== undefined && { asOfMs }),
            onProgress: ({ partition, records, appended }) => {
              const text = `partition ${partition}: ${grouped(records)} features, ${grouped(appended)} expired`;
              line.update(text, { partition, records, appended });
            },
          }),
        );
        print(flags.json === true ? JSON.stringify(result) : textOf(result));
      } finally {
        line.end();
        release();
      }
    });
}

interface ExpireFlags extends Record<string, unknown> {
  readonly idle: number;
  readonly asOf?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

const DAY_MS = 86_400_000;

function textOf({ dryRun, resumed, complete, records, idle, pending, appended, examples }: ExpireResult): string {
  const done = dryRun ? `${grouped(idle - pending)} would leave` : `${grouped(appended)} expire records appended`;
  const notes = [
    ...(resumed ? ['Went on with an earlier sweep.'] : []),
    ...(complete ? [] : ['Interrupted: run again, it goes on.']),
    ...(!dryRun && appended > 0 ? ['They take effect when `freshet run` consumes them.'] : []),
  ];
  return [
    `${grouped(records)} features records, ${grouped(idle)} idle users, ${done}, ${grouped(pending)} pending`,
    ...examples.map(
      ({ user, partition, version, idleMs }) =>
        `  ${user}  partition ${partition}, version ${version}, idle for ${(idleMs / DAY_MS).toFixed(1)} d`,
    ),
    ...notes,
  ].join('\n');
}
