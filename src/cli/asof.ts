import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { userHash } from '../base/user-hash.ts';
import type { Difference, DifferenceCause } from '../dataset/as-of-differences.ts';
import { userAsOf, type SequenceView, type UserAsOf, type View } from '../dataset/as-of.ts';
import { readPasts } from '../dataset/user-past.ts';
import { parseTimeMs } from '../ingest/event-time.ts';
import type { Deployment } from '../run/deployment.ts';
import { layoutOf } from '../../state/layout.ts';
import { command, contextOf, print, withDeployment } from './command.ts';
import { integerOption, lagOption } from './options.ts';

interface AsOfFlags extends Record<string, unknown> {
  readonly user: string;
  readonly time?: string;
  readonly atOffset?: number;
  readonly lag: number;
  readonly json?: boolean;
}

/** Users read at once: their partitions are read once for all of them. */
const USERS_AT_ONCE = 500;
const SHOWN_ACTIONS = 10;
const SHOWN_DIFFERENCES = 20;

const CAUSES: Readonly<Record<DifferenceCause, string>> = {
  arrived_later: 'arrived later',
  late: 'arrived behind the left edge: rejected as late',
  expired: 'removed by an expiry',
  ahead_of_time: 'happened after the time, by the clock of its logger',
  erased: 'erased since',
  sealed: 'in the window of one, sealed in the other',
  surface: 'another surface came with a later record',
};

/** `freshet asof`: a user at a moment, by two clocks. */
export function asofCommand(): Command {
  return command('asof', 'Show a user at a moment: what was true, what could be served, and why they differ.', [
    'freshet asof --user=-1032019229384696495 --time=2016-12-01T12:00:00Z',
    'freshet asof --user=-1032019229384696495 --time=2016-12-01T12:00:00Z --lag=2s --json',
    'freshet asof --user=-1032019229384696495 --at-offset=1200',
    'freshet asof --user=- --time=2016-12-01T12:00:00Z --json < users.txt',
  ])
    .requiredOption('--user <id>', 'The user; -: one id a line from standard input.')
    .option('--time <time>', 'The moment: ISO 8601, or milliseconds since the epoch.')
    .option('--at-offset <offset>', "The moment before this offset of the user's partition.", integerOption(0))
    .option('--lag <time>', 'From an arrival until features were servable: 0, 500ms, 2s, 1m.', lagOption, 0)
    .option('--json', 'One line of JSON a user.')
    .action(async (flags: AsOfFlags) => {
      const { time, atOffset } = flags;
      if ((time === undefined) === (atOffset === undefined)) {
        throw new FreshetError('USAGE', 'asof needs either --time or --at-offset');
      }
      const timeMs = time === undefined ? undefined : parseTimeMs(time, 'ms');
      if (time !== undefined && timeMs === undefined) throw new FreshetError('USAGE', `--time=${time} is not a time`);
      await withDeployment(contextOf(flags), async (deployment) => {
        const show = (users: readonly string[]): Promise<void> => showUsers(deployment, users, timeMs, flags);
        if (flags.user !== '-') return show([flags.user]);
        let users: string[] = [];
        for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
          if (line !== '') users.push(line);
          if (users.length < USERS_AT_ONCE) continue;
          await show(users);
          users = [];
        }
        await show(users);
      });
    });
}

async function showUsers(
  deployment: Deployment,
  userIds: readonly string[],
  timeMs: number | undefined,
  { user, atOffset, lag, json }: AsOfFlags,
): Promise<void> {
  const layout = layoutOf(deployment.config);
  const { users, moments, gaps } = await readPasts(deployment, userIds, atOffset);
  if (gaps.length > 0) {
    const { code, from, to } = gaps[0]!;
    deployment.logger.warn({ code, from, to, gaps: gaps.length }, 'input that cannot be read was passed over');
  }
  for (const past of userIds.map((userId) => users.get(userId)!)) {
    if (past.records.length === 0 && user !== '-') {
      const position = { topic: 'user-actions', partition: past.partition, userHash: userHash(past.userId) };
      throw new FreshetError('UNKNOWN_USER', 'the log holds no record of it', { position });
    }
    const moment = timeMs === undefined ? moments.get(past.partition)! : { timeMs };
    const asOf = userAsOf(past, moment, lag, layout);
    print(json === true ? JSON.stringify(asOf) : textOf(asOf));
  }
}

function textOf(asOf: UserAsOf): string {
  const { userId, partition, timeMs, servable, newestVersion, differences, missing } = asOf;
  const time = Number.isFinite(timeMs) ? new Date(timeMs).toISOString() : 'before everything';
  const version =
    servable === null ? 'nothing' : `version ${servable.version}, item vectors ${servable.itemVersion ?? 'none'}`;
  const shown = differences.slice(0, SHOWN_DIFFERENCES);
  return [
    `${userId} at ${time}, partition ${partition}`,
    ...viewText('true, as known now', asOf.true),
    ...viewText(`servable: ${version}; newest version ${newestVersion ?? 'none'}`, servable),
    differences.length === 0 ? 'no difference' : `${differences.length} differences`,
    ...shown.map(differenceText),
    ...Object.entries(missing).map(
      ([cause, count]) => `  in all ${count} true actions are not servable: ${CAUSES[cause as DifferenceCause]}`,
    ),
    ...(differences.length > shown.length ? ['  … --json has all of them'] : []),
  ].join('\n');
}

const viewText = (title: string, view: View | null): string[] =>
  view === null
    ? [title, '  nothing is known of the user']
    : [title, `  session of ${view.session.length}`, ...view.sequences.flatMap(sequenceText)];

function sequenceText({ name, actions, sealed }: SequenceView): string[] {
  const lines = actions.slice(0, SHOWN_ACTIONS).map(({ eventTimeMs, actionType, itemId, hidden }) => {
    return `    ${new Date(eventTimeMs).toISOString()}  ${actionType.padEnd(10)} ${itemId}${hidden ? '  (hidden)' : ''}`;
  });
  const more = actions.length - lines.length;
  return [
    `  ${name}: ${actions.length} actions, ${sealed} sealed before`,
    ...lines,
    ...(more > 0 ? [`    … ${more} more`] : []),
  ];
}

const differenceText = ({ sequence, in: where, cause, action, offset, arrivalTimeMs }: Difference): string =>
  `  ${where === 'both' ? 'in both' : `only ${where}`}: ${action.actionType} ${action.itemId} of ` +
  `${new Date(action.eventTimeMs).toISOString()} in ${sequence}: ${CAUSES[cause]} ` +
  `(offset ${offset}, arrived ${new Date(arrivalTimeMs).toISOString()})`;
