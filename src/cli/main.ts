/**
 * The CLI, a contract: results on stdout, logs on stderr; exit 0 done, 1 failed, 2 wrong use, 3 bad input data,
 * 4 a state that needs a person, with the remedy.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { FreshetError, storageError } from '../base/errors.ts';
import { createLogger } from '../base/logger.ts';
import { packagePath } from '../base/package-root.ts';
import { boundProcessMemory } from '../base/process-memory.ts';
import { asofCommand } from './asof.ts';
import { backfillCommand } from './backfill.ts';
import { configCommand } from './config.ts';
import { demoCommand } from './demo.ts';
import { eraseCommand } from './erase.ts';
import { expireCommand } from './expire.ts';
import { inspectCommand } from './inspect.ts';
import { joinCommand } from './join.ts';
import { loadCommand } from './load.ts';
import { migrateCommand } from './migrate.ts';
import { readCommand } from './read.ts';
import { replayCommand } from './replay.ts';
import { resetCommand } from './reset.ts';
import { runCommand } from './run.ts';
import { skewCommand } from './skew.ts';
import { snapshotCommand } from './snapshot.ts';
import { statusCommand } from './status.ts';
import { topicsCommand } from './topics.ts';
import { vectorsCommand } from './vectors.ts';

const EXAMPLES = [
  '$ freshet demo                                            the product on a real log, in two minutes',
  '$ freshet load data/deskdrop/actions.csv.gz --format=deskdrop',
  '$ freshet run --until-end',
  '$ freshet read sequence-features --limit=1 --json',
];

const EXIT_CODES = '0 done, 1 failed, 2 wrong use, 3 bad input data, 4 a state that needs a person (with the remedy)';

/** Runs one command; the result is the exit code of the process. */
export async function main(argv: readonly string[]): Promise<number> {
  boundProcessMemory();
  // A reader that has seen enough (`| head`) is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? 0 : report(error));
  });
  try {
    await program().parseAsync(argv);
    return 0;
  } catch (error) {
    if (!(error instanceof CommanderError)) return report(error);
    return error.exitCode === 0 ? 0 : report(wrongUse(error));
  }
}

/** All commands with their options, not yet parsed. */
export function program(): Command {
  const { version } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as { version: string };
  const root = new Command('freshet')
    .description('Realtime sequence features for ranking: recent actions in, enriched features out, replayable.')
    .version(version)
    .addHelpText('after', `\nExamples:\n  ${EXAMPLES.join('\n  ')}\n\nExit codes: ${EXIT_CODES}.`);
  const commands = [
    demoCommand(),
    loadCommand(),
    runCommand(),
    statusCommand(),
    readCommand(),
    inspectCommand(),
    joinCommand(),
    vectorsCommand(),
    asofCommand(),
    backfillCommand(),
    skewCommand(),
    replayCommand(),
    snapshotCommand(),
    resetCommand(),
    migrateCommand(),
    expireCommand(),
    eraseCommand(),
    topicsCommand(),
    configCommand(),
  ];
  for (const each of commands) root.addCommand(each);
  return throwing(root);
}

/** Commander's errors come back as exceptions, from every depth, and are told once: by `report`. */
function throwing(command: Command): Command {
  command
    .exitOverride()
    .showHelpAfterError(false)
    .configureOutput({ outputError: () => undefined });
  for (const child of command.commands) throwing(child);
  return command;
}

/** A slip in an option's name must not carry its value, maybe a user id, into a log. */
function wrongUse({ code, message }: CommanderError): FreshetError {
  if (code === 'commander.help') return new FreshetError('USAGE', 'no command is given');
  return new FreshetError(
    'USAGE',
    message.replace(/^error: /, '').replace(/(?<=unknown option '[^'=]*)=[^']*(?=')/, ''),
  );
}

/** One line a person or a script can act on: code, position, what happened, what to do. */
function report(error: unknown): number {
  const known = error instanceof FreshetError ? error : storageError(error, 'writing the data folder or the results');
  if (known === undefined) {
    createLogger('error').error({ code: 'INTERNAL', err: error }, 'unexpected error');
    return 1;
  }
  if (process.stderr.isTTY) process.stderr.write(`${known.code}: ${known.message}\n  ${known.remedy}\n`);
  else createLogger('error').error({ code: known.code, ...known.position, remedy: known.remedy }, known.message);
  return known.exitCode;
}
