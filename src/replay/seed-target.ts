/**
 * The first commit of a replay that begins in the middle: the users as they were just before, as features records of the
 * replay's own, so that its task restores them as it would restore any.
 */
import { join } from 'node:path';
import { partitionName, type Log, type NewRecord, type TopicPartition } from '../log/log.ts';
import { records } from '../log/newest.ts';
import { layoutOf, stateLayoutHash } from '../../state/layout.ts';
import { decodeMetadata, encodeMetadata, type CommitMetadata } from '../task/commit-metadata.ts';
import type { FeatureContext } from '../task/feature-context.ts';
import { activationBefore } from '../task/newest-activation.ts';
import type { SequenceFeaturesRecord } from '../../topics/records.ts';
import type { Course } from './course.ts';
import { PartitionReplay } from './partition-replay.ts';
import type { ActionReader } from './recorded-rejections.ts';
import { seedBefore } from './seed.ts';

export interface SeedTargetOptions extends Omit<FeatureContext, 'log'> {
  /** What is replayed, its features among it. */
  readonly source: Log;
  /** Reads the input of `source`. */
  readonly inputCodec: ActionReader['codec'];
  /** Where the task will work. */
  readonly overlay: Log;
  /** Of the application that is replayed. */
  readonly course: Course;
  readonly taskId: string;
  readonly input: TopicPartition;
  readonly from: number;
  /** Which users are replayed. */
  readonly keepsUser: (key: Buffer) => boolean;
  /** A folder for the time of the seeding. */
  readonly folder: string;
}

export interface Seeded {
  /** Users that stand where they stood before the start. */
  readonly users: number;
  /** Users older than the start of whom no features from before it are left: they begin anew at their next record. At most 100,000 are counted. */
  readonly unknown: number;
  /** Whether an activation of item vectors was found before the start; without one nothing is scored until the next. */
  readonly hasItemVersion: boolean;
}

const USERS_A_COMMIT = 2_000;
/** More are not counted. */
const MAX_UNKNOWN = 100_000;

/** Undefined: the task has committed, so it was seeded before. An interrupted seeding is done again. */
export async function seedTarget(options: SeedTargetOptions): Promise<Seeded | undefined> {
  const { source, overlay, codec, config, course, taskId, input, from, folder } = options;
  const writer = await overlay.openWriter(taskId);
  try {
    const committed = await writer.committed(input);
    if (committed !== undefined && decodeMetadata(committed.metadata, input).unfinished === undefined) return undefined;

    const { partition } = input;
    const replay = await PartitionReplay.open({ ...options, log: source, partition, folder: join(folder, 'seeding') });
    try {
      await seedBefore(replay, from, {
        log: source,
        codec,
        config,
        course,
        partition,
        commitSpan: config.commit.maxRecords,
      });
      for (;;) if ((await replay.step({ to: from, emit: () => false })).records === 0) break;
      const activation = (await activationBefore(source, codec, input, from)) ?? course.activation;
      let metadata: CommitMetadata = {
        ...{ featuresStart: 0, featuresEnd: 0, historyEnd: 0, rejectedEnd: 0 },
        ...{ activation, layout: stateLayoutHash(layoutOf(config)), counts: {} },
      };
      const commit = async (outputs: readonly NewRecord[], unfinished: boolean): Promise<void> => {
        await writer.commit({
          outputs,
          offsets: [{ input, offset: from }],
          metadata: (ends) => {
            const featuresEnd = ends.get(partitionName(featuresOf(input))) ?? metadata.featuresEnd;
            metadata = { ...metadata, featuresEnd };
            return encodeMetadata({ ...metadata, ...(unfinished && { unfinished: 'migrate' }) });
          },
        });
      };
      let users = 0;
      for await (const outputs of featuresBefore(replay, options)) {
        await commit(outputs, true);
        users += outputs.length;
      }
      await commit([], false);
      return { users, unknown: await unknownUsers(replay, options), hasItemVersion: activation !== null };
    } finally {
      await replay.discard();
    }
  } finally {
    await writer.close();
  }
}

const featuresOf = ({ partition }: TopicPartition): TopicPartition => ({ topic: 'sequence-features', partition });

/** The features of the replay's users, some at a time. */
async function* featuresBefore(replay: PartitionReplay, options: SeedTargetOptions): AsyncGenerator<NewRecord[]> {
  const { input, keepsUser } = options;
  const outputsOf = async (userIds: readonly string[]): Promise<NewRecord[]> =>
    Array.from(await replay.features(userIds), ([userId, { state, features }]) => ({
      ...featuresOf(input),
      timestampMs: state.envelope.newestArrivalTimeMs,
      key: Buffer.from(userId),
      value: features,
    }));
  let userIds: string[] = [];
  for await (const { userId } of replay.states()) {
    if (!keepsUser(Buffer.from(userId))) continue;
    userIds.push(userId);
    if (userIds.length < USERS_A_COMMIT) continue;
    yield await outputsOf(userIds);
    userIds = [];
  }
  if (userIds.length > 0) yield await outputsOf(userIds);
}

/** Counted from the features that are left of later times, up to a limit: on a log without compaction there is none. */
async function unknownUsers(replay: PartitionReplay, options: SeedTargetOptions): Promise<number> {
  const { source, codec, input, from, keepsUser } = options;
  const at = featuresOf(input);
  const [start, end] = [await source.startOffset(at), await source.endOffset(at)];
  const unknown = new Set<string>();
  let candidates = new Set<string>();
  const tell = async (): Promise<void> => {
    for (const userId of await replay.unknownAmong(candidates)) unknown.add(userId);
    candidates = new Set();
  };
  for await (const { key, value, headers } of records(source, at, start, end)) {
    if (value === null || !keepsUser(key!) || unknown.has(key!.toString())) continue;
    await codec.learn([{ value, headers }]);
    const { userId, firstOffset } = codec.decode<SequenceFeaturesRecord>('sequence-features-value', value, headers);
    if (firstOffset < from) candidates.add(userId);
    if (candidates.size === USERS_A_COMMIT) await tell();
    if (unknown.size >= MAX_UNKNOWN) break;
  }
  await tell();
  return unknown.size;
}
