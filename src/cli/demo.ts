import { resolve } from 'node:path';
import type { Command } from 'commander';
import { runDemo } from '../demo/demo.ts';
import { prepareDemoFolder } from '../demo/folder.ts';
import { command, contextOf, print, withDeployment } from './command.ts';
import { ProgressLine } from './progress.ts';

/** Where the demo lies unless --data-dir, the environment or the file say otherwise. */
const DEMO_DIR = '.freshet/demo';
/** Small commits: a live stream's, so that features come out as the log goes by. */
const DEMO_COMMIT_RECORDS = 500;

/** `freshet demo`: the product on a real log. */
export function demoCommand(): Command {
  return command('demo', 'The product on a real log: the shipped Deskdrop actions through everything.', [
    'freshet demo',
    'freshet demo --json',
    'freshet demo --data-dir=/tmp/demo',
  ])
    .option('--json', 'Only one line of JSON.')
    .action(async (options: Record<string, unknown>) => {
      const given = contextOf(options);
      const context = contextOf({
        commitMaxRecords: DEMO_COMMIT_RECORDS,
        ...(given.config.dataDir === resolve('.freshet') && { dataDir: DEMO_DIR }),
        ...options,
      });
      await prepareDemoFolder(context.config.dataDir);
      await withDeployment(context, async (deployment) => {
        const line = new ProgressLine(context.logger, 'DEMO_PROGRESS');
        const result = await runDemo({
          deployment,
          show: (text) => {
            line.end();
            if (options['json'] !== true) print(text);
          },
          progress: (text, fields) => {
            line.update(text, fields);
          },
        });
        line.end();
        if (options['json'] === true) print(JSON.stringify(result));
      });
    });
}
