/**
 * Seeds a new application in a data folder of its own from an old one in another, also with another number of partitions:
 * users move to where murmur2 puts them. The two inputs have no positions in common, so the new one has to begin behind
 * the old: the old application has taken all of its input, and the new input is empty. Of it no user has consumed
 * anything, which the version −1 says.
 */
import { isDeepStrictEqual } from 'node:util';
import { FreshetError } from '../base/errors.ts';
import { partitionOf } from '../base/murmur2.ts';
import type { TopicPartition } from '../log/log.ts';
import { decodeMetadata, type CommitMetadata } from '../task/commit-metadata.ts';
import { hasRecords } from '../task/read-on.ts';
import { stateLayoutHash } from '../../state/layout.ts';
import { Activations } from './activations.ts';
import type { Conversion } from './convert-state.ts';
import { conversionOf } from './conversion.ts';
import { checkOld, convertedUsers, historyOf, type OldPartition } from './converted-users.ts';
import type { MigrateOptions, PartitionMigration } from './migrate.ts';
import type { ResetOwner } from './reset-plan.ts';
import { StateMover } from './state-mover.ts';

/** Before the first record: the version of who has consumed none. */
const NOTHING_CONSUMED = -1;
/** Of all partitions together. */
const HELD_USERS = 4_000;

/**
 * One entry a partition of the old application. Errors as of `migrateInPlace`; the old application stays as it is.
 */
export async function migrateToFolder(options: MigrateOptions): Promise<PartitionMigration[]> {
  const { from, to, isDryRun, onProgress } = options;
  const conversion = conversionOf(from.config, to.config, false);
  const olds: OldPartition[] = [];
  for (let partition = 0; partition < from.config.partitions; partition += 1) {
    const old = await oldPartition(from, conversion, partition, onProgress.bind(undefined, partition));
    if (old !== undefined) olds.push(old);
  }
  const [first] = olds;
  if (first === undefined) throw new FreshetError('APP_UNKNOWN', from.config.appId);
  const { activation } = first.metadata;
  if (olds.some((old) => !isDeepStrictEqual(old.metadata.activation, activation))) {
    throw new FreshetError('MIGRATION_REFUSED', 'the partitions have other item vectors in force');
  }
  const isNew = !(await isFinished(to));
  if (isNew) await checkEmpty(to);
  const counted: PartitionMigration[] = [];
  for (const old of olds) {
    let [users, usersWithLate] = [0, 0];
    for await (const { old: state } of convertedUsers(old)) {
      users += 1;
      usersWithLate += state.envelope.late > 0 ? 1 : 0;
    }
    counted.push({ partition: old.partition, offset: old.offset, users, usersWithLate, isNew });
  }
  if (isNew && !isDryRun) await moveUsers(olds, conversion, activation, options);
  return counted;
}

async function oldPartition(
  owner: ResetOwner,
  conversion: Conversion,
  partition: number,
  onProgress: OldPartition['onProgress'],
): Promise<OldPartition | undefined> {
  const { log, config } = owner;
  const input: TopicPartition = { topic: 'user-actions', partition };
  const committed = await log.committed(config.appId, input);
  const [offset, end] = [committed?.offset ?? 0, await log.endOffset(input)];
  if (offset < end) {
    const detail = `${config.appId} is at ${offset} of ${end}: what it has not taken would be lost`;
    const remedy = 'Run it to the end of its input (freshet run --until-end), and let producers write to the new one.';
    throw new FreshetError('MIGRATION_REFUSED', detail, { position: input, remedy });
  }
  if (committed === undefined) return undefined;
  const metadata = decodeMetadata(committed.metadata, input);
  checkOld(metadata, config.appId, conversion, input);
  return { owner, partition, offset, metadata, conversion, onProgress };
}

/** Whether an earlier call has come to its end. */
async function isFinished({ log, config }: ResetOwner): Promise<boolean> {
  for (let partition = 0; partition < config.partitions; partition += 1) {
    const input = { topic: 'user-actions', partition };
    const committed = await log.committed(config.appId, input);
    if (committed === undefined || decodeMetadata(committed.metadata, input).unfinished !== undefined) return false;
  }
  return true;
}

/** But for what an earlier call has written, which is written again. */
async function checkEmpty({ log, config }: ResetOwner): Promise<void> {
  for (let partition = 0; partition < config.partitions; partition += 1) {
    const input = { topic: 'user-actions', partition };
    const isBegun = (await log.committed(config.appId, input)) !== undefined;
    const topics = ['user-actions', 'ranking-features', ...(isBegun ? [] : ['sequence-features', 'action-history'])];
    for (const topic of topics) {
      if (!(await hasRecords(log, { topic, partition }))) continue;
      const remedy = 'Migrate into a new data folder, and load what comes after the old input there afterwards.';
      throw new FreshetError('MIGRATION_REFUSED', 'it is not empty', { position: { topic, partition }, remedy });
    }
  }
}

async function moveUsers(
  olds: readonly OldPartition[],
  conversion: Conversion,
  activation: CommitMetadata['activation'],
  { from, to }: MigrateOptions,
): Promise<void> {
  const { log, codec, config } = to;
  const movers: StateMover[] = [];
  const writers = [];
  try {
    for (let partition = 0; partition < config.partitions; partition += 1) {
      const writer = await log.openWriter(`${config.appId}-user-actions-${partition}`);
      writers.push(writer);
      const end = (topic: string): Promise<number> => log.endOffset({ topic, partition });
      const mover = new StateMover({
        ...{ layout: conversion.to, codec, writer, offset: 0, kind: 'migrate' },
        input: { topic: 'user-actions', partition },
        metadata: {
          featuresEnd: await end('sequence-features'),
          historyEnd: await end('action-history'),
          rejectedEnd: await end('rejected-actions'),
          ...{ featuresStart: 0, activation, layout: stateLayoutHash(conversion.to), counts: {} },
          seededFrom: { appId: from.config.appId, activation },
        },
        loadScorer: () => to.loadScorer(),
        maxOutputBytes: config.commit.maxOutputBytes / config.partitions,
        maxUsers: Math.ceil(HELD_USERS / config.partitions),
      });
      movers.push(mover);
      await mover.begin();
    }
    for (const old of olds) {
      const activations = await Activations.read(from, old.partition, old.offset, old.metadata);
      for await (const user of convertedUsers(old)) {
        const { userId, old: before, converted } = user;
        const partition = partitionOf(Buffer.from(userId), config.partitions);
        const place = { version: NOTHING_CONSUMED, firstOffset: NOTHING_CONSUMED, partition };
        const state = { ...before, ...place, sequences: converted.sequences };
        await movers[partition]!.add({
          userId,
          isRemoved: false,
          after: { state, table: await activations.tableAt(before.version) },
          timestampMs: state.envelope.newestArrivalTimeMs,
          history: historyOf(user, conversion, codec).filter(({ value }) => value !== null),
        });
      }
    }
    for (const mover of movers) await mover.finish(0, {});
  } finally {
    for (const writer of writers) await writer.close();
  }
}
