/** The two stores of a partition, brought to what the log has committed without being its owner. */
import { isDeepStrictEqual } from 'node:util';
import { layoutOf, stateLayoutHash } from '../../state/layout.ts';
import { StateCodec } from '../../state/state-codec.ts';
import { restoreJoin } from '../join/join-restore.ts';
import { JoinStore } from '../join/join-store.ts';
import { RankingRecords } from '../join/ranking-record.ts';
import type { Committed, TopicPartition } from '../log/log.ts';
import { restore } from '../task/restore.ts';
import { UserStore } from '../task/user-store.ts';
import type { Deployment } from './deployment.ts';

/** Users whose checksums are remembered from a read to a write; here everything is written unread. */
const REMEMBERED_KEYS = 1_000;

export class StandbyStores {
  readonly partition: number;
  private readonly deployment: Deployment;
  private users: UserStore | undefined;
  private joined: JoinStore | undefined;

  constructor(deployment: Deployment, partition: number) {
    this.deployment = deployment;
    this.partition = partition;
  }

  /** Opens the stores if need be. Ends early, with the signal's reason, on the signal. */
  async catchUp(signal: AbortSignal): Promise<void> {
    await this.catchUpUsers(signal);
    await this.catchUpJoined(signal);
  }

  async close(): Promise<void> {
    const { users, joined } = this;
    this.users = undefined;
    this.joined = undefined;
    await users?.close();
    await joined?.close();
  }

  private async catchUpUsers(signal: AbortSignal): Promise<void> {
    const { log, codec, config, logger, deleteRetentionMs } = this.deployment;
    const input = this.at('user-actions');
    const committed = await log.committed(config.appId, input);
    if (committed === undefined) return;
    const layout = layoutOf(config);
    const [layoutHash, stateCodec] = [stateLayoutHash(layout), new StateCodec(layout)];
    const folder = this.deployment.storeFolder('user-actions', this.partition);
    this.users ??= await UserStore.open(folder, { layoutHash, stateCodec, logger, rememberedKeys: REMEMBERED_KEYS });
    const store = this.users;
    const { records } = await restore(committed, {
      ...{ log, codec, stateCodec, store, input, layoutHash, deleteRetentionMs, signal },
      onProgress: () => undefined,
    });
    this.tell('features', records);
  }

  private async catchUpJoined(signal: AbortSignal): Promise<void> {
    const { log, codec, config, logger, deleteRetentionMs } = this.deployment;
    const at = {
      features: this.at('sequence-features'),
      embeddings: this.at('user-embeddings'),
      ranking: this.at('ranking-features'),
    };
    const committed = await this.committedTogether(at.features, at.embeddings);
    if (committed === undefined) return;
    const layout = layoutOf(config);
    const layoutHash = stateLayoutHash(layout);
    const folder = this.deployment.storeFolder('join', this.partition);
    this.joined ??= await JoinStore.open(folder, {
      stateLayoutHash: layoutHash,
      rememberedKeys: REMEMBERED_KEYS,
      logger,
    });
    const { records } = await restoreJoin({
      ...{ log, codec, at, layoutHash, deleteRetentionMs, signal },
      writer: { committed: async ({ topic }) => committed.get(topic) },
      records: new RankingRecords({ codec, layout, partition: this.partition }),
      store: this.joined,
      onProgress: () => undefined,
    });
    this.tell('join', records);
  }

  /** Of one commit: the owner goes on meanwhile, and a commit between two questions would show a position that never was. */
  private async committedTogether(...inputs: TopicPartition[]): Promise<Map<string, Committed> | undefined> {
    const ask = (): Promise<(Committed | undefined)[]> =>
      Promise.all(inputs.map((input) => this.deployment.log.committed(this.deployment.config.appId, input)));
    const [first, second] = [await ask(), await ask()];
    if (!isDeepStrictEqual(first, second)) return undefined;
    const found = inputs.flatMap(({ topic }, index) => {
      const committed = first[index];
      return committed === undefined ? [] : [[topic, committed] as const];
    });
    return found.length === inputs.length ? new Map(found) : undefined;
  }

  private at(topic: string): TopicPartition {
    return { topic, partition: this.partition };
  }

  private tell(kind: 'features' | 'join', records: number): void {
    if (records === 0) return;
    this.deployment.logger.debug({ code: 'STANDBY', kind, partition: this.partition, records }, 'standby caught up');
  }
}
