/** Declared and actual topics, compared: what differs, and whether it can be changed safely. */
import kafkajs, { type Admin } from 'kafkajs';
import type { Config } from '../base/config.ts';
import { declareTopics, type TopicDeclaration } from '../../topics/index.ts';
import { kafkaError } from './kafka-errors.ts';
import { acceptedText, isAccepted, topicSettings, type TopicSetting } from './kafka-topic-settings.ts';

const { ConfigResourceTypes, ConfigSource } = kafkajs;

export interface TopicDifference {
  /** A setting as Kafka names it, `partitions` or `replicationFactor`. */
  readonly setting: string;
  readonly actual: string;
  /** What a new topic gets. */
  readonly declared: string;
  /** What would do as well, e.g. `at least 604800000`. */
  readonly accepted: string;
  /** Null: `apply` changes it. Otherwise it does not, and this is what a person can do. */
  readonly remedy: string | null;
}

export interface TopicPlan {
  readonly topic: string;
  readonly state: 'as declared' | 'absent' | 'different';
  readonly differences: readonly TopicDifference[];
}

export type TopicKeys = Pick<Config, 'partitions' | 'kafka'>;

interface ActualTopic {
  readonly partitions: number;
  readonly replicas: number;
  /** Every setting, with the value in force. */
  readonly settings: ReadonlyMap<string, string>;
  /** The settings of the topic itself; the others come from the brokers. */
  readonly own: ReadonlyMap<string, string>;
}

/** What differs between the declarations and the cluster, topic by topic. */
export async function planTopics(admin: Admin, config: TopicKeys): Promise<TopicPlan[]> {
  const plans: TopicPlan[] = [];
  for (const declared of declareTopics(config.partitions)) {
    const actual = await describeTopic(admin, declared.name);
    if (actual === undefined) {
      plans.push({ topic: declared.name, state: 'absent', differences: [] });
      continue;
    }
    const differences = [
      ...countDifferences(declared, actual, config),
      ...(await settingDifferences(admin, declared, actual, config)),
    ];
    const state = differences.length === 0 ? 'as declared' : 'different';
    plans.push({ topic: declared.name, state, differences });
  }
  return plans;
}

/** Undefined if it is absent. */
export async function describeTopic(admin: Admin, topic: string): Promise<ActualTopic | undefined> {
  const partitions = await partitionsOf(admin, topic);
  if (partitions === undefined) return undefined;
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic };
  const described = admin.describeConfigs({ includeSynonyms: false, resources: [resource] });
  const { resources } = await concerning(topic, 'its settings cannot be read', described);
  const entries = resources[0]!.configEntries;
  return {
    partitions: partitions.length,
    replicas: Math.min(...partitions.map(({ replicas }) => replicas.length)),
    settings: new Map(entries.map((entry) => [entry.configName, entry.configValue])),
    own: new Map(
      entries
        .filter(({ configSource }) => configSource === ConfigSource.TOPIC_CONFIG)
        .map((entry) => [entry.configName, entry.configValue]),
    ),
  };
}

async function partitionsOf(admin: Admin, topic: string): Promise<readonly { replicas: number[] }[] | undefined> {
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    return topics[0]!.partitions;
  } catch (error) {
    if ((error as { type?: string }).type === 'UNKNOWN_TOPIC_OR_PARTITION') return undefined;
    throw kafkaError(error, 'it cannot be looked at', { topic });
  }
}

/** kafkajs's errors do not say which topic they are about. */
export async function concerning<T>(topic: string, what: string, request: Promise<T>): Promise<T> {
  try {
    return await request;
  } catch (error) {
    throw kafkaError(error, what, { topic });
  }
}

function countDifferences(declared: TopicDeclaration, actual: ActualTopic, { kafka }: TopicKeys): TopicDifference[] {
  const differences: TopicDifference[] = [];
  const count = (setting: string, has: number, wanted: number, remedy: string): void => {
    if (has === wanted) return;
    differences.push({ setting, actual: `${has}`, declared: `${wanted}`, accepted: `${wanted}`, remedy });
  };
  count(
    'partitions',
    actual.partitions,
    declared.partitions,
    declared.name === 'item-embeddings'
      ? 'Item vectors are read in one order: delete item-embeddings, apply, and load the vectors again.'
      : 'Users would move to other partitions: set `partitions` to what the topics have, or use new topics.',
  );
  if (kafka.replicationFactor > 0) {
    count(
      'replicationFactor',
      actual.replicas,
      kafka.replicationFactor,
      'Move the replicas with kafka-reassign-partitions, or set kafka.replicationFactor to what the topics have.',
    );
  }
  return differences;
}

async function settingDifferences(
  admin: Admin,
  declared: TopicDeclaration,
  actual: ActualTopic,
  config: TopicKeys,
): Promise<TopicDifference[]> {
  const differences: TopicDifference[] = [];
  for (const setting of topicSettings(declared, config)) {
    const value = actual.settings.get(setting.name);
    if (value === undefined || isAccepted(setting, value)) continue;
    const remedy = await remedyOf(admin, declared, setting, actual);
    const accepted = acceptedText(setting);
    differences.push({ setting: setting.name, actual: value, declared: setting.value, accepted, remedy });
  }
  return differences;
}

/** Why a setting must not be changed under what is there; null: it can be. */
async function remedyOf(
  admin: Admin,
  declared: TopicDeclaration,
  { name, value }: TopicSetting,
  actual: ActualTopic,
): Promise<string | null> {
  if (name === 'min.insync.replicas' && Number(value) > actual.replicas) {
    return `Nothing could be written to ${actual.replicas} replica(s): add replicas with kafka-reassign-partitions first.`;
  }
  if (name !== 'message.timestamp.type') return null;
  // The records that are there keep the timestamps they have: of the two kinds no replay could give what was written.
  const offsets = await admin.fetchTopicOffsets(declared.name);
  if (offsets.every(({ low, high }) => low === high)) return null;
  return `Records of ${declared.name} carry the timestamps of another clock: delete the topic, apply, and let it be written again.`;
}
