/**
 * One partition of `user-actions` once more: the same intake, reducer, fold and description as the task's, with nothing
 * written to the log. Users are kept in a store of its own, so that memory does not grow with the log.
 */
import { rm } from 'node:fs/promises';
import { FreshetError, invariant } from '../base/errors.ts';
import type { ItemTable } from '../intent/item-table.ts';
import type { TopicPartition } from '../log/log.ts';
import { layoutOf, stateLayoutHash, type Layout } from '../../state/layout.ts';
import { StateCodec } from '../../state/state-codec.ts';
import { Batch } from '../task/batch.ts';
import type { FeatureContext } from '../task/feature-context.ts';
import { Featurizer, type Featured } from '../task/features.ts';
import { Intake, type Standing } from '../task/intake.ts';
import { activationBefore } from '../task/newest-activation.ts';
import { unfolded } from '../task/score-cache.ts';
import { UserStore } from '../task/user-store.ts';
import { HeldUsers } from './held-users.ts';
import { newestFeatures } from './newest-features.ts';
import { Passage } from './passage.ts';
import { asRecorded, type ActionReader } from './recorded-rejections.ts';
import { changesOf, type GoneUser, type SeededUser } from './seeded-user.ts';
import { sharingStrings } from './shared-strings.ts';
import { STEP_RECORDS, type ReplayStep, type StepOptions } from './step.ts';
import { stepFeatures } from './step-features.ts';

export interface PartitionReplayOptions extends FeatureContext {
  readonly partition: number;
  /** For its store; goes on from there if it holds one. */
  readonly folder: string;
  /** Reads the input that `log` gives, where a caller has asked for it `asRecorded`; by default that is done here. */
  readonly inputCodec?: ActionReader['codec'];
  /** Users kept decoded in memory. */
  readonly cacheUsers?: number;
}

const CACHE_USERS = 20_000;
const CACHE_ACTIONS = 600_000;

export class PartitionReplay {
  readonly input: TopicPartition;
  /** Of the scorer and the description: stands in every record that this replay makes. */
  readonly scorerHash: string;
  private readonly options: PartitionReplayOptions;
  private readonly layout: Layout;
  private readonly stateCodec: StateCodec;
  private readonly featurizer: Featurizer;
  private readonly users: HeldUsers;
  private readonly store: UserStore;
  private readonly passage: Passage;
  private readonly intake: Intake;
  private standing: Standing | undefined;

  private constructor(
    options: PartitionReplayOptions,
    {
      layout,
      stateCodec,
      store,
      reader,
    }: { layout: Layout; stateCodec: StateCodec; store: UserStore; reader: ActionReader },
  ) {
    const { config, partition, cacheUsers = CACHE_USERS } = options;
    this.options = options;
    this.layout = layout;
    this.stateCodec = stateCodec;
    this.store = store;
    this.input = inputOf(partition);
    this.featurizer = new Featurizer({ ...options, layout, stateCodec });
    this.scorerHash = this.featurizer.scorerHash;
    const { hiddenSize } = options.scorer;
    this.users = new HeldUsers({ store, stateCodec, hiddenSize, maxUsers: cacheUsers, maxActions: CACHE_ACTIONS });
    this.passage = new Passage(reader.log, this.input);
    this.intake = new Intake({
      ...options,
      log: this.passage.log,
      codec: reader.codec,
      input: this.input,
      judging: { ...config, codec: sharingStrings(reader.codec), partition, actionTypes: new Set(config.actionTypes) },
      load: (userIds) => this.users.load(userIds),
      reached: () => undefined,
    });
  }

  static async open(options: PartitionReplayOptions): Promise<PartitionReplay> {
    const { log, config, folder, logger, partition, inputCodec, cacheUsers = CACHE_USERS } = options;
    const reader = inputCodec ? { log, codec: inputCodec } : await asRecorded(options, inputOf(partition));
    const layout = layoutOf(config);
    const stateCodec = new StateCodec(layout);
    const rememberedKeys = cacheUsers + STEP_RECORDS;
    const storeOptions = { layoutHash: stateLayoutHash(layout), stateCodec, logger, rememberedKeys };
    const store = await UserStore.open(folder, storeOptions);
    return new PartitionReplay(options, { layout, stateCodec, store, reader });
  }

