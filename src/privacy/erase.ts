/**
 * `freshet erase`: a user goes, and what was kept of it. The erase is a record like any other: the tasks consume it, and
 * remove state, features, history and joined features. What the topics still hold after that differs: see
 * erase-embedded.ts and erase-kafka.ts.
 */
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { FreshetError } from '../base/errors.ts';
import { partitionOf } from '../base/murmur2.ts';
import { userHash } from '../base/user-hash.ts';
import type { NewRecord } from '../log/log.ts';
import type { Deployment } from '../run/deployment.ts';
import type { TopicName } from '../../topics/index.ts';
import type { Trace } from './traces.ts';
import type { UserTopic } from './user-records.ts';

export interface EraseOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly userId: string;
  /** Whether to look afterwards what is left. */
  readonly prove: boolean;
  /** On Kafka: how long to wait for the workers to consume the erase, before the proof. */
  readonly waitMs: number;
  readonly onProgress?: (stage: EraseStage, done: number) => void;
}

export type EraseStage = 'look' | 'run' | 'blank' | 'prove';

export interface EraseResult {
  /** The hash of the id, as users are named in logs. */
  readonly user: string;
  readonly partition: number;
  /** The topics that got an erase; none where nothing but erases was left of the user. */
  readonly appended: readonly TopicName[];
  /** Records blanked by topic; null on Kafka, where compaction and retention remove them. */
  readonly blanked: Readonly<Partial<Record<TopicName, number>>> | null;
  readonly proof: EraseProof | null;
}

export interface EraseProof {
  /** Whether nothing is left but what `retained` tells about. */
  readonly proved: boolean;
  /** Whether the tasks have consumed the erase. */
  readonly consumed: boolean;
  /** What the topics that are compacted or blanked still hold: records with a value, and tombstones, whose key is the id. */
  readonly topics: readonly Pick<UserTopic, 'topic' | 'values' | 'tombstones'>[];
  /** What is removed by retention alone. */
  readonly retained: readonly RetainedTopic[];
  /** Files of the data folder with the id or a trace of it. */
  readonly files: readonly Trace[];
  /** Stores that a running process holds, and that could not be rewritten. */
  readonly storesInUse: readonly string[];
}

export interface RetainedTopic {
  readonly topic: TopicName;
  readonly records: number;
  /** `retention.ms` of the topic; -1 keeps records for ever. */
  readonly retentionMs: number;
  /** No earlier than this the newest of the records goes, milliseconds since the epoch; null: never. */
  readonly leavesAtMs: number | null;
}

/** Fails with USAGE where the id cannot be one. */
export function checkUserId(userId: string, { maxIdBytes }: Pick<Config, 'maxIdBytes'>): void {
  const bytes = Buffer.byteLength(userId);
  if (bytes > 0 && bytes <= maxIdBytes) return;
  throw new FreshetError('USAGE', `the user id has ${bytes} bytes; it may have 1 to ${maxIdBytes} (maxIdBytes)`);
}

/** Appends what is not there yet: of what a user has newer than its last erase, each topic's writer is told. */
export async function appendErase(
  { log, config }: Deployment,
  userId: string,
  found: readonly UserTopic[],
): Promise<TopicName[]> {
  const key = Buffer.from(userId);
  const partition = partitionOf(key, config.partitions);
  const has = (topic: TopicName): boolean => found.find((each) => each.topic === topic)?.newest?.isValue === true;
  const hasInput = found.some(({ topic, newest }) => topic === 'user-actions' && newest !== null);
  const topics: TopicName[] = [];
  // Features without any input are what retention of the input has left.
  if (has('user-actions') || (!hasInput && has('sequence-features'))) topics.push('user-actions');
  if (has('user-embeddings')) topics.push('user-embeddings');
  const timestampMs = Date.now();
  const records = topics.map((topic): NewRecord => ({ topic, partition, timestampMs, key, value: null }));
  if (records.length > 0) await log.append(records);
  return topics;
}

export const resultOf = (
  { userId, config }: EraseOptions,
  rest: Pick<EraseResult, 'appended' | 'blanked' | 'proof'>,
): EraseResult => ({
  user: userHash(userId),
  partition: partitionOf(Buffer.from(userId), config.partitions),
  ...rest,
});

/** Record counts of a survey alone. */
export const heldOf = (found: readonly UserTopic[]): EraseProof['topics'] =>
  found.map(({ topic, values, tombstones }) => ({ topic, values, tombstones }));

export const isHeld = ({ values, tombstones }: EraseProof['topics'][number]): boolean => values + tombstones > 0;
