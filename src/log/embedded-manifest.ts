/**
 * What the embedded log knows besides records: topics, end offsets, writers and what they have committed. Every batch
 * writes the whole of it under a new key and deletes the one before. So no key of the store is ever written twice,
 * which is what google/leveldb#320 needs to give stale values; and when the write-ahead log lost a batch in the middle,
 * any later batch still names the ends that the lost one reached.
 */
import type { TopicDeclaration } from '../../topics/index.ts';
import { FreshetError, invariant } from '../base/errors.ts';
import { sealed, unsealed, type StoredBytes } from './embedded-record.ts';
import { partitionName, type CommitRequest, type Committed, type TopicPartition } from './log.ts';

/**
 * Raised when keys or values change their layout; see CHANGELOG.md for how a folder is brought along. A log is of format 2
 * once something was erased from it: a release that knows only the first would take what is left for bad records.
 */
const FORMAT_VERSION = 1;
const FORMAT_WITH_ERASED = 2;
const MANIFEST_PREFIX = 0x6d; // 'm'
/** Every batch writes them all. */
const MAX_PARTITIONS = 16_384;
const MAX_TASKS = 4_096;

export interface PartitionState {
  /** Offset after the last record. */
  end: number;
  /** Stored size of the largest record: bounds what a read fetches ahead. */
  largestBytes: number;
}

export interface TopicState {
  readonly name: string;
  readonly partitions: PartitionState[];
}

export interface TaskState {
  /** How often a writer was opened for the task; only the last one may commit. */
  readonly epoch: number;
  /** By `partitionName` of the input. */
  readonly committed: ReadonlyMap<string, Committed>;
}

export interface Manifest {
  /** Number of batches written so far. */
  readonly batch: number;
  /** A topic's place in this list is its id in the keys: topics are only ever added at the end. */
  readonly topics: TopicState[];
  readonly tasks: Map<string, TaskState>;
  /** Records that were erased, since the beginning. */
  readonly erased: number;
}

interface ManifestJson {
  topics: TopicState[];
  /** Absent in format 1. */
  erased?: number;
  tasks: { id: string; epoch: number; committed: [string, Committed][] }[];
}

/** Keys of all manifests, for the search of the newest one. */
export const MANIFEST_RANGE = { gte: manifestKey(0), lte: manifestKey(2 ** 48 - 1) };

export const EMPTY_MANIFEST: Manifest = { batch: 0, topics: [], tasks: new Map(), erased: 0 };

export function manifestKey(batch: number): Buffer {
  const key = Buffer.allocUnsafe(7);
  key[0] = MANIFEST_PREFIX;
  key.writeUIntBE(batch, 1, 6);
  return key;
}

/** A copy for the next batch to change: the old one stays true until the batch is durable. */
export const nextManifest = (manifest: Manifest): Manifest => ({
  batch: manifest.batch + 1,
  topics: manifest.topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map((each) => ({ ...each })),
  })),
  tasks: new Map(manifest.tasks),
  erased: manifest.erased,
});

export function encodeManifest(manifest: Manifest): StoredBytes {
  const partitions = manifest.topics.reduce((count, topic) => count + topic.partitions.length, 0);
  invariant(partitions <= MAX_PARTITIONS, `${partitions} partitions are over the limit of ${MAX_PARTITIONS}`);
  invariant(manifest.tasks.size <= MAX_TASKS, `${manifest.tasks.size} tasks are over the limit of ${MAX_TASKS}`);
  const { erased } = manifest;
  const json: ManifestJson = {
    ...(erased > 0 && { erased }),
    topics: manifest.topics,
    tasks: Array.from(manifest.tasks, ([id, task]) => ({ id, epoch: task.epoch, committed: [...task.committed] })),
  };
  const format = Buffer.allocUnsafe(4);
  format.writeUInt32BE(erased > 0 ? FORMAT_WITH_ERASED : FORMAT_VERSION);
  const key = manifestKey(manifest.batch);
  return { key, value: sealed(key, Buffer.concat([format, Buffer.from(JSON.stringify(json))])) };
}

