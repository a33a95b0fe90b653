/**
 * One partition of the join for ranking: newest features ⋈ newest long-term vector by user. Either side triggers. A
 * commit goes to the log first, with outputs, both input offsets and metadata together; then to the store, which is a
 * cache of the output. What a record says depends on the pair of records it was made of, never on when they met.
 */
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { invariant } from '../base/errors.ts';
import { partitionName, type Log, type LogRecord, type TaskWriter } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { TaskLife } from '../task/life.ts';
import { layoutOf, stateLayoutHash } from '../../state/layout.ts';
import type { EmbeddingRules } from './embedding.ts';
import { JoinBatch, type JoinedBatch } from './join-batch.ts';
import { Counts, JoinIntake } from './join-intake.ts';
import { encodeJoinMetadata } from './join-metadata.ts';
import { restoreJoin, type JoinPartitions } from './join-restore.ts';
import { JoinStore, type JoinPosition } from './join-store.ts';
import { RankingRecords } from './ranking-record.ts';

/** Where a step stands; tests stop processes there. */
export type JoinStepPoint = 'read' | 'joined' | 'log-committed' | 'store-committed';

export interface JoinTaskOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly config: Config;
  readonly partition: number;
  /** The task's own folder for its store. */
  readonly storeFolder: string;
  readonly logger: Logger;
  readonly onStep?: (point: JoinStepPoint) => void | Promise<void>;
}

export interface JoinStepResult {
  /** Input records consumed, of both sides. */
  readonly records: number;
  /** `ranking-features` records written, tombstones apart. */
  readonly ranked: number;
}

export class JoinTask {
  readonly partition: number;
  private readonly options: JoinTaskOptions;
  private readonly life: TaskLife;
  private readonly layoutHash: string;
  private readonly records: RankingRecords;
  private readonly rules: EmbeddingRules;
  private readonly at: JoinPartitions;
  private writer: TaskWriter | undefined;
  private store: JoinStore | undefined;
  private position: JoinPosition | undefined;
  private committedCounts: Readonly<Record<string, number>> = {};

  constructor(options: JoinTaskOptions) {
    const { codec, config, partition } = options;
    const layout = layoutOf(config);
    this.options = options;
    this.partition = partition;
    this.layoutHash = stateLayoutHash(layout);
    this.records = new RankingRecords({ codec, layout, partition });
    this.rules = { codec, partition, partitions: config.partitions, maxIdBytes: config.maxIdBytes };
    this.at = {
      features: { topic: 'sequence-features', partition },
      embeddings: { topic: 'user-embeddings', partition },
      ranking: { topic: 'ranking-features', partition },
    };
    this.life = new TaskLife(this.at.ranking);
  }

  /**
   * Records since the beginning, as committed: read as `features`, `featuresRemoved`, `vectors`, `vectorsRemoved` or an
   * cause of being skipped; written as `ranked` and `removed`.
   */
  get counts(): Readonly<Record<string, number>> {
    return this.committedCounts;
  }

  /** Fences earlier owners, then brings the store to what is committed. */
  async start(): Promise<void> {
    const { log, config } = this.options;
    this.life.to('FENCING');
    this.writer = await log.openWriter(`${config.appId}-join-${this.partition}`);
    this.life.to('RESTORING');
    await this.restore();
  }

  /** One commit, of whatever both inputs hold up to the limits; nothing at the end of both. */
  async step(): Promise<JoinStepResult> {
    return this.life.step(
      () => this.commitOnce(),
      async ({ code, position }) => {
        this.options.logger.warn({ code, ...position }, 'the store of the join is damaged; it is made again');
        await this.store?.wipe();
        await this.restore();
      },
      { records: 0, ranked: 0 },
    );
  }

  async close(): Promise<void> {
    this.life.to('CLOSING');
    await this.store?.close();
    await this.writer?.close();
    this.life.to('CLOSED');
  }

