/**
 * Hands the topics of an application to a new one with another layout, partition by partition: the old one is closed for
 * good, its join's place is taken over, and each user's features are written again as the new layout has them, at the same
 * version. The new application goes on from the same input offset.
 */
import { rm } from 'node:fs/promises';
import { FreshetError } from '../base/errors.ts';
import type { TopicPartition } from '../log/log.ts';
import { committedUsers } from '../snapshot/committed-stores.ts';
import { decodeMetadata, encodeMetadata, type CommitMetadata } from '../task/commit-metadata.ts';
import { stateLayoutHash } from '../../state/layout.ts';
import type { UserState } from '../../state/user-state.ts';
import { Activations } from './activations.ts';
import type { Conversion } from './convert-state.ts';
import { conversionOf } from './conversion.ts';
import { checkOld, convertedUsers, historyOf, type ConvertedUser, type OldPartition } from './converted-users.ts';
import { closeOld, takeOverJoin } from './hand-over.ts';
import type { ResetOwner } from './reset-plan.ts';
import { StateMover } from './state-mover.ts';

export interface MigrateOptions {
  /** The old application, with its own configuration. */
  readonly from: ResetOwner;
  /** The new one. */
  readonly to: ResetOwner;
  /** Only says what would be done. */
  readonly isDryRun: boolean;
  readonly onProgress: (partition: number, restored: number, total: number) => void;
}

export interface PartitionMigration {
  readonly partition: number;
  /** The input offset that the new application goes on from. */
  readonly offset: number;
  /** Those of an earlier call that was cut short are left out. */
  readonly users: number;
  /** Users of whom an action came too late for the old windows: another window might have taken it. */
  readonly usersWithLate: number;
  /** False: an earlier call has done it. */
  readonly isNew: boolean;
}

interface Plan {
  readonly old: OldPartition;
  /** What the new application has committed, of an earlier call that was cut short. */
  readonly begun: { readonly offset: number; readonly metadata: CommitMetadata } | undefined;
  readonly isFinished: boolean;
}

/**
 * On one log, where both have the same partitions. The caller has made sure that no worker of either is live. Throws
 * APP_UNKNOWN, LAYOUT_CHANGED (the old configuration is not the one that was written with) and MIGRATION_REFUSED before
 * anything is changed; after any later error the same call again finishes what was begun.
 */
export async function migrateInPlace(options: MigrateOptions): Promise<PartitionMigration[]> {
  const { from, to, isDryRun, onProgress } = options;
  if (from.config.appId === to.config.appId) {
    throw new FreshetError('MIGRATION_REFUSED', 'the new application needs an appId of its own');
  }
  const conversion = conversionOf(from.config, to.config, true);
  const plans: Plan[] = [];
  for (let partition = 0; partition < from.config.partitions; partition += 1) {
    const plan = await planOf(options, conversion, partition, onProgress.bind(undefined, partition));
    if (plan !== undefined) plans.push(plan);
  }
  if (plans.length === 0) throw new FreshetError('APP_UNKNOWN', from.config.appId);
  const counted: PartitionMigration[] = [];
  for (const plan of plans) {
    const { old, isFinished } = plan;
    const { partition, offset } = old;
    let [users, usersWithLate] = [0, 0];
    if (!isFinished) {
      for await (const { old: state } of usersOf(plan, to)) {
        users += 1;
        usersWithLate += state.envelope.late > 0 ? 1 : 0;
      }
    }
    counted.push({ partition, offset, users, usersWithLate, isNew: !isFinished });
  }
  if (!isDryRun) for (const plan of plans) if (!plan.isFinished) await migratePartition(plan, options);
  return counted;
}

