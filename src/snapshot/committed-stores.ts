/** The stores of a partition, brought to what the log has committed without being their task. */
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { restoreJoin, type JoinPartitions, type RestoredJoin } from '../join/join-restore.ts';
import { JoinStore } from '../join/join-store.ts';
import { RankingRecords } from '../join/ranking-record.ts';
import type { Committed, Log } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { restore, type Restored } from '../task/restore.ts';
import { UserStore } from '../task/user-store.ts';
import { layoutOf, stateLayoutHash } from '../../state/layout.ts';
import { StateCodec } from '../../state/state-codec.ts';

/** What is needed of a deployment. */
export interface StoreOwner {
  readonly config: Config;
  readonly logger: Logger;
  readonly log: Log;
  readonly codec: Codec;
  readonly deleteRetentionMs: number;
  storeFolder(kind: 'user-actions' | 'join', partition: number): string;
}

export interface CatchUpOptions {
  readonly partition: number;
  readonly onProgress: (restored: number, total: number) => void;
  /** Ends it early, with the signal's reason; the store then stands where it was. */
  readonly signal?: AbortSignal;
}

/** What a join has committed of its two inputs, by topic. */
export type JoinCommitted = ReadonlyMap<string, Committed>;

/** Users whose checksums are remembered from a read to a write; here everything is written unread. */
const REMEMBERED_KEYS = 1_000;
/** A command that is interrupted ends. */
const NEVER = new AbortController().signal;

/** The store of a feature task as of `committed`. Errors as of `restore` and of opening a store; it is closed then. */
export async function committedUsers(
  owner: StoreOwner,
  committed: Committed,
  options: CatchUpOptions,
): Promise<{ readonly store: UserStore; readonly restored: Restored }> {
  const store = await openUsers(owner, options.partition);
  return { store, restored: await orClose(store, catchUpUsers(owner, store, committed, options)) };
}

/** The store of a join; `undefined` where the join has committed nothing. */
export async function committedJoin(
  owner: StoreOwner,
  options: CatchUpOptions,
): Promise<{ readonly store: JoinStore; readonly restored: RestoredJoin } | undefined> {
  const committed = await joinCommitted(owner, options.partition);
  if (committed === undefined) return undefined;
  const store = await openJoined(owner, options.partition);
  return { store, restored: await orClose(store, catchUpJoined(owner, store, committed, options)) };
}

export function openUsers(owner: StoreOwner, partition: number): Promise<UserStore> {
  const { config, logger } = owner;
  const layout = layoutOf(config);
  return UserStore.open(owner.storeFolder('user-actions', partition), {
    ...{ layoutHash: stateLayoutHash(layout), stateCodec: new StateCodec(layout) },
    ...{ logger, rememberedKeys: REMEMBERED_KEYS },
  });
}

export function catchUpUsers(
  { config, log, codec, deleteRetentionMs }: StoreOwner,
  store: UserStore,
  committed: Committed,
  { partition, onProgress, signal = NEVER }: CatchUpOptions,
): Promise<Restored> {
  const layout = layoutOf(config);
  return restore(committed, {
    ...{ log, codec, store, deleteRetentionMs, signal, onProgress },
    ...{ stateCodec: new StateCodec(layout), layoutHash: stateLayoutHash(layout) },
    input: { topic: 'user-actions', partition },
  });
}

export function openJoined(owner: StoreOwner, partition: number): Promise<JoinStore> {
  const { config, logger } = owner;
  return JoinStore.open(owner.storeFolder('join', partition), {
    ...{ stateLayoutHash: stateLayoutHash(layoutOf(config)), rememberedKeys: REMEMBERED_KEYS, logger },
  });
}

export function catchUpJoined(
  { config, log, codec, deleteRetentionMs }: StoreOwner,
  store: JoinStore,
  committed: JoinCommitted,
  { partition, onProgress, signal = NEVER }: CatchUpOptions,
): Promise<RestoredJoin> {
  const layout = layoutOf(config);
  return restoreJoin({
    ...{ log, codec, store, deleteRetentionMs, signal, onProgress },
    ...{ at: joinPartitions(partition), layoutHash: stateLayoutHash(layout) },
    writer: { committed: async ({ topic }) => committed.get(topic) },
    records: new RankingRecords({ codec, layout, partition }),
  });
}

/** Of one commit: its owner may go on meanwhile, and a commit between two questions would show a place that never was. */
export async function joinCommitted(
  { log, config }: StoreOwner,
  partition: number,
): Promise<JoinCommitted | undefined> {
  const { features, embeddings } = joinPartitions(partition);
  const inputs = [features, embeddings];
  for (;;) {
    const [first, second] = [await ask(), await ask()];
    if (!isDeepStrictEqual(first, second)) continue;
    const found = inputs.flatMap(({ topic }, index) => {
      const committed = first[index];
      return committed === undefined ? [] : [[topic, committed] as const];
    });
    return found.length === inputs.length ? new Map(found) : undefined;
  }

  async function ask(): Promise<(Committed | undefined)[]> {
    return Promise.all(inputs.map((input) => log.committed(config.appId, input)));
  }
}

const joinPartitions = (partition: number): JoinPartitions => ({
  features: { topic: 'sequence-features', partition },
  embeddings: { topic: 'user-embeddings', partition },
  ranking: { topic: 'ranking-features', partition },
});

async function orClose<T>(store: UserStore | JoinStore, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    await store.close();
    throw error;
  }
}
