/**
 * One partition of `user-actions` once more: the same intake, reducer, fold and description as the task's, with nothing
 * written to the log. Users are kept in a store of its own, so that memory does not grow with the log.
 */
import { rm } from 'node:fs/promises';
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { FreshetError, invariant } from '../base/errors.ts';
import { EMPTY_TABLE, type ItemTable } from '../intent/item-table.ts';
import type { ItemVersions } from '../intent/item-versions.ts';
import type { Scorer } from '../intent/scorer.ts';
import type { Log, NewRecord, TopicPartition } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { layoutOf, stateLayoutHash, type Layout } from '../../state/layout.ts';
import { StateCodec } from '../../state/state-codec.ts';
import type { UserState } from '../../state/user-state.ts';
import { Batch, type EmitRule } from '../task/batch.ts';
import { FEATURED_USERS, roundsOf } from '../task/commit-draft.ts';
import { Featurizer, type Featured } from '../task/features.ts';
import { Intake, type Standing } from '../task/intake.ts';
import { activationBefore } from '../task/newest-activation.ts';
import type { Revision } from '../task/revision.ts';
import { unfolded, type ScoreCache } from '../task/score-cache.ts';
import { UserStore, type UserChange } from '../task/user-store.ts';
import { HeldUsers } from './held-users.ts';
import { Passage, type Gap } from './passage.ts';
import { sharingStrings } from './shared-strings.ts';

export interface PartitionReplayOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly scorer: Scorer;
  readonly itemVersions: ItemVersions;
  readonly config: Config;
  readonly partition: number;
  /** For its store; goes on from there if it holds one. */
  readonly folder: string;
  readonly logger: Logger;
  /** Users kept decoded in memory. */
  readonly cacheUsers?: number;
}

/** What one step has taken, and what was asked to be emitted of it. */
export interface ReplayStep {
  /** Input offsets: from `from` up to `next`, exclusive. */
  readonly from: number;
  readonly next: number;
  readonly records: number;
  readonly counts: ReadonlyMap<string, number>;
  /** In no order; a user may come more than once, with other versions. */
  readonly featured: readonly Featured[];
  /** Users as they are after the step: those that it changed. Null: gone. */
  readonly changed: ReadonlyMap<string, UserState | null>;
  /** History chunks, their tombstones and rejections. */
  readonly outputs: readonly NewRecord[];
  /** Input that could not be read and was passed over. */
  readonly gaps: readonly Gap[];
}

export interface StepOptions {
  /** The step ends before this input offset at the latest. */
  readonly to: number;
  readonly maxRecords?: number;
  readonly emit: EmitRule;
}

/** A user's state at a version, and the item vectors of its last record: what a replay can begin from. */
export interface Seed {
  readonly state: UserState;
  readonly itemVersion: string | null;
}