  private async restore(): Promise<void> {
    const { log, codec, config, storeFolder, logger } = this.options;
    const { writer, records, at, layoutHash } = this;
    invariant(writer !== undefined, 'a restore before fencing', at.ranking);
    this.store ??= await JoinStore.open(storeFolder, {
      stateLayoutHash: layoutHash,
      rememberedKeys: config.commit.maxRecords,
      logger,
    });
    const restored = await restoreJoin({ log, writer, codec, records, store: this.store, at, layoutHash });
    if (restored.records > 0) {
      logger.info({ code: 'RESTORED', ...at.ranking, records: restored.records }, 'join restored from the log');
    }
    this.position = restored.position;
    this.committedCounts = restored.counts;
    this.life.to('RUNNING');
  }

  private async commitOnce(): Promise<JoinStepResult> {
    const before = this.openPosition();
    const { maxRecords, maxOutputBytes } = this.options.config.commit;
    // Half of the commit for each side, so that neither can keep the other waiting.
    const limits = { maxRecords: Math.ceil(maxRecords / 2), maxBytes: Math.ceil(maxOutputBytes / 2) };
    const features = await this.options.log.read(this.at.features, before.featuresOffset, limits);
    const embeddings = await this.options.log.read(this.at.embeddings, before.embeddingsOffset, limits);
    if (features.length + embeddings.length === 0) return { records: 0, ranked: 0 };
    await this.options.codec.learn(features);
    await this.options.codec.learn(embeddings);
    await this.reached('read');

    const batch = new JoinBatch(this.records);
    const counts = new Counts(this.committedCounts);
    const { rules, options } = this;
    const intake = new JoinIntake({
      batch,
      counts,
      rules,
      maxOutputBytes,
      store: this.openStore(),
      logger: options.logger,
    });
    const featuresRead = await intake.takeFeatures(features);
    const embeddingsRead = await intake.takeEmbeddings(embeddings);
    const joined = batch.join(this.partition);
    counts.add('ranked', joined.ranked);
    counts.add('removed', joined.outputs.length - joined.ranked);
    await this.reached('joined');
    await this.commit(joined, counts, {
      ...before,
      featuresOffset: endOf(features, featuresRead, before.featuresOffset),
      embeddingsOffset: endOf(embeddings, embeddingsRead, before.embeddingsOffset),
    });
    return { records: featuresRead + embeddingsRead, ranked: joined.ranked };
  }

  /** The log first, then the store: never the other way round. */
  private async commit(joined: JoinedBatch, counts: Counts, offsets: JoinPosition): Promise<void> {
    const { at, layoutHash } = this;
    let position = offsets;
    await this.writer!.commit({
      outputs: joined.outputs,
      offsets: [
        { input: at.features, offset: offsets.featuresOffset },
        { input: at.embeddings, offset: offsets.embeddingsOffset },
      ],
      metadata: (ends) => {
        position = { ...offsets, rankingEnd: ends.get(partitionName(at.ranking)) ?? offsets.rankingEnd };
        return encodeJoinMetadata({ rankingEnd: position.rankingEnd, layout: layoutHash, counts: counts.sums });
      },
    });
    this.position = position;
    this.committedCounts = counts.sums;
    await this.reached('log-committed');
    await this.openStore().commit(joined.changes, position);
    await this.reached('store-committed');
  }

  private openPosition(): JoinPosition {
    invariant(this.position !== undefined, 'a join that has not been restored', this.at.ranking);
    return this.position;
  }

  private openStore(): JoinStore {
    invariant(this.store !== undefined, 'a join without a store', this.at.ranking);
    return this.store;
  }

  private reached(point: JoinStepPoint): void | Promise<void> {
    return this.options.onStep?.(point);
  }
}

/** The offset behind the first `count` records. */
const endOf = (records: readonly LogRecord[], count: number, start: number): number =>
  count === 0 ? start : records[count - 1]!.offset + 1;
