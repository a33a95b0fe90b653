/**
 * One partition of `user-actions`: decode → reduce → fold → describe → commit. A commit goes to the log first, with
 * outputs, input offset and metadata together; then to the store, which is a cache of the log.
 */
import { invariant } from '../base/errors.ts';
import type { AwaitedPosition, TaskWriter, TopicPartition } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { layoutOf, stateLayoutHash, type Layout } from '../../state/layout.ts';
import { StateCodec } from '../../state/state-codec.ts';
import { Batch } from './batch.ts';
import { CommitDraft } from './commit-draft.ts';
import type { CommitMetadata } from './commit-metadata.ts';
import type { FeatureContext } from './feature-context.ts';
import { FeatureCommit } from './feature-commit.ts';
import { Featurizer } from './features.ts';
import { Intake, type Standing } from './intake.ts';
import { TaskLife, type TaskState } from './life.ts';
import type { TaskObserver } from './observer.ts';
import { restore } from './restore.ts';
import type { StepLimits, StepPoint, StepResult } from './step.ts';
import { UserStore } from './user-store.ts';
import { Users } from './users.ts';

export type { StepLimits, StepPoint, StepResult } from './step.ts';

export interface FeatureTaskOptions extends FeatureContext {
  readonly partition: number;
  /** The task's own folder for its store. */
  readonly storeFolder: string;
  /** Reads the input; by default `codec`. */
  readonly inputCodec?: Pick<Codec, 'learn' | 'decode'>;
  /** `delete.retention.ms` of `sequence-features`; by default nothing is ever compacted. */
  readonly deleteRetentionMs?: number;
  readonly observer?: TaskObserver;
  readonly onStep?: (point: StepPoint) => void | Promise<void>;
}

export class FeatureTask {
  readonly partition: number;
  private readonly options: FeatureTaskOptions;
  private readonly life: TaskLife;
  private readonly layout: Layout;
  private readonly layoutHash: string;
  private readonly stateCodec: StateCodec;
  private readonly featurizer: Featurizer;
  private readonly intake: Intake;
  private readonly input: TopicPartition;
  private readonly users: Users;
  private store: UserStore | undefined;
  private standing: Standing | undefined;
  private metadata: CommitMetadata | undefined;
  /** The last commit, until it is known to be in the log and in the store. */
  private commit: FeatureCommit | undefined;

  constructor(options: FeatureTaskOptions) {
    const { log, config, partition, logger, observer, inputCodec = options.codec } = options;
    this.options = options;
    this.partition = partition;
    this.input = { topic: 'user-actions', partition };
    this.layout = layoutOf(config);
    this.layoutHash = stateLayoutHash(this.layout);
    this.stateCodec = new StateCodec(this.layout);
    this.featurizer = new Featurizer({ ...options, layout: this.layout, stateCodec: this.stateCodec });
    this.users = new Users(Math.max(1, Math.ceil(config.cacheUsers / config.partitions)));
    this.intake = new Intake({
      ...options,
      codec: inputCodec,
      input: this.input,
      judging: { ...config, codec: inputCodec, partition, actionTypes: new Set(config.actionTypes) },
      load: (userIds) => this.users.load(userIds, this.openStore()),
      reached: (point) => this.reached(point),
    });
    this.life = new TaskLife({
      task: { kind: 'features', partition },
      position: this.input,
      logger,
      observer,
      openWriter: () => log.openWriter(`${config.appId}-user-actions-${partition}`),
      restore: (writer, signal) => this.restore(writer, signal),
      wipeStore: async () => this.store?.wipe(),
      closeStore: async () => this.store?.close(),
    });
  }

  get state(): TaskState {
    return this.life.state;
  }

  /** Input records since the beginning, by outcome, as committed. */
  get counts(): Readonly<Record<string, number>> {
    return this.metadata?.counts ?? {};
  }

  /** Where the next read begins: what to wait at for more input. */
  get positions(): readonly AwaitedPosition[] {
    return [{ at: this.input, offset: this.standing?.offset ?? 0 }];
  }

