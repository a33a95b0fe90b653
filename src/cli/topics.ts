import type { Command } from 'commander';
import type { Admin } from 'kafkajs';
import type { Config } from '../base/config.ts';
import { withAdmin } from '../log/kafka-admin.ts';
import { applyTopics, planTopics, refuseDifferences, type TopicPlan } from '../log/kafka-topics.ts';
import { declareTopics, type TopicDeclaration } from '../../topics/index.ts';
import { command, commandGroup, contextOf, print, withDeployment, type Context } from './command.ts';

/** `freshet topics …`: what is declared, whether the log's topics are like that, and making them so. */
export function topicsCommand(): Command {
  return commandGroup('topics', 'What is on the wire.', [listCommand(), planCommand(), applyCommand()]);
}

function listCommand(): Command {
  return command('list', 'List the topics: key, partitions, cleanup, retention, records.', [
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
          print(options['json'] === true ? JSON.stringify({ ...topic, records }) : topicText(topic, records));
        }
      });
    });
}

function topicText(topic: TopicDeclaration, records: number): string {
  const retention = topic.retentionMs === -1 ? 'kept for ever' : `${(topic.retentionMs ?? 0) / 86_400_000} d`;
  const cleanup = topic.cleanup === 'compact' ? 'compacted' : retention;
  return [
    `${topic.name}\n  ${topic.doc}\n  key: ${topic.key}`,
    `  ${topic.partitions} partitions, ${cleanup}, ${records.toLocaleString('en-US')} records\n`,
  ].join('\n');
}

function planCommand(): Command {
  return command('plan', 'Show how the topics differ from what is declared; exit 4 if they do. Changes nothing.', [
    'freshet topics plan --brokers=kafka:9092 --registry=http://registry:8081',
    'freshet topics plan --json',
  ])
    .option('--json', 'One line of JSON.')
    .action(async (options: Record<string, unknown>) => {
      const plans = await withTopics(contextOf(options), (admin, config) => planTopics(admin, config));
      print(options['json'] === true ? JSON.stringify(resultOf(plans)) : tableOf(plans));
      refuseDifferences(plans);
    });
}

function applyCommand(): Command {
  return command('apply', 'Create the topics that are absent, and change what differs and can be changed safely.', [
    'freshet topics apply --brokers=kafka:9092 --registry=http://registry:8081 --kafka-replication-factor=3',
    'freshet topics apply --json',
  ])
    .option('--json', 'One line of JSON: what differs afterwards, and what was done.')
    .action(async (options: Record<string, unknown>) => {
      let before: readonly TopicPlan[] = [];
      const after = await withTopics(contextOf(options), async (admin, config) => {
        before = await planTopics(admin, config);
        return applyTopics(admin, config, before);
      });
      const done = doneOf(before);
      if (options['json'] === true) print(JSON.stringify({ ...resultOf(after), done }));
      else print([...done.map(({ topic, what }) => `${topic}: ${what}`), tableOf(after)].join('\n'));
      refuseDifferences(after);
    });
}

/** Runs on the cluster. The embedded log has nothing that could be set otherwise: once it is open, all is as declared. */
async function withTopics(
  context: Context,
  run: (admin: Admin, config: Config) => Promise<TopicPlan[]>,
): Promise<TopicPlan[]> {
  const { config, logger } = context;
  if (config.brokers.length > 0) return withAdmin(config, logger, (admin) => run(admin, config));
  const plans = declareTopics(config.partitions).map(({ name }): TopicPlan => ({
    topic: name,
    state: 'as declared',
    differences: [],
  }));
  return withDeployment(context, () => Promise.resolve(plans));
}

const resultOf = (topics: readonly TopicPlan[]) => ({
  equal: topics.every(({ state }) => state === 'as declared'),
  topics,
});

function doneOf(plans: readonly TopicPlan[]): { topic: string; what: string }[] {
  return plans.flatMap(({ topic, state, differences }) => {
    if (state === 'absent') return [{ topic, what: 'created' }];
    return differences
      .filter(({ remedy }) => remedy === null)
      .map(({ setting, actual, declared }) => ({ topic, what: `${setting} changed from ${actual} to ${declared}` }));
  });
}

/** One line a topic, and one below it for each difference. */
function tableOf(plans: readonly TopicPlan[]): string {
  const width = Math.max(...plans.map(({ topic }) => topic.length));
  return plans
    .flatMap(({ topic, state, differences }) => [
      `${topic.padEnd(width)}  ${state === 'absent' ? 'absent: apply creates it' : state}`,
      ...differences.map(
        ({ setting, actual, accepted, remedy }) =>
          `  ${setting}: ${actual}, declared ${accepted}; ${remedy === null ? 'apply changes it' : `not changed. ${remedy}`}`,
      ),
    ])
    .join('\n');
}
