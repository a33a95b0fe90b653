/**
 * One partition of `user-actions`: decode → reduce → fold → describe → commit. A commit goes to the log first, with
 * outputs, input offset and metadata together; then to the store, which is a cache of the log.
 */
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { FreshetError, invariant } from '../base/errors.ts';
import { EMPTY_TABLE, type ItemTable } from '../intent/item-table.ts';
import type { ItemVersions } from '../intent/item-versions.ts';
import type { Scorer } from '../intent/scorer.ts';
import { partitionName, type Log, type LogRecord, type TaskWriter } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { layoutOf, stateLayoutHash, type Layout } from '../../state/layout.ts';
import { StateCodec } from '../../state/state-codec.ts';
import type { UserState } from '../../state/user-state.ts';
import { Batch } from './batch.ts';
import { CommitDraft } from './commit-draft.ts';
import { encodeMetadata, type CommitMetadata } from './commit-metadata.ts';
import { Featurizer } from './features.ts';
import { judge, type Activation, type JudgeOptions } from './judge.ts';
import { TaskLife, type TaskState } from './life.ts';
import { restore } from './restore.ts';
import type { CachedUser } from './score-cache.ts';
import { UserStore } from './user-store.ts';

/** Where a step stands; tests stop processes there. */
export type StepPoint = 'read' | 'reduced' | 'folded' | 'log-committed' | 'store-committed';

export interface FeatureTaskOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly scorer: Scorer;
  readonly itemVersions: ItemVersions;
  readonly config: Config;
  readonly partition: number;
  /** The task's own folder for its store. */
  readonly storeFolder: string;
  readonly logger: Logger;
  readonly onStep?: (point: StepPoint) => void | Promise<void>;
}

export interface StepResult {
  /** Input records consumed. */
  readonly records: number;
  /** Features records written. */
  readonly features: number;
  /** The item-vector version whose table is not complete yet: the task waits before its activation. */
  readonly waitingFor: string | null;
}

export class FeatureTask {
  readonly partition: number;
  private readonly options: FeatureTaskOptions;
  private readonly life: TaskLife;
  private readonly layout: Layout;
  private readonly layoutHash: string;
  private readonly stateCodec: StateCodec;
  private readonly featurizer: Featurizer;
  private readonly judging: JudgeOptions;
  private readonly input: { topic: 'user-actions'; partition: number };
  /** Users read or written lately; all clean between two steps. */
  private readonly users: LRUCache<string, CachedUser<UserState>>;
  private writer: TaskWriter | undefined;
  private store: UserStore | undefined;
  private offset = 0;
  private committed: CommitMetadata | undefined;
  private table: ItemTable | undefined = EMPTY_TABLE;

  constructor(options: FeatureTaskOptions) {
    const { config, partition } = options;
    this.options = options;
    this.partition = partition;
    this.input = { topic: 'user-actions', partition };
    this.life = new TaskLife(this.input);
    this.layout = layoutOf(config);
    this.layoutHash = stateLayoutHash(this.layout);
    this.stateCodec = new StateCodec(this.layout);
    this.featurizer = new Featurizer({ ...options, layout: this.layout, stateCodec: this.stateCodec });
    this.judging = {
      codec: options.codec,
      partition,
      partitions: config.partitions,
      actionTypes: new Set(config.actionTypes),
      maxIdBytes: config.maxIdBytes,
      maxSurfaceBytes: config.maxSurfaceBytes,
    };
    this.users = new LRUCache({ max: Math.max(1, Math.ceil(config.cacheUsers / config.partitions)) });
  }

  get state(): TaskState {
    return this.life.state;
  }

  /** Input records since the beginning, by outcome, as committed. */
  get counts(): Readonly<Record<string, number>> {
    return this.committed?.counts ?? {};
  }

  /** Fences earlier owners, then brings the store to what is committed. */
  async start(): Promise<void> {
    const { log, config } = this.options;
    this.life.to('FENCING');
    this.writer = await log.openWriter(`${config.appId}-user-actions-${this.partition}`);
    this.life.to('RESTORING');
    await this.restore();
  }

  /** One commit, of whatever the input holds up to the limits; nothing at the end of the input. */
  async step(): Promise<StepResult> {
    return this.life.step(
      () => this.commitOnce(),
      async ({ code, position }) => {
        this.options.logger.warn({ code, ...position }, 'the store is damaged; it is made again');
        await this.store?.wipe();
        await this.restore();
      },
      { records: 0, features: 0, waitingFor: null },
    );
  }

