import type { Command } from 'commander';
import { configurationTable, withoutSecrets } from '../base/config.ts';
import { command, contextOf, print } from './command.ts';

/** `freshet config`: what is in force, or all keys there are. */
export function configCommand(): Command {
  return command('config', 'Print the configuration in force, as JSON.', [
    'freshet config',
    'FRESHET_COMMIT_INTERVAL_MS=200 freshet config',
    'freshet config --keys',
  ])
    .option('--keys', 'Print every key with type, default, environment variable and flag instead, as Markdown.')
    .action((options: Record<string, unknown>) => {
      print(options['keys'] === true ? configurationTable() : withoutSecrets(contextOf(options).config, 2));
    });
}
