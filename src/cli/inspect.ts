import type { Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { hashDeployment, inspectUser } from '../run/inspect.ts';
import { command, contextOf, print, withDeployment } from './command.ts';

/** `freshet inspect`: what is held of a user, or one hash over everybody. */
export function inspectCommand(): Command {
  return command('inspect', 'Show the state of a user, or hash the state of all.', [
    'freshet inspect --user=-1032019229384696495',
    'freshet inspect --user=-1032019229384696495 --json',
    'freshet inspect --hash',
  ])
    .option('--user <id>', 'The user to show.')
    .option('--hash', 'One hash over all restorable states, one over the newest features of each user.')
    .option('--json', 'One line of JSON.')
    .action(async (options: Record<string, unknown>) => {
      const userId = options['user'] as string | undefined;
      if ((userId === undefined) === (options['hash'] === undefined)) {
        throw new FreshetError('USAGE', 'inspect needs either --user=ID or --hash');
      }
      await withDeployment(contextOf(options), async (deployment) => {
        const result = userId === undefined ? await hashDeployment(deployment) : await inspectUser(deployment, userId);
        print(options['json'] === true ? JSON.stringify(result) : JSON.stringify(result, null, 2));
      });
    });
}