  /** Where an interrupted replay with the same folder came to; undefined: it has not begun. */
  get position(): number | undefined {
    return this.store.isWhole() ? this.store.position()?.offset : undefined;
  }

  /** Enters users as they were: to be called before `begin`, any number of times; the last one of a user counts. */
  async seed(users: Iterable<SeededUser | GoneUser>): Promise<void> {
    await this.store.add(changesOf(users, { stateCodec: this.stateCodec, scorer: this.options.scorer }));
  }

  /** Replaces users between two steps. */
  async put(users: readonly SeededUser[]): Promise<void> {
    const { standing } = this;
    invariant(standing !== undefined, 'a replay that has not begun');
    for (const { state, itemVersion } of users) {
      this.users.set(state.userId, { state, cache: unfolded(itemVersion, this.options.scorer) });
    }
    await this.users.settle(standing.offset);
  }

  /**
   * The next record taken will be the one at `offset`, or the first behind it.
   *
   * @param before - the activation in force where the input before `offset` tells of none.
   */
  async begin(offset: number, before: Standing['activation'] = null): Promise<void> {
    const { log, codec } = this.options;
    const activation = (await activationBefore(log, codec, this.input, offset)) ?? before;
    await this.store.commit([], { offset, featuresEnd: 0 });
    this.users.forget();
    this.standing = { offset, activation, table: undefined };
  }

  /** Takes the next records; at the end of the log or at `to` it takes none. */
  async step({ to, maxRecords = STEP_RECORDS, emit }: StepOptions): Promise<ReplayStep> {
    const { standing, layout, featurizer, users } = this;
    const { codec, scorer, partition } = this.options;
    invariant(standing !== undefined, 'a replay that has not begun', this.input);
    const batch = new Batch({ layout, codec, partition, emit });
    this.passage.end = to;
    const limits = { maxRecords, maxOutputBytes: Infinity, maxMs: Infinity };
    const taken = await this.intake.take(standing, batch, limits, () => Promise.resolve());
    if (taken.records === 0 && taken.waitingFor !== null) throw this.incomplete(taken.waitingFor, standing.offset);
    const next = Math.min(to, taken.standing.offset);
    batch.emitLast(next);
    const { featured, changed } = await stepFeatures(batch.takeRevisions(), { featurizer, users, scorer });
    await users.settle(next);
    this.standing = { ...taken.standing, offset: next };
    const { counts, outputs } = batch;
    const gaps = this.passage.takeGaps();
    return { from: standing.offset, next, records: taken.records, counts, featured, changed, outputs, gaps };
  }

  /** Users as they stand, described as they were after their last record; who is unknown is left out. */
  async features(userIds: Iterable<string>): Promise<Map<string, Featured>> {
    const { featurizer } = this;
    const tableOf = (version: string): Promise<ItemTable> => this.tableOf(version);
    return newestFeatures(await this.users.load(userIds), { featurizer, tableOf });
  }

  async unknownAmong(userIds: Iterable<string>): Promise<string[]> {
    const ids = [...userIds];
    const known = await this.users.load(ids);
    return ids.filter((userId) => !known.has(userId));
  }

  /** Every user's state, in order of the user id's bytes. No step may run meanwhile. */
  async *states(): ReturnType<UserStore['states']> {
    await this.flush();
    yield* this.store.states();
  }

  /** Writes what was taken so far to the folder: an interrupted replay goes on behind it. */
  async flush(): Promise<void> {
    if (this.standing !== undefined) await this.users.flush(this.standing.offset);
  }

  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      await this.store.close();
    }
  }

  /** Closes it for good: nothing is written, and the folder is removed. */
  async discard(): Promise<void> {
    await this.store.close();
    await rm(this.options.folder, { recursive: true, force: true });
  }

  private async tableOf(version: string): Promise<ItemTable> {
    const table = await this.options.itemVersions.named(version);
    if (table === undefined) throw this.incomplete(version, this.standing?.offset ?? 0);
    return table;
  }

  private incomplete(version: string, offset: number): FreshetError {
    const reason = this.options.itemVersions.reason(version) ?? `${version}: not complete`;
    return new FreshetError('ITEM_VERSION_INCOMPLETE', reason, { position: { ...this.input, offset } });
  }
}

const inputOf = (partition: number): TopicPartition => ({ topic: 'user-actions', partition });