/** Records of a step: what a store commit and the features in memory are bounded by. */
export const STEP_RECORDS = 10_000;
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

  private constructor(options: PartitionReplayOptions, layout: Layout, stateCodec: StateCodec, store: UserStore) {
    const { log, config, codec, partition, cacheUsers = CACHE_USERS } = options;
    this.options = options;
    this.layout = layout;
    this.stateCodec = stateCodec;
    this.store = store;
    this.input = { topic: 'user-actions', partition };
    this.featurizer = new Featurizer({ ...options, layout, stateCodec });
    this.scorerHash = this.featurizer.scorerHash;
    const { hiddenSize } = options.scorer;
    this.users = new HeldUsers({ store, stateCodec, hiddenSize, maxUsers: cacheUsers, maxActions: CACHE_ACTIONS });
    this.passage = new Passage(log, this.input);
    this.intake = new Intake({
      ...options,
      log: this.passage.log,
      input: this.input,
      judging: { ...config, codec: sharingStrings(codec), partition, actionTypes: new Set(config.actionTypes) },
      load: (userIds) => this.users.load(userIds),
      reached: () => undefined,
    });
  }

  static async open(options: PartitionReplayOptions): Promise<PartitionReplay> {
    const { config, folder, logger, cacheUsers = CACHE_USERS } = options;
    const layout = layoutOf(config);
    const stateCodec = new StateCodec(layout);
    const rememberedKeys = cacheUsers + STEP_RECORDS;
    const storeOptions = { layoutHash: stateLayoutHash(layout), stateCodec, logger, rememberedKeys };
    return new PartitionReplay(options, layout, stateCodec, await UserStore.open(folder, storeOptions));
  }

  /** Where an interrupted replay with the same folder came to; undefined: it has not begun. */
  get position(): number | undefined {
    return this.store.isWhole() ? this.store.position()?.offset : undefined;
  }

  /** Enters users as they were: to be called before `begin`, any number of times; the last one of a user counts. */
  async seed(seeds: Iterable<Seed | { readonly userId: string; readonly state: null }>): Promise<void> {
    await this.store.add(this.changesOf(seeds));
  }

  /** Replaces users between two steps. */
  async put(seeds: readonly Seed[]): Promise<void> {
    const { standing } = this;
    invariant(standing !== undefined, 'a replay that has not begun');
    for (const { state, itemVersion } of seeds) {
      this.users.set(state.userId, { state, cache: unfolded(itemVersion, this.options.scorer) });
    }
    await this.users.settle(standing.offset);
  }

  /** The next record taken will be the one at `offset`, or the first behind it. */
  async begin(offset: number): Promise<void> {
    const { log, codec } = this.options;
    const activation = await activationBefore(log, codec, this.input, offset);
    await this.store.commit([], { offset, featuresEnd: 0 });
    this.users.forget();
    this.standing = { offset, activation, table: undefined };
  }

  /** Takes the next records; at the end of the log or at `to` it takes none. */
  async step({ to, maxRecords = STEP_RECORDS, emit }: StepOptions): Promise<ReplayStep> {
    const { standing, layout } = this;
    const { codec, partition } = this.options;
    invariant(standing !== undefined, 'a replay that has not begun', this.input);
    const batch = new Batch({ layout, codec, partition, emit });
    this.passage.end = to;
    const limits = { maxRecords, maxOutputBytes: Infinity, maxMs: Infinity };
    const taken = await this.intake.take(standing, batch, limits, () => Promise.resolve());
    if (taken.records === 0 && taken.waitingFor !== null) throw this.incomplete(taken.waitingFor, standing.offset);
    const next = Math.min(to, taken.standing.offset);
    batch.emitLast(next);
    const { featured, changed } = await this.feature(batch.takeRevisions(), { ...taken.standing, offset: next });
    const { counts, outputs } = batch;
    const gaps = this.passage.takeGaps();
    return { from: standing.offset, next, records: taken.records, counts, featured, changed, outputs, gaps };
  }

  /** Users as they stand, described as they were after their last record; who is unknown is left out. */
  async features(userIds: Iterable<string>): Promise<Map<string, Featured>> {
    const loaded = await this.users.load(userIds);
    const revisions: Revision[] = [];
    const tables = new Map<string | null, ItemTable>([[null, EMPTY_TABLE]]);
    for (const [userId, { state, cache }] of loaded) {
      const version = cache?.itemVersion ?? null;
      const table = tables.get(version) ?? (await this.tableOf(version!));
      tables.set(version, table);
      revisions.push(revisionOf(userId, state, cache, table));
    }
    const featured = new Map<string, Featured>();
    while (revisions.length > 0) {
      for (const each of await this.featurizer.features(revisions.splice(0, FEATURED_USERS))) {
        featured.set(each.revision.userId, each);
      }
    }
    return featured;
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

  private async feature(revisions: readonly Revision[], standing: Standing) {
    const featured: Featured[] = [];
    const changed = new Map<string, UserState | null>();
    const change = (userId: string, user: Parameters<HeldUsers['set']>[1]): void => {
      changed.set(userId, user?.state ?? null);
      this.users.set(userId, user);
    };
    for (const { userId, state, isNewest } of revisions) if (state === null && isNewest) change(userId, null);
    for (const round of roundsOf(revisions)) {
      while (round.length > 0) {
        for (const each of await this.featurizer.features(round.splice(0, FEATURED_USERS))) {
          const { revision, state } = each;
          if (revision.isEmitted) featured.push(each);
          if (!revision.isNewest) continue;
          const { userId, table } = revision;
          const isFinite = each.cache !== null && each.cache.score?.finite !== false;
          change(userId, { state, cache: isFinite ? each.cache : unfolded(table.version, this.options.scorer) });
        }
      }
    }
    await this.users.settle(standing.offset);
    this.standing = standing;
    return { featured, changed };
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

  private *changesOf(seeds: Iterable<Seed | { readonly userId: string; readonly state: null }>): Generator<UserChange> {
    for (const seed of seeds) {
      if (seed.state === null) yield { userId: seed.userId, stateBody: null, cache: null };
      else {
        const { state, itemVersion } = seed;
        const cache = unfolded(itemVersion, this.options.scorer);
        yield { userId: state.userId, stateBody: this.stateCodec.encode(state), cache };
      }
    }
  }
}

/** A user as the store has it, as if its last record had just been taken. */
function revisionOf(userId: string, state: UserState, cache: ScoreCache | null, table: ItemTable): Revision {
  return {
    ...{ userId, place: 0, existed: true, depth: 0, state, cache, previous: null, table, arrivalTimeMs: 0 },
    ...{ isFolded: false, written: null, isOneRecord: true, isNewest: true, isClosed: true, isEmitted: true },
  };
}
