/** Declarations in Kafka's terms: which settings a topic is created with, and which values are accepted of one that exists. */
import type { ITopicConfig } from 'kafkajs';
import type { Config } from '../base/config.ts';
import type { TopicDeclaration } from '../../topics/index.ts';

/** Kafka's largest 64-bit number, which it takes for "no limit"; greater than what a JavaScript number holds exactly. */
const NO_LIMIT = '9223372036854775807';
/** As Kafka writes a retention without end. */
const FOR_EVER = '-1';
/** Kafka's own default. A send of the log is cut at half of it, so only one record that is larger could exceed it. */
const MAX_BATCH_BYTES = 1_048_588;
/** Closed segments are what Kafka compacts and a restore reads: an eighth of the default keeps both near the state's size. */
const COMPACTED_SEGMENT_BYTES = 134_217_728;

export interface TopicSetting {
  readonly name: string;
  /** What a topic is created with, and changed to. */
  readonly value: string;
  /** What else is accepted: numbers from or up to the value, or other values. */
  readonly accepts: 'only the value' | 'at least' | 'at most' | readonly string[];
}

type Keys = Pick<Config, 'kafka'>;

export function topicSettings(topic: TopicDeclaration, { kafka }: Keys): readonly TopicSetting[] {
  const settings: TopicSetting[] = [
    only('cleanup.policy', topic.cleanup),
    {
      name: 'message.timestamp.type',
      value: topic.timestamps === 'either' ? 'CreateTime' : topic.timestamps,
      accepts: topic.timestamps === 'either' ? ['LogAppendTime'] : 'only the value',
    },
    // A loaded log is as old as its source.
    only('message.timestamp.before.max.ms', NO_LIMIT),
    topic.timestampsAheadMs === null
      ? only('message.timestamp.after.max.ms', NO_LIMIT)
      : { name: 'message.timestamp.after.max.ms', value: String(topic.timestampsAheadMs), accepts: 'at most' },
    { name: 'max.message.bytes', value: String(MAX_BATCH_BYTES), accepts: 'at least' },
    // A replica that missed writes must not become the leader: what was committed would be gone.
    only('unclean.leader.election.enable', 'false'),
  ];
  if (topic.retentionMs !== null) {
    settings.push({ name: 'retention.ms', value: String(topic.retentionMs), accepts: 'at least' });
    if (topic.retentionMs === -1) settings.push(only('retention.bytes', '-1'));
  }
  if (topic.cleanup === 'compact') {
    settings.push(
      { name: 'delete.retention.ms', value: String(topic.tombstoneRetentionMs), accepts: 'at least' },
      { name: 'min.compaction.lag.ms', value: String(topic.compactionLagMs), accepts: 'at least' },
      { name: 'segment.bytes', value: String(COMPACTED_SEGMENT_BYTES), accepts: 'at most' },
    );
  }
  if (kafka.minInsyncReplicas !== null) {
    settings.push({ name: 'min.insync.replicas', value: String(kafka.minInsyncReplicas), accepts: 'at least' });
  }
  return settings;
}

const only = (name: string, value: string): TopicSetting => ({ name, value, accepts: 'only the value' });

/** The value as a person reads what is wanted, e.g. `at least 604800000`. */
export function acceptedText({ value, accepts }: TopicSetting): string {
  if (accepts === 'only the value' || value === FOR_EVER) return value;
  return typeof accepts === 'string' ? `${accepts} ${value}` : [value, ...accepts].join(' or ');
}

export function isAccepted({ value, accepts }: TopicSetting, actual: string): boolean {
  if (actual === value) return true;
  if (accepts === 'only the value') return false;
  if (typeof accepts !== 'string') return accepts.includes(actual);
  return accepts === 'at least' ? numberOf(actual) >= numberOf(value) : numberOf(actual) <= numberOf(value);
}

/** Settings hold 64-bit integers. */
const numberOf = (value: string): bigint => BigInt(value === FOR_EVER ? NO_LIMIT : value);

/** The topic as kafkajs creates it. */
export function topicCreation(topic: TopicDeclaration, keys: Keys): ITopicConfig {
  return {
    topic: topic.name,
    numPartitions: topic.partitions,
    replicationFactor: keys.kafka.replicationFactor,
    configEntries: topicSettings(topic, keys).map(({ name, value }) => ({ name, value })),
  };
}
