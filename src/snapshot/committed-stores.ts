/** The stores of a partition, opened and brought to what the log has committed, without being their task. */
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { restoreJoin, type JoinPartitions } from '../join/join-restore.ts';
import { JoinStore, type JoinPosition } from '../join/join-store.ts';
import { RankingRecords } from '../join/ranking-record.ts';
import type { Committed, Log, TopicPartition } from '../log/log.ts';
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
}

/** Users whose checksums are remembered from a read to a write; here everything is written unread. */
const REMEMBERED_KEYS = 1_000;
/** A command that is interrupted ends: the store then stands where it was. */
const NEVER = new AbortController().signal;

/** The store of a feature task as of `committed`. Errors as of `restore` and of opening a store; it is closed then. */
export async function committedUsers(
  owner: StoreOwner,
  committed: Committed,
  { partition, onProgress }: CatchUpOptions,
): Promise<{ readonly store: UserStore; readonly restored: Restored }> {
  const { config, log, codec, logger, deleteRetentionMs } = owner;
  const layout = layoutOf(config);
  const [layoutHash, stateCodec] = [stateLayoutHash(layout), new StateCodec(layout)];
  const folder = owner.storeFolder('user-actions', partition);
  const store = await UserStore.open(folder, { layoutHash, stateCodec, logger, rememberedKeys: REMEMBERED_KEYS });
  try {
    const input = { topic: 'user-actions', partition };
    const restored = await restore(committed, {
      ...{ log, codec, stateCodec, store, input, layoutHash, deleteRetentionMs, signal: NEVER, onProgress },
    });
    return { store, restored };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** The store of a join; `undefined` where the join has committed nothing. */
export async function committedJoin(
  owner: StoreOwner,
  { partition, onProgress }: CatchUpOptions,
): Promise<{ readonly store: JoinStore; readonly position: JoinPosition } | undefined> {
  const { config, log, codec, logger, deleteRetentionMs } = owner;
  const at: JoinPartitions = {
    features: { topic: 'sequence-features', partition },
    embeddings: { topic: 'user-embeddings', partition },
    ranking: { topic: 'ranking-features', partition },
  };
  const committed = await committedTogether(owner, [at.features, at.embeddings]);
  if (committed === undefined) return undefined;
  const layout = layoutOf(config);
  const layoutHash = stateLayoutHash(layout);
  const folder = owner.storeFolder('join', partition);
  const store = await JoinStore.open(folder, { stateLayoutHash: layoutHash, rememberedKeys: REMEMBERED_KEYS, logger });
  try {
    const { position } = await restoreJoin({
      ...{ log, codec, store, at, layoutHash, deleteRetentionMs, signal: NEVER, onProgress },
      writer: { committed: async ({ topic }) => committed.get(topic) },
      records: new RankingRecords({ codec, layout, partition }),
    });
    return { store, position };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Of one commit: its owner may go on meanwhile, and a commit between two questions would show a place that never was. */
async function committedTogether(
  { log, config }: StoreOwner,
  inputs: readonly TopicPartition[],
): Promise<ReadonlyMap<string, Committed> | undefined> {
  for (;;) {
    const [first, second] = [await ask(), await ask()];
    if (JSON.stringify(first) !== JSON.stringify(second)) continue;
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
