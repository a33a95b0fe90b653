/** The topics made as they are declared, and a check that they are. */
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs, { type Admin } from 'kafkajs';
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { FreshetError } from '../base/errors.ts';
import { declareTopics, type TopicDeclaration } from '../../topics/index.ts';
import { withAdmin } from './kafka-admin.ts';
import { concerning, describeTopic, planTopics, type TopicKeys, type TopicPlan } from './kafka-topic-plan.ts';
import { topicCreation, topicSettings } from './kafka-topic-settings.ts';

export { planTopics, type TopicPlan } from './kafka-topic-plan.ts';

const POLL_MS = 50;

/**
 * Creates what is absent and changes what can be changed safely. Resolves with what differs then, once the brokers have
 * learned of it from their controller.
 */
export async function applyTopics(admin: Admin, config: TopicKeys, plans: readonly TopicPlan[]): Promise<TopicPlan[]> {
  const declared = new Map<string, TopicDeclaration>(declareTopics(config.partitions).map((each) => [each.name, each]));
  const absent = plans.filter(({ state }) => state === 'absent').map(({ topic }) => declared.get(topic)!);
  const topics = absent.map((each) => topicCreation(each, config));
  // kafkajs would wait for leaders, and fail where a broker does not know the topic yet.
  if (topics.length > 0) await admin.createTopics({ topics, waitForLeaders: false });

  for (const { topic, differences } of plans) {
    const changed = new Set(differences.filter(({ remedy }) => remedy === null).map(({ setting }) => setting));
    if (changed.size === 0) continue;
    // kafkajs has only the request that replaces all settings of a topic, so those that it has are sent with it.
    const values = new Map((await describeTopic(admin, topic))?.own);
    for (const { name, value } of topicSettings(declared.get(topic)!, config)) {
      if (changed.has(name)) values.set(name, value);
    }
    const configEntries = [...values].map(([name, value]) => ({ name, value }));
    const resources = [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configEntries }];
    await concerning(topic, 'its settings cannot be changed', admin.alterConfigs({ validateOnly: false, resources }));
  }

  const deadline = performance.now() + config.kafka.requestTimeoutMs;
  for (;;) {
    const after = await planTopics(admin, config);
    if (!after.some(isChangeable) || performance.now() > deadline) return after;
    await sleep(POLL_MS);
  }
}

const isChangeable = ({ state, differences }: TopicPlan): boolean =>
  state === 'absent' || differences.some(({ remedy }) => remedy === null);

/** Throws TOPIC_CONFIG if any topic is not as declared: `run` must not write into topics that lose what it writes. */
export async function checkTopics(config: TopicKeys & Pick<Config, 'brokers'>, logger: Logger): Promise<void> {
  refuseDifferences(await withAdmin(config, logger, (admin) => planTopics(admin, config)));
}

/** Throws TOPIC_CONFIG naming each difference, with the remedies of those that `apply` does not remove. */
export function refuseDifferences(plans: readonly TopicPlan[]): void {
  const different = plans.filter(({ state }) => state !== 'as declared');
  if (different.length === 0) return;
  const remedies = new Set(different.flatMap(({ differences }) => differences.flatMap(({ remedy }) => remedy ?? [])));
  const changeable = different.some(isChangeable);
  if (changeable) remedies.add('`freshet topics apply` does the rest.');
  const detail = different.map(({ topic, state, differences }) => {
    if (state === 'absent') return `${topic} is absent`;
    const texts = differences.map(({ setting, actual, accepted }) => `${setting} is ${actual}, not ${accepted}`);
    return `${topic}: ${texts.join(', ')}`;
  });
  const only = remedies.size === 1 && changeable;
  throw new FreshetError('TOPIC_CONFIG', detail.join('; '), only ? {} : { remedy: [...remedies].join(' ') });
}
