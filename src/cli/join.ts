import { appendFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { readJoinWeights } from '../join/join-weights.ts';
import { requestJoin, type ItemScore } from '../join/request-join.ts';
import { newestActivation } from '../task/newest-activation.ts';
import { command, contextOf, print, withDeployment } from './command.ts';
import { listOption } from './options.ts';

/** `freshet join`: what a ranking service does with the features, for one request. */
export function joinCommand(): Command {
  return command('join', 'Score candidate items for a user: realtime, long-term and both.', [
    'freshet join --user=-1032019229384696495 --items=-5148591903395022444,8078873160882064481',
    'freshet join --user=-1032019229384696495 --items=-5148591903395022444 --json',
  ])
    .requiredOption('--user <id>', 'The user.')
    .requiredOption('--items <ids>', 'Candidate items: a,b,…', listOption)
    .option('--log-served <file>', 'Append what was given to the ranker, for `freshet skew`: one line of JSON.')
    .option('--json', 'One line of JSON.')
    .action(async (options: { user: string; items: string[]; logServed?: string; json?: boolean }) => {
      await withDeployment(contextOf(options), async ({ log, codec, itemVersions, config }) => {
        const { features, ...ranked } = await requestJoin(options.user, options.items, {
          log,
          codec,
          itemVersions,
          partitions: config.partitions,
          weights: await readJoinWeights(),
          activation: await newestActivation(log, codec),
        });
        if (options.logServed !== undefined) {
          await appendFile(
            options.logServed,
            `${JSON.stringify({ userId: options.user, time: Date.now(), features })}\n`,
          );
        }
        const { hasRealtime, hasLongTerm } = features;
        const result = { userId: options.user, hasRealtime, hasLongTerm, ...ranked };
        if (options.json === true) print(JSON.stringify(result));
        else {
          print(`ranked by ${ranked.rankedBy}, item vectors ${ranked.itemVersion ?? 'none'}`);
          print('     both  realtime long-term  item');
          for (const item of ranked.items) print(line(item));
        }
      });
    });
}

const line = ({ itemId, both, realtime, longTerm, hasVector }: ItemScore): string =>
  `${[both, realtime, longTerm].map(number).join(' ')}  ${itemId}${hasVector ? '' : '  (no vector)'}`;

const number = (score: number | null): string => (score === null ? '–' : score.toFixed(4)).padStart(9);
