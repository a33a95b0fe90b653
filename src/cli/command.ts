/** What every command shares: the configuration's flags, a deployment opened and closed, results and progress. */
import { Command, Option } from 'commander';
import type { Logger } from 'pino';
import { CONFIG_KEYS, loadConfig, type Config } from '../base/config.ts';
import { createLogger } from '../base/logger.ts';
import { Deployment } from '../run/deployment.ts';

export interface Context {
  readonly config: Config;
  readonly logger: Logger;
}

/** A command with the configuration's flags in a help group of their own, and examples below. */
export function command(nameAndArguments: string, summary: string, examples: readonly string[]): Command {
  const created = new Command(nameAndArguments.split(' ')[0])
    .summary(summary)
    .description(summary)
    .addHelpText('after', examplesText(examples));
  for (const argument of nameAndArguments.split(' ').slice(1)) created.argument(argument);
  created.addOption(new Option('--config <file>', 'Configuration file.').helpGroup(GROUP));
  for (const key of CONFIG_KEYS) {
    if (key.flag === null) continue;
    const described = `${key.description} (default: ${JSON.stringify(key.default)})`;
    created.addOption(new Option(`${key.flag} <value>`, described).helpGroup(GROUP));
  }
  return created;
}

/** Commands under a common name, e.g. `freshet vectors …`; the options are theirs. */
export function commandGroup(name: string, summary: string, commands: readonly Command[]): Command {
  const group = new Command(name).summary(summary).description(summary);
  for (const each of commands) group.addCommand(each);
  const examples = commands.map((each) => `freshet ${name} ${each.name()} --help`);
  return group.addHelpText('after', examplesText(examples));
}

const examplesText = (examples: readonly string[]): string =>
  `\nExamples:\n${examples.map((example) => `  $ ${example}`).join('\n')}`;

const GROUP = 'Configuration (also by file and environment, see docs/configuration.md):';

/** The configuration from file, environment and this command's flags. */
export function contextOf(options: Record<string, unknown>): Context {
  const attributes = new Set(CONFIG_KEYS.flatMap((key) => key.attribute ?? []));
  const flags = Object.fromEntries(Object.entries(options).filter(([name]) => attributes.has(name)));
  const file = options['config'] as string | undefined;
  const config = loadConfig({ file, env: process.env, flags, cwd: process.cwd() });
  return { config, logger: createLogger(config.log.level) };
}

/** Runs with the deployment open; closes it whatever happens. */
export async function withDeployment<T>(
  { config, logger }: Context,
  run: (deployment: Deployment) => Promise<T>,
): Promise<T> {
  const deployment = await Deployment.open(config, logger);
  try {
    return await run(deployment);
  } finally {
    await deployment.close();
  }
}

/** Results go to stdout, and nothing else does. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Aborts at SIGTERM or SIGINT; a second signal ends the process at once, as the default does. */
export function untilSignal(): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController();
  const abort = (): void => {
    release();
    controller.abort();
  };
  const release = (): void => {
    process.off('SIGTERM', abort).off('SIGINT', abort);
  };
  process.on('SIGTERM', abort).on('SIGINT', abort);
  return { signal: controller.signal, release };
}

const EXIT_ANYWAY_MS = 3_000;

/**
 * Ends the process, with the exit code that it was given, when it has not ended by itself a while after all is done: a
 * client that goes on trying to connect must not keep it.
 */
export function exitAnyway(): void {
  setTimeout(() => process.exit(), EXIT_ANYWAY_MS).unref();
}
