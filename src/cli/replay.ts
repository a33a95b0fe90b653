import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { Option, type Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { boundProcessMemory } from '../base/process-memory.ts';
import { parsePlace, resolveStretches, type Stretch } from '../replay/range.ts';
import { UserFilter } from '../replay/user-filter.ts';
import { Deployment } from '../run/deployment.ts';
import { command, contextOf, print, untilSignal, type Context } from './command.ts';
import { integerOption, listOption, shareOption } from './options.ts';
import { ProgressLine } from './progress.ts';
import { replayToTarget, type TargetFlags } from './replay-target.ts';
import { replayForScores } from './replay-scores.ts';
import { verifyEmitted, type VerifyFlags } from './replay-verify.ts';
import type { WhatIfFlags } from './replay-what-if.ts';

/** `freshet replay`: the log once more, beside the deployment that it belongs to. */
export function replayCommand(): Command {
  return command('replay', 'Play a stretch of the log once more, beside a live deployment and without touching it.', [
    'freshet replay --out=replayed',
    'freshet replay --out=replayed --from=2026-01-31T00:00:00Z --partition=0,3',
    'freshet replay --topic-prefix=trial. --brokers=kafka:9092 --registry=http://registry:8081',
    'freshet replay --verify --from=2026-01-31T00:00:00Z',
    'freshet replay --what-if-set sequences.0.windowSize=50 --quality',
    'freshet replay --what-if=changed.json --fail-over=intent.click.p99:0.05,versions.changed:0.2',
  ])
    .option('--out <folder>', 'Write features, history and rejections into this folder; run again, it goes on.')
    .option('--topic-prefix <prefix>', 'Write them to Kafka topics of these names behind the prefix.')
    .option('--from <place>', 'Where to begin: an offset, offsets (0:120,3:88) or a time (default: the beginning).')
    .option('--to <place>', 'Where to end, exclusive (default: the present end).')
    .option('--partition <list>', 'Only these partitions: 0,3.', (text: string) =>
      listOption(text).map(integerOption(0)),
    )
    .option('--users <file>', 'Only the users in this file, one id a line; -: from standard input.')
    .option('--verify', 'Compare what was emitted with what the replay makes; exit 1 unless all of it is equal.')
    .option('--commit-span <offsets>', 'With verify: offsets that one commit spans at most.', integerOption(1))
    .option('--what-if <file>', 'Compare with the configuration that these keys change (JSON).')
    .addOption(
      new Option(
        '--what-if-set <key=value>',
        'Compare with this key changed, e.g. sequences.0.windowSize=50; repeatable.',
      ).argParser((text: string, before: string[] = []) => [...before, text]),
    )
    .option('--sample <share>', 'With what-if: also compare this share of the versions before the newest.', shareOption)
    .option('--quality', 'With what-if: also measure how well both rank on this log, as the demo does.')
    .option('--fail-over <limits>', 'With what-if: exit 1 if one is passed, METRIC:LIMIT,…', listOption)
    .option('--show-users', 'With what-if: name users by their id instead of its hash.')
    .option('--json', 'One line of JSON.')
    .action(async (flags: ReplayFlags) => {
      boundProcessMemory(HEAP_GROWTH_PERCENT);
      await replay(contextOf(flags), flags);
    });
}

/** A replay holds its users in memory and replaces them all the time: at 30 % two fifths of its time went into collecting. */
const HEAP_GROWTH_PERCENT = 100;

export interface ReplayFlags extends Record<string, unknown>, TargetFlags, VerifyFlags, WhatIfFlags {
  readonly from?: string;
  readonly to?: string;
  readonly partition?: readonly number[];
  readonly users?: string;
  readonly json?: boolean;
}

/** What every kind of replay is given. */
export interface ReplayInput extends Context {
  readonly deployment: Deployment;
  readonly stretches: readonly Stretch[];
  readonly users: UserFilter | undefined;
  readonly signal: AbortSignal;
  readonly line: ProgressLine;
}

async function replay(context: Context, flags: ReplayFlags): Promise<void> {
  const kind = kindOf(flags);
  const { config, logger } = context;
  const from = flags.from === undefined ? undefined : parsePlace(flags.from, '--from');
  const to = flags.to === undefined ? undefined : parsePlace(flags.to, '--to');
  const users = flags.users === undefined ? undefined : await readUsers(flags.users);
  const partitions = chosenPartitions(flags, config.partitions, users);
  const { signal, release } = untilSignal();
  const line = new ProgressLine(logger, 'REPLAY_PROGRESS');
  try {
    const deployment = await openSource(context);
    try {
      const stretches = await resolveStretches({ log: deployment.log, partitions, from, to });
      const result = await kind({ ...context, deployment, stretches, users, signal, line }, flags);
      line.end();
      print(flags.json === true ? JSON.stringify(result.json) : result.text);
      if (result.failure !== undefined) throw result.failure;
    } finally {
      await deployment.close();
    }
  } finally {
    line.end();
    release();
  }
}

/** What a replay prints; a failure is thrown once it is printed. */
export interface ReplayResult {
  readonly json: object;
  readonly text: string;
  readonly failure?: FreshetError;
}

type Kind = (input: ReplayInput, flags: ReplayFlags) => Promise<ReplayResult>;

/** Brings the rankers of the demo along, and with them the runtime of models: loaded by who asks for it. */
const whatIf: Kind = async (input, flags) => (await import('./replay-what-if.ts')).whatIf(input, flags);

/** What is asked for; wrong use if that is two things. */
function kindOf(flags: ReplayFlags): Kind {
  const kinds: [string, boolean, Kind][] = [
    ['--out', flags.out !== undefined, replayToTarget],
    ['--topic-prefix', flags.topicPrefix !== undefined, replayToTarget],
    ['--verify', flags.verify === true, verifyEmitted],
    ['--what-if', flags.whatIf !== undefined || flags.whatIfSet !== undefined, whatIf],
  ];
  const asked = kinds.filter(([, isAsked]) => isAsked);
  if (asked.length > 1) {
    throw new FreshetError('USAGE', `${asked.map(([name]) => name).join(' and ')} do not go together`);
  }
  const kind = asked[0]?.[2] ?? replayForScores;
  const alone = (['sample', 'quality', 'failOver', 'showUsers'] as const).find((name) => flags[name] !== undefined);
  if (kind !== whatIf && alone !== undefined) {
    const name = alone.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw new FreshetError('USAGE', `--${name} needs --what-if or --what-if-set`);
  }
  return kind;
}

/** An embedded log serves one process, so a live one cannot be replayed by another. */
async function openSource({ config, logger }: Context): Promise<Deployment> {
  try {
    return await Deployment.open(config, logger);
  } catch (error) {
    if (!(error instanceof FreshetError) || error.code !== 'DATA_DIR_IN_USE') throw error;
    throw new FreshetError('DATA_DIR_IN_USE', error.detail, {
      cause: error,
      remedy:
        'An embedded log serves one process. Stop the other one for the time of the replay, or copy the folder while it is stopped and replay the copy (--data-dir). On Kafka a replay runs beside live workers.',
    });
  }
}

function chosenPartitions({ partition: chosen }: ReplayFlags, count: number, users: UserFilter | undefined): number[] {
  const absent = chosen?.find((partition) => partition >= count);
  if (absent !== undefined) throw new FreshetError('USAGE', `--partition: there are 0 to ${count - 1}, not ${absent}`);
  const all = chosen ?? Array.from({ length: count }, (_, partition) => partition);
  const holding = users?.partitionsAmong(count);
  return [...new Set(all)].filter((partition) => holding?.has(partition) ?? true).sort((a, b) => a - b);
}

async function readUsers(file: string): Promise<UserFilter> {
  const input = file === '-' ? process.stdin : createReadStream(file);
  const failed = new Promise<never>((_, reject) => {
    input.once('error', (cause: unknown) => {
      reject(new FreshetError('FILE_NOT_FOUND', file, { cause }));
    });
  });
  return Promise.race([UserFilter.of(createInterface({ input, crlfDelay: Infinity })), failed]);
}