  /** Fences earlier owners, then brings the store to what is committed. After a retryable error, again. */
  start(): Promise<void> {
    return this.life.start();
  }

  /**
   * One commit, of whatever the input holds up to the limits; nothing at the end of the input. After a retryable error
   * (`isRetryable`) nothing is lost and it may be called again; FENCED means that the partition has moved.
   */
  step(limits: Partial<StepLimits> = {}): Promise<StepResult> {
    const { maxRecords, maxOutputBytes, intervalMs } = this.options.config.commit;
    return this.life.step(() => this.commitOnce({ maxRecords, maxOutputBytes, maxMs: intervalMs, ...limits }));
  }

  /** Input records not yet consumed; on Kafka about, as some offsets are of no record. */
  async lag(): Promise<number> {
    return (await this.options.log.endOffset(this.input)) - (this.standing?.offset ?? 0);
  }

  /** Every user's state between two steps, in order of the user id's bytes. No step may run meanwhile. */
  states(): ReturnType<UserStore['states']> {
    return this.openStore().states();
  }

  /** Interrupts a restore; a step that is under way is finished first. */
  close(): Promise<void> {
    return this.life.close();
  }

  private async restore(writer: TaskWriter, signal: AbortSignal): Promise<void> {
    const { log, codec, config, storeFolder, logger, observer, deleteRetentionMs = Infinity } = this.options;
    const { layoutHash, stateCodec, input, partition } = this;
    this.users.forget();
    const rememberedKeys = this.users.decodedMax + config.commit.maxRecords;
    this.store ??= await UserStore.open(storeFolder, { layoutHash, stateCodec, logger, rememberedKeys });
    const { offset, metadata, records } = await restore(await writer.committed(input), {
      ...{ log, codec, stateCodec, store: this.store, input, layoutHash, deleteRetentionMs, signal },
      onProgress: (restored, total) => observer?.restoring?.({ kind: 'features', partition }, restored, total),
    });
    if (records > 0) logger.info({ code: 'RESTORED', partition, records }, 'restored from the log');
    this.standing = { offset, activation: metadata.activation, table: undefined };
    this.metadata = metadata;
  }

  private async commitOnce(limits: StepLimits): Promise<StepResult> {
    const { codec, config, observer } = this.options;
    const { layout, partition, featurizer, users, input, life } = this;
    const { metadata, standing } = this;
    invariant(metadata !== undefined && standing !== undefined, 'a step before a restore', input);
    // The step was taken up again: whether its commit failed or only its answer was lost, the log has told by now.
    const last = this.commit;
    this.commit = undefined;
    if (last?.offset === standing.offset) return last.done(observer);

    const startedMs = performance.now();
    const batch = new Batch({ layout, codec, partition, emit: config.emit });
    const draft = new CommitDraft({ partition, featurizer, decodedMax: users.decodedMax });
    const taken = await this.intake.take(standing, batch, limits, async () => {
      if (config.emit === 'action') await draft.add(batch.takeRevisions());
    });
    if (taken.records === 0) {
      this.standing = taken.standing;
      return { records: 0, features: 0, waitingFor: taken.waitingFor };
    }
    await draft.add(batch.takeRevisions());
    await this.reached('folded');

    const commit = new FeatureCommit({ before: metadata, batch, draft, taken, input, startedMs });
    this.commit = commit;
    await commit.toLog(life, this.options.onStep);
    this.standing = taken.standing;
    this.metadata = commit.metadata;
    await this.reached('log-committed');
    const { featuresEnd } = commit.metadata;
    await users.commit(draft.changes, draft.decoded, this.openStore(), { offset: commit.offset, featuresEnd });
    await this.reached('store-committed');
    this.commit = undefined;
    draft.release();
    return commit.done(observer);
  }

  private openStore(): UserStore {
    invariant(this.store !== undefined, 'a task without a store', this.input);
    return this.store;
  }

  private reached(point: StepPoint): void | Promise<void> {
    return this.options.onStep?.(point);
  }
}
