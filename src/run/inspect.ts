/** Reads for people: one user's state as ranking sees it, and hashes that tell two deployments apart. */
import { createHash, type Hash } from 'node:crypto';
import { FreshetError } from '../base/errors.ts';
import { partitionOf } from '../base/murmur2.ts';
import { userHash } from '../base/user-hash.ts';
import type { Scorer } from '../intent/scorer.ts';
import { newestRecord, records } from '../log/newest.ts';
import { fromColumns } from '../../state/columns.ts';
import { layoutOf } from '../../state/layout.ts';
import { StateCodec } from '../../state/state-codec.ts';
import { isReplayFolder } from '../replay/replay-identity.ts';
import { FeatureTask } from '../task/feature-task.ts';
import type { SequenceFeaturesRecord } from '../../topics/records.ts';
import type { Deployment } from './deployment.ts';

export interface InspectedAction {
  readonly itemId: string;
  readonly actionType: string;
  readonly eventTimeMs: number;
  readonly surface: string;
  /** What `describe` masks: undone pairs and what is too old. */
  readonly hidden: boolean;
}

export interface InspectedUser {
  readonly userId: string;
  readonly version: number;
  readonly sequences: Readonly<
    Record<
      string,
      {
        /** Newest first: the K newest that the state holds. */
        readonly window: readonly InspectedAction[];
        readonly sealed: number;
        readonly leftEdge: { eventTimeMs: number; itemId: string; actionType: string } | null;
      }
    >
  >;
  readonly intent: Readonly<Record<string, readonly number[]>>;
  readonly scorerHash: string;
  readonly lastOffset: { readonly partition: number; readonly offset: number };
}

/** The user's newest features record holds its state whole; UNKNOWN_USER if there is none. */
export async function inspectUser({ log, codec, config }: Deployment, userId: string): Promise<InspectedUser> {
  const key = Buffer.from(userId);
  const partition = partitionOf(key, config.partitions);
  const record = await newestRecord(log, { topic: 'sequence-features', partition }, key);
  if (record === undefined || record.value === null) {
    throw new FreshetError('UNKNOWN_USER', 'no features', { position: { partition, userHash: userHash(userId) } });
  }
  await codec.learn([record]);
  const features = codec.decode<SequenceFeaturesRecord>('sequence-features-value', record.value, record.headers);
  const { sequences: layouts } = layoutOf(config);
  if (features.sequences.some(({ name }, index) => name !== layouts[index]?.name)) {
    throw new FreshetError('LAYOUT_CHANGED', 'the features hold other sequences than are configured');
  }
  const sequences = features.sequences.map((sequence, index) => {
    const hidden = new Set(features.views[index]!.hiddenPositions);
    const window = fromColumns(sequence)
      .reverse()
      .slice(0, layouts[index]!.windowSize)
      .map(({ itemId, actionType, eventTimeMs, surface }, at) => ({
        itemId,
        actionType,
        eventTimeMs,
        surface,
        hidden: hidden.has(at),
      }));
    return [sequence.name, { window, sealed: sequence.sealed, leftEdge: sequence.leftEdge }] as const;
  });
  return {
    userId,
    version: features.version,
    sequences: Object.fromEntries(sequences),
    intent: Object.fromEntries(features.intent.map(({ outcome, vector }) => [outcome, vector])),
    scorerHash: features.scorerHash,
    lastOffset: { partition: features.partition, offset: features.version },
  };
}

export interface DeploymentHash {
  readonly users: number;
  /** SHA-256, hex, over the restorable state of every user, caches apart. */
  readonly stateHash: string;
  /** SHA-256, hex, over the Avro body of the newest features record of every user. */
  readonly featuresHash: string;
}

/**
 * Hashes partition by partition, users in order of their id's bytes. Embedded, the states are those of the stores, restored
 * as `run` would. On Kafka that would fence the workers, and what a replay wrote has no input to be restored against: there
 * they come from the features, which a restore would take them from. The hashes are the same.
 */
export async function hashDeployment(deployment: Deployment): Promise<DeploymentHash> {
  const states = createHash('sha256');
  const features = createHash('sha256');
  let users = 0;
  const { brokers, dataDir } = deployment.config;
  const fromFeatures = brokers.length > 0 || isReplayFolder(dataDir);
  // Once: a model is proved when it is loaded, which takes longer than a partition.
  const scorer = fromFeatures ? null : await deployment.loadScorer();
  for (let partition = 0; partition < deployment.config.partitions; partition += 1) {
    const newest = await newestFeatures(deployment, partition, fromFeatures);
    const ids = updateAll(states, scorer === null ? newest.states : await storedStates(deployment, scorer, partition));
    updateAll(features, newest.features);
    users += ids;
  }
  return { users, stateHash: states.digest('hex'), featuresHash: features.digest('hex') };
}

/** By user id. One digest each, not one record: a user's older records are many times what is kept here. */
type Digests = Map<string, Buffer>;

async function storedStates(deployment: Deployment, scorer: Scorer, partition: number): Promise<Digests> {
  const storeFolder = deployment.storeFolder('user-actions', partition);
  const task = new FeatureTask({ ...deployment, scorer, partition, storeFolder });
  await task.start();
  const digests: Digests = new Map();
  for await (const { userId, stateBody } of task.states()) digests.set(userId, digest(stateBody));
  await task.close();
  return digests;
}

/** Of the newest features of each user, and of the state in them. */
async function newestFeatures(
  { log, codec, config }: Deployment,
  partition: number,
  withStates: boolean,
): Promise<{ features: Digests; states: Digests }> {
  const at = { topic: 'sequence-features', partition };
  const stateCodec = new StateCodec(layoutOf(config));
  const features: Digests = new Map();
  const states: Digests = new Map();
  for await (const record of records(log, at, await log.startOffset(at), await log.endOffset(at))) {
    const { key, value, headers } = record;
    const user = key!.toString();
    if (value === null) {
      features.delete(user);
      states.delete(user);
      continue;
    }
    await codec.learn([record]);
    features.set(user, digest(codec.body(value, headers)));
    if (!withStates) continue;
    const decoded = codec.decode<SequenceFeaturesRecord>('sequence-features-value', value, headers);
    states.set(user, digest(stateCodec.encode(stateCodec.fromRecord(decoded))));
  }
  return { features, states };
}

const digest = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest();

/** In order of the ids' bytes; how many there were. */
function updateAll(hash: Hash, digests: Digests): number {
  const ids = [...digests.keys()].map((id) => Buffer.from(id)).sort((a, b) => Buffer.compare(a, b));
  for (const id of ids) update(hash, id, digests.get(id.toString())!);
  return ids.length;
}

/** Lengths stand before the bytes, so that no two different lists of users hash alike. */
function update(hash: Hash, id: Buffer, bytes: Buffer): void {
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32BE(id.length, 0);
  lengths.writeUInt32BE(bytes.length, 4);
  hash.update(lengths).update(id).update(bytes);
}
