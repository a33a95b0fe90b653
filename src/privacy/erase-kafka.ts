/**
 * An erase on Kafka: its records are appended, the workers consume them, and the brokers remove what was there before, by
 * compaction and by retention. The proof reads what they still hold, and searches the stores in this data folder.
 */
import { existsSync } from 'node:fs';
import { relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FreshetError } from '../base/errors.ts';
import { partitionOf } from '../base/murmur2.ts';
import { withAdmin } from '../log/kafka-admin.ts';
import { describeTopic } from '../log/kafka-topic-plan.ts';
import type { Log, TopicPartition } from '../log/log.ts';
import { Deployment } from '../run/deployment.ts';
import { rewriteStore } from '../../state/store-rewrite.ts';
import { appendErase, heldOf, isHeld, resultOf } from './erase.ts';
import type { EraseOptions, EraseProof, EraseResult, RetainedTopic } from './erase.ts';
import { ownsEntry } from './erase-embedded.ts';
import { findTraces } from './traces.ts';
import { surveyUser, UserRecords, type UserTopic } from './user-records.ts';

const POLL_MS = 500;

export async function eraseOnKafka(options: EraseOptions): Promise<EraseResult> {
  const { config, logger, userId, prove } = options;
  const deployment = await Deployment.open(config, logger);
  try {
    const appended = await appendErase(deployment, userId, await survey(deployment, options, 'look'));
    const proof = prove ? await proveErased(deployment, options) : null;
    return resultOf(options, { appended, blanked: null, proof });
  } finally {
    await deployment.close();
  }
}

async function proveErased(deployment: Deployment, options: EraseOptions): Promise<EraseProof> {
  const { config, userId } = options;
  const consumed = await untilConsumed(deployment, options);
  const found = await survey(deployment, options, 'prove');
  const topics = heldOf(found.filter(({ topic }) => !isRetained(topic)));
  const retained = await retainedOf(
    found.filter(({ topic }) => isRetained(topic)),
    options,
  );
  const storesInUse = await rewriteStores(deployment, userId);
  const files = await findTraces(
    config.dataDir,
    userId,
    ownsEntry(userId, new UserRecords(userId, deployment.codec), []),
  );
  const proved = consumed && storesInUse.length === 0 && files.length === 0 && !topics.some(isHeld);
  return { proved, consumed, topics, retained, files, storesInUse };
}

const isRetained = (topic: string): boolean => topic === 'user-actions' || topic === 'rejected-actions';

/** Whether the tasks have come to what now is the end of their inputs; waits for it as long as it may. */
async function untilConsumed({ log, config }: Deployment, { userId, waitMs }: EraseOptions): Promise<boolean> {
  const partition = partitionOf(Buffer.from(userId), config.partitions);
  const deadlineMs = performance.now() + waitMs;
  // The join reads what the feature task writes: where that ends is known once the task has come to its end.
  for (const topic of ['user-actions', 'sequence-features', 'user-embeddings']) {
    const at = { topic, partition };
    const end = await log.endOffset(at);
    while (await hasMore(log, at, (await log.committed(config.appId, at))?.offset ?? 0, end)) {
      if (performance.now() >= deadlineMs) return false;
      await sleep(POLL_MS);
    }
  }
  return true;
}

/** Whether a record stands between what is committed and the end; the last offsets before it may be of none. */
async function hasMore(log: Log, at: TopicPartition, committed: number, end: number): Promise<boolean> {
  const offset = Math.max(committed, await log.startOffset(at));
  if (offset >= end) return false;
  const [next] = await log.read(at, offset, { maxRecords: 1, maxBytes: 1 });
  return next !== undefined && next.offset < end;
}

async function retainedOf(found: readonly UserTopic[], { config, logger }: EraseOptions): Promise<RetainedTopic[]> {
  return withAdmin(config, logger, async (admin) => {
    const retained: RetainedTopic[] = [];
    for (const { topic, values, tombstones, newest } of found) {
      const settings = (await describeTopic(admin, topic))?.settings;
      const retentionMs = Number(settings?.get('retention.ms') ?? -1);
      const leavesAtMs = newest === null || retentionMs < 0 ? null : newest.timestampMs + retentionMs;
      retained.push({ topic, records: values + tombstones, retentionMs, leavesAtMs });
    }
    return retained;
  });
}

/** The stores of the user's partition, where they are in this folder; those that a worker holds. */
async function rewriteStores(deployment: Deployment, userId: string): Promise<string[]> {
  const { config } = deployment;
  const partition = partitionOf(Buffer.from(userId), config.partitions);
  const inUse: string[] = [];
  for (const kind of ['user-actions', 'join'] as const) {
    const folder = deployment.storeFolder(kind, partition);
    if (!existsSync(folder)) continue;
    try {
      await rewriteStore(folder);
    } catch (error) {
      if (!(error instanceof FreshetError) || error.code !== 'DATA_DIR_IN_USE') throw error;
      inUse.push(relative(config.dataDir, folder));
    }
  }
  return inUse;
}

function survey(
  { log, codec, config }: Deployment,
  options: EraseOptions,
  stage: 'look' | 'prove',
): Promise<UserTopic[]> {
  const { userId, onProgress } = options;
  const partition = partitionOf(Buffer.from(userId), config.partitions);
  return surveyUser({
    ...{ log, codec, userId, partition },
    partitionsOf: () => [partition],
    onProgress: (records) => onProgress?.(stage, records),
  });
}