  /** Input records not yet consumed. */
  async lag(): Promise<number> {
    return (await this.options.log.endOffset(this.input)) - this.offset;
  }

  /** Every user's state between two steps, in order of the user id's bytes. No step may run meanwhile. */
  states(): ReturnType<UserStore['states']> {
    return this.openStore().states();
  }

  async close(): Promise<void> {
    this.life.to('CLOSING');
    await this.store?.close();
    await this.writer?.close();
    this.life.to('CLOSED');
  }

  private async restore(): Promise<void> {
    const { log, codec, config, storeFolder, logger } = this.options;
    const { layoutHash, stateCodec } = this;
    invariant(this.writer !== undefined, 'a restore before fencing', this.input);
    this.users.clear();
    const rememberedKeys = this.users.max + config.commit.maxRecords;
    this.store ??= await UserStore.open(storeFolder, { layoutHash, stateCodec, logger, rememberedKeys });
    const restored = await restore(await this.writer.committed(this.input), {
      log,
      codec,
      stateCodec,
      store: this.store,
      input: this.input,
      layoutHash,
    });
    if (restored.records > 0) {
      logger.info({ code: 'RESTORED', partition: this.partition, records: restored.records }, 'restored from the log');
    }
    this.offset = restored.offset;
    this.committed = restored.metadata;
    this.table = undefined;
    this.life.to('RUNNING');
  }

  private async commitOnce(): Promise<StepResult> {
    const { log, codec, config } = this.options;
    const activation = this.metadata().activation;
    this.table ??= activation === null ? EMPTY_TABLE : await this.tableOf(activation, this.offset);
    if (this.table === undefined) return { records: 0, features: 0, waitingFor: activation?.version ?? null };

    const batch = new Batch({ layout: this.layout, codec, partition: this.partition });
    const { maxRecords, maxOutputBytes } = config.commit;
    let reduced: Reduced = { records: 0, offset: this.offset, table: this.table, activation, waitingFor: null };
    // Piece by piece: of thousands of records only what they changed is held until the commit.
    while (reduced.records < maxRecords && batch.outputBytes < maxOutputBytes && reduced.waitingFor === null) {
      const limits = { maxRecords: Math.min(READ_RECORDS, maxRecords - reduced.records), maxBytes: READ_BYTES };
      const read = await log.read(this.input, reduced.offset, limits);
      if (read.length === 0) break;
      await codec.learn(read);
      await this.at('read');
      reduced = await this.reduce(read, reduced, batch);
      await this.at('reduced');
    }
    const { records, waitingFor } = reduced;
    if (records === 0) return { records, features: 0, waitingFor };

    const draft = await this.draft(batch);
    await this.at('folded');
    await this.commit(batch, draft, reduced);
    this.table = reduced.table;
    return { records, features: draft.features, waitingFor };
  }

  /** Scores and describes the users of the batch, some at a time: what was made of a user stays, its state goes. */
  private async draft(batch: Batch): Promise<CommitDraft> {
    const draft = new CommitDraft(this.partition, this.users.max);
    const users = [...batch.users.values()];
    batch.users.clear();
    while (users.length > 0) {
      const some = users.splice(0, FEATURED_USERS);
      for (const featured of await this.featurizer.features(some)) draft.add(featured);
      for (const user of some) if (user.state === null && user.existed) draft.remove(user);
    }
    return draft;
  }

  /** Reduces records until the batch is full, or until an activation whose table is not complete. */
  private async reduce(read: readonly LogRecord[], before: Reduced, batch: Batch): Promise<Reduced> {
    const judgements = read.map((record) => judge(record, this.judging));
    const loaded = await this.load(
      judgements.flatMap((judged) =>
        judged.kind === 'user' && !batch.users.has(judged.userId) ? [judged.userId] : [],
      ),
    );
    let { records, offset, table, activation } = before;
    for (const [index, judged] of judgements.entries()) {
      const record = read[index]!;
      if (judged.kind === 'activation') {
        const next = await this.tableOf(judged.activation, record.offset);
        if (next === undefined) return { records, offset, table, activation, waitingFor: judged.activation.version };
        table = next;
        activation = judged.activation;
        batch.count('activation');
      } else if (judged.kind === 'nobody') {
        batch.reject(record, judged.rejection);
      } else {
        const cause = batch.apply(judged.userId, judged.record, loaded.get(judged.userId), table);
        if (judged.rejection !== null) batch.reject(record, judged.rejection);
        else if (cause !== null) batch.reject(record, { cause, detail: REDUCER_CAUSES[cause] });
      }
      offset = record.offset + 1;
      records += 1;
      if (batch.outputBytes >= this.options.config.commit.maxOutputBytes) break;
    }
    return { records, offset, table, activation, waitingFor: null };
  }

