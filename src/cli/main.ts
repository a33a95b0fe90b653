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

/** In the order of the help. Loaded when they are asked for: without the others a process starts in half the time. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  demo: async () => (await import('./demo.ts')).demoCommand(),
  load: async () => (await import('./load.ts')).loadCommand(),
  run: async () => (await import('./run.ts')).runCommand(),
  status: async () => (await import('./status.ts')).statusCommand(),
  read: async () => (await import('./read.ts')).readCommand(),
  inspect: async () => (await import('./inspect.ts')).inspectCommand(),
  join: async () => (await import('./join.ts')).joinCommand(),
  vectors: async () => (await import('./vectors.ts')).vectorsCommand(),
  model: async () => (await import('./model.ts')).modelCommand(),
  asof: async () => (await import('./asof.ts')).asofCommand(),
  backfill: async () => (await import('./backfill.ts')).backfillCommand(),
  skew: async () => (await import('./skew.ts')).skewCommand(),
  replay: async () => (await import('./replay.ts')).replayCommand(),
  snapshot: async () => (await import('./snapshot.ts')).snapshotCommand(),
  reset: async () => (await import('./reset.ts')).resetCommand(),
  migrate: async () => (await import('./migrate.ts')).migrateCommand(),
  expire: async () => (await import('./expire.ts')).expireCommand(),
  erase: async () => (await import('./erase.ts')).eraseCommand(),
  topics: async () => (await import('./topics.ts')).topicsCommand(),
  config: async () => (await import('./config.ts')).configCommand(),
};

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
    await (await program(argv[2])).parseAsync(argv);
    return 0;
  } catch (error) {
    if (!(error instanceof CommanderError)) return report(error);
    return error.exitCode === 0 ? 0 : report(wrongUse(error));
  }
}

/** All commands with their options, not yet parsed; of a command that is named, only that one. */
export async function program(name = ''): Promise<Command> {
  const { version } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as { version: string };
  const root = new Command('freshet')
    .description('Realtime sequence features for ranking: recent actions in, enriched features out, replayable.')
    .version(version)
    .addHelpText('after', `\nExamples:\n  ${EXAMPLES.join('\n  ')}\n\nExit codes: ${EXIT_CODES}.`);
  const named = Object.hasOwn(COMMANDS, name) ? [COMMANDS[name]!] : Object.values(COMMANDS);
  for (const load of named) root.addCommand(await load());
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
