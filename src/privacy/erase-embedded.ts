/**
 * An erase on the embedded log, from the record to the bytes: append, run the tasks to the end of the log, blank the
 * user's records in every topic, compact log and stores. Each step can be cut off anywhere; the next erase of the user
 * does what is left to do.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { partitionOf } from '../base/murmur2.ts';
import { eraseRecords } from '../log/embedded-erase.ts';
import { decodeRecord, recordPlace } from '../log/embedded-record.ts';
import { Deployment } from '../run/deployment.ts';
import { Worker } from '../run/worker.ts';
import { rewriteStore } from '../../state/store-rewrite.ts';
import type { TopicName } from '../../topics/index.ts';
import {
  appendErase,
  heldOf,
  isHeld,
  resultOf,
  type EraseOptions,
  type EraseProof,
  type EraseResult,
} from './erase.ts';
import type { TableEntry } from './level-table.ts';
import { findTraces, type OwnsEntry } from './traces.ts';
import { surveyUser, UserRecords, type UserTopic } from './user-records.ts';

export async function eraseEmbedded(options: EraseOptions): Promise<EraseResult> {
  const { config, logger, userId, prove, onProgress } = options;
  const deployment = await Deployment.open(config, logger);
  const { codec } = deployment;
  let appended: TopicName[];
  try {
    const found = await survey(deployment, options, 'look');
    appended = await appendErase(deployment, userId, found);
    // Before anything is blanked: the tasks remove what they keep when they meet the erase, and the tombstones it makes.
    if (found.some(isHeld)) await runToEnd(deployment, options);
  } finally {
    await deployment.close();
  }
  const user = new UserRecords(userId, codec);
  const blanked = await eraseRecords(join(config.dataDir, 'log'), {
    isOwn: (at, record) => user.owns(at, record),
    onProgress: (records) => onProgress?.('blank', records),
  });
  const partition = partitionOf(Buffer.from(userId), config.partitions);
  for (const kind of ['user-actions', 'join'] as const) {
    const folder = deployment.storeFolder(kind, partition);
    if (existsSync(folder)) await rewriteStore(folder);
  }
  const proof = prove ? await proveErased(options) : null;
  return resultOf(options, { appended, blanked: Object.fromEntries(blanked), proof });
}

async function runToEnd(deployment: Deployment, { onProgress }: EraseOptions): Promise<void> {
  const worker = new Worker({
    ...{ deployment, scorer: await deployment.loadScorer() },
    onProgress: ({ records }) => onProgress?.('run', records),
  });
  try {
    await worker.start();
    await worker.run(true);
  } finally {
    await worker.close();
  }
}

async function proveErased(options: EraseOptions): Promise<EraseProof> {
  const { config, logger, userId } = options;
  const deployment = await Deployment.open(config, logger);
  let topics: EraseProof['topics'];
  let names: string[];
  try {
    topics = heldOf(await survey(deployment, options, 'prove'));
    names = [...(await deployment.log.topics()).keys()];
  } finally {
    await deployment.close();
  }
  const files = await findTraces(
    config.dataDir,
    userId,
    ownsEntry(userId, new UserRecords(userId, deployment.codec), names),
  );
  const proved = files.length === 0 && !topics.some(isHeld);
  return { proved, consumed: true, topics, retained: [], files, storesInUse: [] };
}

/** Kinds of keys, by their first byte: see state/store-record.ts and src/log/embedded-manifest.ts. */
const [STORE_ENTRY, META, SEQUENCE] = [0x65, 0x6d, 0x73];

/**
 * An entry of the log is whose its record is, one of a store whose its key is; what stores and log know of themselves is
 * nobody's. Anything else counts as the user's, as the bytes of the id are in it. `topics` in the order of their ids.
 */
export function ownsEntry(userId: string, user: UserRecords, topics: readonly string[]): OwnsEntry {
  const id = Buffer.from(userId);
  return ({ key, value }: TableEntry): boolean => {
    if (key[0] === STORE_ENTRY) return key.subarray(1).equals(id);
    if (key[0] === META || key[0] === SEQUENCE) return false;
    const place = recordPlace(key);
    const topic = topics[place?.topicId ?? -1];
    if (place === undefined || topic === undefined) return true;
    const at = { topic, partition: place.partition };
    try {
      return user.owns(at, decodeRecord({ key, value }, at, place.offset));
    } catch {
      return true;
    }
  };
}

function survey(
  deployment: Deployment,
  { userId, onProgress }: EraseOptions,
  stage: 'look' | 'prove',
): Promise<UserTopic[]> {
  const { log, codec, config } = deployment;
  const partition = partitionOf(Buffer.from(userId), config.partitions);
  const all = Array.from({ length: config.partitions }, (_, index) => index);
  return surveyUser({
    ...{ log, codec, userId, partition },
    partitionsOf: (topic) => (topic.endsWith('-actions') ? all : [partition]),
    onProgress: (records) => onProgress?.(stage, records),
  });
}