/** Fails with LOG_CORRUPT or LOG_FORMAT. */
export function decodeManifest(stored: StoredBytes): Manifest {
  const content = unsealed(stored);
  if (content === undefined) throw new FreshetError('LOG_CORRUPT', 'the checksum of the manifest does not match');
  const format = content.readUInt32BE(0);
  if (format !== FORMAT_VERSION && format !== FORMAT_WITH_ERASED) {
    throw new FreshetError('LOG_FORMAT', `the log has format ${format}, this version reads ${FORMAT_WITH_ERASED}`);
  }
  const json = JSON.parse(content.toString('utf8', 4)) as ManifestJson;
  return {
    batch: stored.key.readUIntBE(1, 6),
    topics: json.topics,
    tasks: new Map(json.tasks.map(({ id, epoch, committed }) => [id, { epoch, committed: new Map(committed) }])),
    erased: json.erased ?? 0,
  };
}

/** Fails with UNKNOWN_TOPIC. */
export function findPartition(
  manifest: Manifest,
  { topic, partition }: TopicPartition,
): { topicId: number; state: PartitionState } {
  const topicId = manifest.topics.findIndex(({ name }) => name === topic);
  const state = manifest.topics[topicId]?.partitions[partition];
  if (state === undefined)
    throw new FreshetError('UNKNOWN_TOPIC', 'not in this log', { position: { topic, partition } });
  return { topicId, state };
}

/** Those of `topics` that the log does not have. Fails with PARTITIONS_CHANGED where it has another number of them. */
export function absentTopics(manifest: Manifest, topics: readonly TopicDeclaration[]): readonly TopicDeclaration[] {
  const existing = new Map(manifest.topics.map(({ name, partitions }) => [name, partitions.length]));
  for (const { name: topic, partitions } of topics) {
    invariant(Number.isSafeInteger(partitions) && partitions > 0, `${partitions} partitions`, { topic });
    const has = existing.get(topic) ?? partitions;
    if (has === partitions) continue;
    throw new FreshetError('PARTITIONS_CHANGED', `it has ${has}, configured are ${partitions}`, {
      position: { topic },
    });
  }
  return topics.filter(({ name }) => !existing.has(name));
}

/** The end offsets of the partitions that grew between two manifests with the same topics, by `partitionName`. */
export function movedEnds(before: Manifest, after: Manifest): ReadonlyMap<string, number> {
  const ends = new Map<string, number>();
  for (const [topicId, { name: topic, partitions }] of after.topics.entries()) {
    for (const [partition, { end }] of partitions.entries()) {
      if (end !== before.topics[topicId]?.partitions[partition]?.end)
        ends.set(partitionName({ topic, partition }), end);
    }
  }
  return ends;
}

/** Fences the task's writers so far. Returns the epoch of the one that may write from here on. */
export function fence(next: Manifest, taskId: string): number {
  const { epoch = 0, committed = new Map<string, Committed>() } = next.tasks.get(taskId) ?? {};
  next.tasks.set(taskId, { epoch: epoch + 1, committed });
  return epoch + 1;
}

/** The task's state while `epoch` is its newest; fails with FENCED after that. */
export function ownTask(manifest: Manifest, taskId: string, epoch: number): TaskState {
  const task = manifest.tasks.get(taskId);
  invariant(task !== undefined, `task ${taskId} has no writer`);
  if (task.epoch !== epoch) throw new FreshetError('FENCED', `task ${taskId} has a newer writer`);
  return task;
}

/** Enters what the task has now committed. */
export function enterCommit(
  next: Manifest,
  taskId: string,
  task: TaskState,
  offsets: CommitRequest['offsets'],
  metadata: string,
): void {
  const committed = new Map(task.committed);
  for (const { input, offset } of offsets) {
    findPartition(next, input);
    committed.set(partitionName(input), { offset, metadata });
  }
  next.tasks.set(taskId, { epoch: task.epoch, committed });
}

/**
 * What a task of the application has committed of `input`. The shortest id that fits: an application may be called what
 * another one's tasks begin with.
 */
export function committedBy(manifest: Manifest, appId: string, input: TopicPartition): Committed | undefined {
  const name = partitionName(input);
  const tasks = [...manifest.tasks].filter(([id, { committed }]) => id.startsWith(`${appId}-`) && committed.has(name));
  const [own] = tasks.sort(([a], [b]) => a.length - b.length);
  return own?.[1].committed.get(name);
}