  /** The users of a batch, from the cache or the store. */
  private async load(userIds: readonly string[]): Promise<Map<string, CachedUser<UserState>>> {
    const loaded = new Map<string, CachedUser<UserState>>();
    const missing = new Set<string>();
    for (const userId of userIds) {
      const cached = this.users.get(userId);
      if (cached !== undefined) loaded.set(userId, cached);
      else missing.add(userId);
    }
    const ids = [...missing];
    const found = await this.openStore().getMany(ids);
    ids.forEach((userId, index) => {
      const user = found[index];
      if (user !== undefined) loaded.set(userId, user);
    });
    return loaded;
  }

  /** The log first, then the store: never the other way round. */
  private async commit(batch: Batch, draft: CommitDraft, { offset, activation }: Reduced): Promise<void> {
    const { partition } = this;
    const before = this.metadata();
    let metadata = before;
    await this.writer!.commit({
      outputs: [...batch.outputs, ...draft.outputs],
      offsets: [{ input: this.input, offset }],
      metadata: (ends) => {
        const end = (name: string, unchanged: number) =>
          ends.get(partitionName({ topic: name, partition })) ?? unchanged;
        metadata = {
          featuresEnd: end('sequence-features', before.featuresEnd),
          historyEnd: end('action-history', before.historyEnd),
          rejectedEnd: end('rejected-actions', before.rejectedEnd),
          activation,
          layout: this.layoutHash,
          counts: sumCounts(before.counts, batch.counts),
        };
        return encodeMetadata(metadata);
      },
    });
    this.offset = offset;
    this.committed = metadata;
    await this.at('log-committed');
    for (const { userId } of draft.changes) {
      const user = draft.decoded.get(userId);
      if (user === undefined) this.users.delete(userId);
      else this.users.set(userId, user);
    }
    await this.openStore().commit(draft.changes, { offset, featuresEnd: metadata.featuresEnd });
    await this.at('store-committed');
  }

  /** The complete table of a version activated at or before `offset`; undefined while it is not complete. */
  private async tableOf(activation: Activation, offset: number): Promise<ItemTable | undefined> {
    const { scorer, itemVersions } = this.options;
    if (activation.space !== scorer.space) {
      const detail = `version ${activation.version} lives in ${activation.space}, the model needs ${scorer.space}`;
      throw new FreshetError('SPACE_MISMATCH', detail, { position: { ...this.input, offset } });
    }
    return itemVersions.table(activation);
  }

  private metadata(): CommitMetadata {
    invariant(this.committed !== undefined, 'a task that has not been restored', this.input);
    return this.committed;
  }

  private openStore(): UserStore {
    invariant(this.store !== undefined, 'a task without a store', this.input);
    return this.store;
  }

  private at(point: StepPoint): void | Promise<void> {
    return this.options.onStep?.(point);
  }
}

/** How far the records of a commit are reduced. */
interface Reduced {
  readonly records: number;
  /** Of the next record. */
  readonly offset: number;
  readonly table: ItemTable;
  readonly activation: Activation | null;
  readonly waitingFor: string | null;
}

/** One read of the log. */
const READ_RECORDS = 2_000;
const READ_BYTES = 4 * 1024 * 1024;
/** Users scored and described together: enough to fill the batches of the model with rows of like length. */
const FEATURED_USERS = 1_000;

const REDUCER_CAUSES = {
  late: 'the action is at or below the left edge of the window: what is there was sealed',
  future: 'the event time is too far ahead of the arrival',
} as const;

function sumCounts(
  before: Readonly<Record<string, number>>,
  more: ReadonlyMap<string, number>,
): Record<string, number> {
  const sum = { ...before };
  for (const [outcome, count] of more) sum[outcome] = (sum[outcome] ?? 0) + count;
  return sum;
}