async function planOf(
  { from, to }: MigrateOptions,
  conversion: Conversion,
  partition: number,
  onProgress: OldPartition['onProgress'],
): Promise<Plan | undefined> {
  const input: TopicPartition = { topic: 'user-actions', partition };
  const [own, next] = [from.config.appId, to.config.appId];
  const committed = await from.log.committed(own, input);
  if (committed === undefined) return undefined;
  const metadata = decodeMetadata(committed.metadata, input);
  const written = await to.log.committed(next, input);
  const begun = written && { offset: written.offset, metadata: decodeMetadata(written.metadata, input) };
  checkOld(metadata, own, conversion, input);
  const { movedTo } = metadata;
  if (movedTo !== undefined && movedTo !== next) throw new FreshetError('APP_MOVED', movedTo, { position: input });
  if (begun !== undefined && movedTo === undefined) {
    throw new FreshetError('MIGRATION_REFUSED', `${next} has a state of its own`, { position: input });
  }
  const isFinished = begun !== undefined && begun.metadata.unfinished === undefined;
  const old = { owner: from, partition, offset: committed.offset, metadata, conversion, onProgress };
  if (!isFinished) await checkJoin(from, partition, metadata);
  return { old, begun, isFinished };
}

/** What the join has not read yet it would read as of the new layout, which it is not. */
async function checkJoin(
  { log, config }: ResetOwner,
  partition: number,
  { featuresEnd, featuresStart }: CommitMetadata,
): Promise<void> {
  const input = { topic: 'sequence-features', partition };
  const { offset = featuresStart } = (await log.committed(config.appId, input)) ?? {};
  if (offset >= featuresEnd) return;
  const detail = `the join of ${config.appId} is at ${offset}, the features end at ${featuresEnd}`;
  const remedy = 'Run the old application once more: freshet run --until-end.';
  throw new FreshetError('MIGRATION_REFUSED', detail, { position: input, remedy });
}

async function migratePartition(plan: Plan, { from, to }: MigrateOptions): Promise<void> {
  const { old, begun } = plan;
  const { partition, offset, metadata, conversion } = old;
  const { codec, config } = to;
  const input: TopicPartition = { topic: 'user-actions', partition };
  const layout = stateLayoutHash(conversion.to);
  await closeOld(old, config.appId);
  await takeOverJoin(from, to, partition, layout);
  const writer = await to.log.openWriter(`${config.appId}-user-actions-${partition}`);
  try {
    const carried = { ...metadata, generation: undefined, movedTo: undefined };
    const mover = new StateMover({
      ...{ layout: conversion.to, codec, writer, input, offset, kind: 'migrate' },
      // Its own features begin behind those of the old one.
      metadata: begun?.metadata ?? { ...carried, layout, featuresStart: metadata.featuresEnd, inputStart: offset },
      loadScorer: () => to.loadScorer(),
      maxOutputBytes: config.commit.maxOutputBytes,
    });
    if (begun === undefined) await mover.begin();
    const activations = await Activations.read(to, partition, offset, metadata);
    for await (const user of usersOf(plan, to)) {
      const state: UserState = { ...user.old, sequences: user.converted.sequences };
      await mover.add({
        userId: state.userId,
        isRemoved: false,
        after: { state, table: await activations.tableAt(state.version) },
        timestampMs: state.envelope.newestArrivalTimeMs,
        history: historyOf(user, conversion, codec),
      });
    }
    await mover.finish(offset, {});
  } finally {
    await writer.close();
  }
}

/**
 * The users that are to be written: those that an earlier call has not. What the old application wrote of the others may
 * have been compacted away since.
 */
async function* usersOf({ old, begun }: Plan, to: ResetOwner): AsyncGenerator<ConvertedUser, void> {
  const { partition, onProgress } = old;
  if (begun === undefined) return yield* convertedUsers(old);
  const folder = `${to.storeFolder('user-actions', partition)}.migrate`;
  const owner = { ...to, storeFolder: () => folder };
  const settled = { offset: begun.offset, metadata: encodeMetadata({ ...begun.metadata, unfinished: undefined }) };
  const { store } = await committedUsers(owner, settled, {
    partition,
    onProgress: onProgress.bind(undefined, partition),
  });
  try {
    yield* convertedUsers(old, store.states());
  } finally {
    await store.close();
    await rm(folder, { recursive: true, force: true });
  }
}
