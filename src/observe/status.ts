/** Where every partition stands, read from what is committed: it needs no word from the workers and disturbs none. */
import { z } from 'zod';
import type { Config } from '../base/config.ts';
import { decodeJoinMetadata } from '../join/join-metadata.ts';
import type { Committed, Log, TopicPartition } from '../log/log.ts';
import { decodeMetadata } from '../task/commit-metadata.ts';
import { layoutOf, stateLayoutHash } from '../../state/layout.ts';
import type { TopicName } from '../../topics/index.ts';
import type { Owner, Owners } from './group-owners.ts';
import { recordsBehind } from './lag.ts';

export interface InputStatus {
  /** Null: nothing was ever committed. */
  readonly committed: number | null;
  readonly end: number;
  readonly lag: number;
}

interface TaskStatus {
  /** Hash of the state layout that the task writes; null before its first commit. */
  readonly layout: string | null;
  /** Milliseconds since 1970; null before the first commit. */
  readonly lastCommitMs: number | null;
}

export interface PartitionStatus {
  readonly partition: number;
  readonly features: TaskStatus & InputStatus & { readonly itemVersion: string | null };
  /** Of its inputs, `features` is what the task above writes and `vectors` are long-term vectors. */
  readonly join: TaskStatus & { readonly features: InputStatus; readonly vectors: InputStatus };
  /** The member of the consumer group that serves the partition; null if there is none, or no group. */
  readonly owner: Owner | null;
}

export interface Status {
  readonly appId: string;
  readonly atMs: number;
  /** Hash of the configured state layout: a task that has committed another one stops with LAYOUT_CHANGED. */
  readonly layout: string;
  /** State of the consumer group, as Kafka calls it; null on the embedded log, or where it cannot be read. */
  readonly group: string | null;
  readonly partitions: readonly PartitionStatus[];
}

type Readable = Pick<Log, 'committed' | 'startOffset' | 'endOffset' | 'read'>;

/** Partitions asked about at the same time. */
const AT_ONCE = 8;

export async function readStatus(log: Readable, config: Config, owners: Owners | null): Promise<Status> {
  const { appId } = config;
  const partitions: PartitionStatus[] = [];
  while (partitions.length < config.partitions) {
    const first = partitions.length;
    const count = Math.min(AT_ONCE, config.partitions - first);
    const some = Array.from({ length: count }, (_, index) => partitionStatus(log, appId, first + index, owners));
    // Nothing is under way any more when it fails: who asked may close the log then.
    await Promise.allSettled(some);
    partitions.push(...(await Promise.all(some)));
  }
  const layout = stateLayoutHash(layoutOf(config));
  return { appId, atMs: Date.now(), layout, group: owners?.state ?? null, partitions };
}

async function partitionStatus(
  log: Readable,
  appId: string,
  partition: number,
  owners: Owners | null,
): Promise<PartitionStatus> {
  const read = async (topic: TopicName): Promise<[TopicPartition, Committed | undefined, InputStatus]> => {
    const at = { topic, partition };
    const committed = await log.committed(appId, at);
    return [at, committed, await inputStatus(log, at, committed)];
  };
  const [actions, committed, input] = await read('user-actions');
  const [features, joined, fromFeatures] = await read('sequence-features');
  const [, , fromVectors] = await read('user-embeddings');
  const metadata = committed && decodeMetadata(committed.metadata, actions);
  const joinMetadata = joined && decodeJoinMetadata(joined.metadata, features);
  return {
    partition,
    features: {
      ...input,
      itemVersion: metadata?.activation?.version ?? null,
      layout: metadata?.layout ?? null,
      lastCommitMs: lastCommitMs(committed),
    },
    join: {
      features: fromFeatures,
      vectors: fromVectors,
      layout: joinMetadata?.layout ?? null,
      lastCommitMs: lastCommitMs(joined),
    },
    owner: owners?.byPartition.get(partition) ?? null,
  };
}

async function inputStatus(log: Readable, at: TopicPartition, committed: Committed | undefined): Promise<InputStatus> {
  // A task whose offset the topic does not hold any more stops; who asks for the status is to see that offset.
  const offset = Math.max(committed?.offset ?? 0, await log.startOffset(at));
  const [end, lag] = [await log.endOffset(at), await recordsBehind(log, { at, offset })];
  return { committed: committed?.offset ?? null, end, lag };
}

const commitTime = z.object({ committedAtMs: z.number().optional() });

/** When the task made its last commit, by its own clock; both kinds of metadata hold it under this name. */
const lastCommitMs = (committed: Committed | undefined): number | null =>
  committed === undefined ? null : (commitTime.parse(JSON.parse(committed.metadata)).committedAtMs ?? null);
