/**
 * One partition of the join for ranking: newest features ⋈ newest long-term vector by user. Either side triggers. A
 * commit goes to the log first, with outputs, both input offsets and metadata together; then to the store, which is a
 * cache of the output. What a record says depends on the pair of records it was made of, never on when they met.
 */
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { invariant } from '../base/errors.ts';
import type { AwaitedPosition, Log, TaskWriter } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { TaskLife, type TaskState } from '../task/life.ts';
import type { TaskObserver } from '../task/observer.ts';
import type { StepLimits } from '../task/step.ts';
import { layoutOf, stateLayoutHash } from '../../state/layout.ts';
import type { EmbeddingRules } from './embedding.ts';
import { JoinBatch } from './join-batch.ts';
import { JoinCommit } from './join-commit.ts';
import { Counts, JoinIntake } from './join-intake.ts';
import { restoreJoin, type JoinPartitions, type RestoredJoin } from './join-restore.ts';
import { JoinStore } from './join-store.ts';
import { RankingRecords } from './ranking-record.ts';

/** Where a step stands; tests stop processes there. `sent` is told by logs that send outputs before they commit them. */
export type JoinStepPoint = 'read' | 'joined' | 'sent' | 'log-committed' | 'store-committed';

export interface JoinTaskOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly config: Config;
  readonly partition: number;
  /** The task's own folder for its store. */
  readonly storeFolder: string;
  readonly logger: Logger;
  /** `delete.retention.ms` of `ranking-features`; by default nothing is ever compacted. */
  readonly deleteRetentionMs?: number;
  readonly observer?: TaskObserver;
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
  private store: JoinStore | undefined;
  /** Where the join stands, and what it has committed. */
  private standing: Omit<RestoredJoin, 'records'> | undefined;
  /** The last commit, until it is known to be in the log and in the store. */
  private commit: JoinCommit | undefined;

  constructor(options: JoinTaskOptions) {
    const { log, codec, config, partition, logger, observer } = options;
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
    this.life = new TaskLife({
      task: { kind: 'join', partition },
      position: this.at.ranking,
      logger,
      observer,
      openWriter: () => log.openWriter(`${config.appId}-join-${partition}`),
      restore: (writer, signal) => this.restore(writer, signal),
      wipeStore: async () => this.store?.wipe(),
      closeStore: async () => this.store?.close(),
    });
  }

  get state(): TaskState {
    return this.life.state;
  }

  /**
   * Records since the beginning, as committed: read as `features`, `featuresRemoved`, `vectors`, `vectorsRemoved` or a
   * cause of being skipped; written as `ranked` and `removed`.
   */
  get counts(): Readonly<Record<string, number>> {
    return this.standing?.counts ?? {};
  }

  /** Where the next reads begin: what to wait at for more input. */
  get positions(): readonly AwaitedPosition[] {
    const { featuresOffset = 0, embeddingsOffset = 0 } = this.standing?.position ?? {};
    return [
      { at: this.at.features, offset: featuresOffset },
      { at: this.at.embeddings, offset: embeddingsOffset },
    ];
  }

  /** Fences earlier owners, then brings the store to what is committed. After a retryable error, again. */
  start(): Promise<void> {
    return this.life.start();
  }

  /** One commit, of whatever both inputs hold up to the limits; nothing at the end of both. Errors as of `FeatureTask`. */
  step(limits: Partial<StepLimits> = {}): Promise<JoinStepResult> {
    const { maxRecords, maxOutputBytes, intervalMs } = this.options.config.commit;
    return this.life.step(() => this.commitOnce({ maxRecords, maxOutputBytes, maxMs: intervalMs, ...limits }));
  }

  /** Interrupts a restore; a step that is under way is finished first. */
  close(): Promise<void> {
    return this.life.close();
  }

  private async restore(writer: TaskWriter, signal: AbortSignal): Promise<void> {
    const { log, codec, config, storeFolder, logger, observer, deleteRetentionMs = Infinity } = this.options;
    const { records, at, layoutHash, partition } = this;
    this.store ??= await JoinStore.open(storeFolder, {
      stateLayoutHash: layoutHash,
      rememberedKeys: config.commit.maxRecords,
      logger,
    });
    const restored = await restoreJoin({
      ...{ log, writer, codec, records, store: this.store, at, layoutHash, deleteRetentionMs, signal },
      onProgress: (done, total) => observer?.restoring?.({ kind: 'join', partition }, done, total),
    });
    if (restored.records > 0) {
      logger.info({ code: 'RESTORED', ...at.ranking, records: restored.records }, 'join restored from the log');
    }
    this.standing = restored;
  }

  private async commitOnce(limits: StepLimits): Promise<JoinStepResult> {
    const { log, codec, logger, observer, onStep } = this.options;
    const { at, rules, layoutHash, standing } = this;
    invariant(standing !== undefined, 'a step before a restore', at.ranking);
    // The step was taken up again: whether its commit failed or only its answer was lost, the log has told by now.
    const last = this.commit;
    this.commit = undefined;
    if (last?.isAt(standing.position) === true) return last.done(observer);

    const startedMs = performance.now();
    const batch = new JoinBatch(this.records);
    const counts = new Counts(standing.counts);
    const store = this.openStore();
    const reached = (): void | Promise<void> => this.reached('read');
    const intake = new JoinIntake({ log, codec, at, batch, counts, store, rules, logger, limits, reached });
    const taken = await intake.read(standing.position);
    if (taken.records === 0) {
      this.standing = { ...standing, position: taken.position };
      return { records: 0, ranked: 0 };
    }
    const joined = batch.join(this.partition);
    counts.add('ranked', joined.ranked);
    counts.add('removed', joined.outputs.length - joined.ranked);
    await this.reached('joined');

    const { rankingStart } = standing;
    const commit = new JoinCommit({ joined, counts, taken, at, layoutHash, rankingStart, startedMs });
    this.commit = commit;
    // The log first, then the store: never the other way round.
    await commit.toLog(this.life, onStep);
    this.standing = { position: commit.position, rankingStart, counts: counts.sums };
    await this.reached('log-committed');
    await store.commit(joined.changes, commit.position);
    await this.reached('store-committed');
    this.commit = undefined;
    batch.release();
    return commit.done(observer);
  }

  private openStore(): JoinStore {
    invariant(this.store !== undefined, 'a join without a store', this.at.ranking);
    return this.store;
  }

  private reached(point: JoinStepPoint): void | Promise<void> {
    return this.options.onStep?.(point);
  }
}
