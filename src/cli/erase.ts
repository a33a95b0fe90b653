import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { checkUserId, type EraseOptions, type EraseProof, type EraseResult } from '../privacy/erase.ts';
import { eraseEmbedded } from '../privacy/erase-embedded.ts';
import { eraseOnKafka } from '../privacy/erase-kafka.ts';
import { command, contextOf, print } from './command.ts';
import { ageOption } from './options.ts';
import { grouped, ProgressLine } from './progress.ts';

const WAIT = '60s';

/** `freshet erase`: a user goes, and with `--prove` it is shown that nothing is left. */
export function eraseCommand(): Command {
  return command('erase', 'Erase a user: state, features, history, vectors and, embedded, the records of the log.', [
    'freshet erase --user=- --prove < user-id.txt',
    'freshet erase --user-file=/run/secrets/user-id --prove --json',
    'freshet erase --user=ann --brokers=kafka:9092 --registry=http://registry:8081',
  ])
    .option('--user <id>', 'The user; - reads the id from stdin, as other users of a machine see command lines.')
    .option('--user-file <file>', 'A file with the id of the user.')
    .option('--prove', 'Look afterwards what is left, in topics and files; exit 1 if anything is.')
    .option(
      '--wait <age>',
      'On Kafka, how long the proof waits for the workers to consume the erase.',
      ageOption,
      ageOption(WAIT),
    )
    .option('--json', 'One line of JSON.')
    .action(async (flags: EraseFlags) => {
      const { config, logger } = contextOf(flags);
      const userId = userOf(flags);
      checkUserId(userId, config);
      const line = new ProgressLine(logger, 'ERASE_PROGRESS');
      const options: EraseOptions = {
        ...{ config, logger, userId, prove: flags.prove === true, waitMs: flags.wait },
        onProgress: (stage, records) => {
          line.update(`${stage}: ${grouped(records)} records`, { records });
        },
      };
      const result = await (config.brokers.length > 0 ? eraseOnKafka : eraseEmbedded)(options).finally(() => {
        line.end();
      });
      print(flags.json === true ? JSON.stringify(result) : textOf(result));
      if (result.proof?.proved === false) throw new FreshetError('ERASE_UNPROVEN', `user ${result.user}`);
    });
}

interface EraseFlags extends Record<string, unknown> {
  readonly user?: string;
  readonly userFile?: string;
  readonly prove?: boolean;
  readonly wait: number;
  readonly json?: boolean;
}

const STDIN = 0;

/** One line break at the end is not part of the id. */
function userOf({ user, userFile }: EraseFlags): string {
  if ((user === undefined) === (userFile === undefined)) {
    throw new FreshetError('USAGE', 'erase needs either --user=ID or --user-file=FILE');
  }
  if (user !== undefined && user !== '-') return user;
  try {
    return readFileSync(userFile ?? STDIN, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    throw new FreshetError('FILE_NOT_FOUND', userFile ?? 'stdin', { cause: error });
  }
}

function textOf({ user, partition, appended, blanked, proof }: EraseResult): string {
  const erases =
    appended.length === 0 ? 'nothing to erase that is not erased already' : `erases appended to ${appended.join(', ')}`;
  const blankedText = Object.entries(blanked ?? {}).map(([topic, count]) => `${topic} ${grouped(count)}`);
  return [
    `user ${user}, partition ${partition}: ${erases}`,
    ...(blankedText.length > 0 ? [`  blanked: ${blankedText.join(', ')}`] : []),
    ...(proof === null ? [] : proofLines(proof)),
  ].join('\n');
}

function proofLines({ proved, consumed, topics, retained, files, storesInUse }: EraseProof): string[] {
  return [
    ...(consumed ? [] : ['  the workers have not consumed the erase yet']),
    ...topics
      .filter(({ values, tombstones }) => values + tombstones > 0)
      .map(
        ({ topic, values, tombstones }) => `  ${topic}: ${grouped(values)} records, ${grouped(tombstones)} tombstones`,
      ),
    ...retained.filter(({ records }) => records > 0).map(retainedLine),
    ...storesInUse.map((store) => `  ${store}: in use; stop the worker, or look again when it has stopped`),
    ...files.map(({ file, places }) => `  ${file}: ${grouped(places)} places`),
    proved ? '  proved: nothing else is left' : '  not proved',
  ];
}

function retainedLine({ topic, records, retentionMs, leavesAtMs }: EraseProof['retained'][number]): string {
  const leaves =
    leavesAtMs === null
      ? `never removed, retention.ms is ${retentionMs}`
      : `removed by retention from ${new Date(leavesAtMs).toISOString()} on`;
  return `  ${topic}: ${grouped(records)} records, ${leaves}`;
}
