/**
 * Sets an application back to an earlier offset, as a new generation of it. Of each partition the newest state at or
 * before the target is taken: a snapshot, or the beginning, where there is none. Users that have changed since are removed
 * by a tombstone and written again as they were, so that the features stay the recovery log; what comes behind a tombstone
 * may have a lower version than what stood before it. Then the tasks take the input from there on once more.
 */
import { rm } from 'node:fs/promises';
import { FreshetError, invariant } from '../base/errors.ts';
import type { NewRecord, TopicPartition } from '../log/log.ts';
import { committedUsers } from '../snapshot/committed-stores.ts';
import { openSeed, type Seed } from '../snapshot/seed.ts';
import { encodeMetadata, MAX_RESETS, type CommitMetadata } from '../task/commit-metadata.ts';
import { HISTORY_RING, historyKey } from '../../state/history.ts';
import { layoutOf, stateLayoutHash, type Layout } from '../../state/layout.ts';
import { StateCodec } from '../../state/state-codec.ts';
import type { UserState } from '../../state/user-state.ts';
import { Activations } from './activations.ts';
import { planReset, type ResetOwner, type ResetPlan, type ResetTarget } from './reset-plan.ts';
import { StateMover, type Moved } from './state-mover.ts';
import { userPairs, type UserPair } from './user-pairs.ts';

export interface ResetOptions {
  readonly target: ResetTarget;
  /** By default all. */
  readonly partitions?: readonly number[];
  readonly onProgress: (partition: number, restored: number, total: number) => void;
}

export interface PartitionReset extends Moved {
  readonly partition: number;
  /** The input offset that was committed. */
  readonly from: number;
  /** The one that the task goes on from: at or before the target. */
  readonly to: number;
  /** Name of the snapshot that the state comes from; null: the beginning of the input. */
  readonly snapshot: string | null;
  readonly generation: number;
}

interface StoredUser {
  readonly userId: string;
  readonly stateBody: Buffer;
  readonly state: UserState;
}

/** As committed, and as it was. */
type StoredPair = UserPair<StoredUser, StoredUser>;

/**
 * Partitions that are not beyond the target stay as they are. The caller has made sure that no worker is live. Throws
 * APP_UNKNOWN, LAYOUT_CHANGED, OFFSET_OUT_OF_RANGE (neither a snapshot nor the beginning is there) before anything is
 * changed; after any later error the same call again finishes what was begun, and no task starts before that.
 */
export async function resetApplication(owner: ResetOwner, options: ResetOptions): Promise<PartitionReset[]> {
  const all = Array.from({ length: owner.config.partitions }, (_, partition) => partition);
  const partitions = options.partitions ?? all;
  const plans = await planReset(owner, options.target, partitions);
  const done: PartitionReset[] = [];
  for (const plan of plans) done.push(await resetPartition(owner, plan, options));
  return done;
}

async function resetPartition(
  owner: ResetOwner,
  { partition, from, metadata, seed }: ResetPlan,
  { onProgress }: ResetOptions,
): Promise<PartitionReset> {
  const { config, log, codec } = owner;
  const layout = layoutOf(config);
  const input: TopicPartition = { topic: 'user-actions', partition };
  const writer = await log.openWriter(`${config.appId}-user-actions-${partition}`);
  try {
    const committed = await writer.committed(input);
    if (committed?.offset !== from)
      throw new FreshetError('APP_LIVE', `it has committed meanwhile`, { position: input });
    // As if nothing had been begun: the features that are there already are then those of their users.
    const settled = { offset: from, metadata: encodeMetadata({ ...metadata, unfinished: undefined }) };
    const progress = onProgress.bind(undefined, partition);
    const { store } = await committedUsers(owner, settled, { partition, onProgress: progress });
    const scratch = `${owner.storeFolder('user-actions', partition)}.reset`;
    try {
      const mover = new StateMover({
        ...{ layout, codec, writer, input, offset: from, metadata, kind: 'reset' },
        loadScorer: () => owner.loadScorer(),
        maxOutputBytes: config.commit.maxOutputBytes,
      });
      await mover.begin();
      const activations = seed === null ? null : await Activations.read(owner, partition, seed.offset, metadata);
      for await (const pair of seed === null
        ? userPairs(store.states(), nobody())
        : pairsWith(seed, store.states(), scratch, owner)) {
        await setBack(pair, mover, layout, activations);
      }
      const to = seed?.offset ?? 0;
      const generation = nextGeneration(metadata, to);
      const { counts, activation } = seed?.metadata ?? { counts: {}, activation: null };
      const inputStart = metadata.inputStart === undefined ? undefined : Math.min(metadata.inputStart, to);
      const moved = await mover.finish(to, { counts, activation, generation, inputStart });
      return { partition, from, to, snapshot: seed?.name ?? null, generation: generation.number, ...moved };
    } finally {
      await store.close();
      await rm(scratch, { recursive: true, force: true });
    }
  } finally {
    await writer.close();
  }
}

async function* pairsWith(
  seed: Seed,
  present: AsyncIterable<StoredUser>,
  scratch: string,
  { config, logger }: ResetOwner,
): AsyncGenerator<StoredPair, void> {
  const layout = layoutOf(config);
  const options = {
    layoutHash: stateLayoutHash(layout),
    stateCodec: new StateCodec(layout),
    logger,
    rememberedKeys: 1,
  };
  const past = await openSeed(seed, scratch, options);
  try {
    yield* userPairs(present, past.states());
  } finally {
    await past.close();
  }
}

async function setBack(
  { userId, first: present, second: past }: StoredPair,
  mover: StateMover,
  layout: Layout,
  activations: Activations | null,
): Promise<void> {
  if (past !== null && present?.stateBody.equals(past.stateBody) === true) return;
  let after = null;
  if (past !== null) {
    invariant(activations !== null, 'a state as of the beginning');
    after = { state: past.state, table: await activations.tableAt(past.state.version) };
  }
  const { newestArrivalTimeMs: timestampMs } = (past ?? present)!.state.envelope;
  const history = present === null ? [] : chunksSince(userId, present.state, past?.state ?? null, layout);
  await mover.add({ userId, isRemoved: present !== null, after, timestampMs, history });
}

/** Tombstones of the chunks that were sealed since: they are sealed again. */
function chunksSince(userId: string, present: UserState, past: UserState | null, layout: Layout): HistoryTombstone[] {
  return layout.sequences.flatMap(({ name }, index) => {
    const { chunks } = present.sequences[index]!.base;
    const before = past?.sequences[index]!.base.chunks ?? 0;
    const count = Math.max(0, Math.min(chunks - before, HISTORY_RING));
    return Array.from({ length: count }, (_, back) => ({
      key: historyKey(userId, name, chunks - 1 - back),
      value: null,
    }));
  });
}

type HistoryTombstone = Pick<NewRecord, 'key' | 'value'>;

function nextGeneration(
  { featuresEnd, generation: { number, resets } = { number: 0, resets: [] } }: CommitMetadata,
  offset: number,
): NonNullable<CommitMetadata['generation']> {
  return { number: number + 1, resets: [...resets, { offset, featuresEnd }].slice(-MAX_RESETS) };
}

async function* nobody(): AsyncGenerator<StoredUser, void> {
  // The state at the beginning.
}
