import type { Command } from 'commander';
import { command, commandGroup, contextOf, print, withDeployment } from './command.ts';
import { declareTopics } from '../../topics/index.ts';

/** `freshet topics list`: what is declared, and how many records the log holds of it. */
export function topicsCommand(): Command {
  const list = command('list', 'List the topics: key, partitions, cleanup, retention, records.', [
    'freshet topics list',
    'freshet topics list --json',
  ])
    .option('--json', 'One JSON object a line.')
    .action(async (options: Record<string, unknown>) => {
      await withDeployment(contextOf(options), async ({ config, log }) => {
        for (const topic of declareTopics(config.partitions)) {
          let records = 0;
          for (let partition = 0; partition < topic.partitions; partition += 1) {
            const at = { topic: topic.name, partition };
            records += (await log.endOffset(at)) - (await log.startOffset(at));
          }
          if (options['json'] === true) print(JSON.stringify({ ...topic, records }));
          else {
            const retention = topic.retentionMs === -1 ? 'kept for ever' : `${(topic.retentionMs ?? 0) / 86_400_000} d`;
            const cleanup = topic.cleanup === 'compact' ? 'compacted' : retention;
            print(`${topic.name}\n  ${topic.doc}\n  key: ${topic.key}`);
            print(`  ${topic.partitions} partitions, ${cleanup}, ${records.toLocaleString('en-US')} records\n`);
          }
        }
      });
    });
  return commandGroup('topics', 'What is on the wire.', [list]);
}
