/** `freshet replay --out`, `--topic-prefix`: a replay that writes what the stream would write, elsewhere. */
import { join, resolve } from 'node:path';
import type { Config } from '../base/config.ts';
import { FreshetError } from '../base/errors.ts';
import type { Log } from '../log/log.ts';
import { TARGET_TOPICS } from '../replay/overlay-log.ts';
import { replayInto, type Replayed } from '../replay/replay-run.ts';
import { claimFolder, type ReplayIdentity } from '../replay/replay-identity.ts';
import { shapingHash } from '../replay/shaping-config.ts';
import { translationBetween } from '../replay/translation.ts';
import type { Codec } from '../serde/codec.ts';
import { Deployment } from '../run/deployment.ts';
import { declareTopics } from '../../topics/index.ts';
import { grouped } from './progress.ts';
import type { ReplayInput, ReplayResult } from './replay.ts';

export interface TargetFlags {
  readonly out?: string;
  readonly topicPrefix?: string;
}

interface Target {
  readonly log: Log;
  readonly codec: Codec;
  readonly config: Config;
  /** Holds the stores. */
  readonly folder: string;
  readonly deleteRetentionMs: number;
  /** For people. */
  readonly name: string;
  readonly json: object;
}

export async function replayToTarget(input: ReplayInput, flags: TargetFlags): Promise<ReplayResult> {
  const { deployment, stretches, users, line, config, logger, signal } = input;
  const startedMs = performance.now();
  const scorer = await deployment.loadScorer();
  const identity: ReplayIdentity = {
    source: config.brokers.length > 0 ? [...config.brokers].sort().join(',') : config.dataDir,
    partitions: config.partitions,
    from: Object.fromEntries(
      stretches.map(({ partition, from, isFromStart }) => [partition, isFromStart ? null : from]),
    ),
    users: users?.hash ?? null,
    config: shapingHash(config),
    model: scorer.hash,
  };
  const target = await (flags.out === undefined ? openTopics : openFolder)(input, flags, identity);
  try {
    const { log: source, codec, itemVersions } = deployment;
    const replayed = await replayInto({
      ...{ source, codec, itemVersions, scorer, stretches, users, logger, signal, sourceAppId: config.appId },
      ...{ target: target.log, config: target.config, folder: target.folder },
      deleteRetentionMs: target.deleteRetentionMs,
      translation: translationBetween(codec, target.codec),
      onProgress: ({ partition, records, features, left }) => {
        const text = `partition ${partition}: ${grouped(records)} records, ${grouped(features)} features, ${grouped(left)} to go`;
        line.update(text, { partition, records, features, left });
      },
    });
    const seconds = Math.round((performance.now() - startedMs) / 100) / 10;
    return { json: { target: target.json, ...replayed, seconds }, text: textOf(target, replayed) };
  } finally {
    await target.log.close();
  }
}

/** A data folder without input, to be read by `freshet read` and `freshet inspect`. */
async function openFolder(
  { config, logger }: ReplayInput,
  flags: TargetFlags,
  identity: ReplayIdentity,
): Promise<Target> {
  const folder = resolve(flags.out!);
  await claimFolder(folder, identity);
  const own = { ...config, dataDir: folder, brokers: [], registry: null };
  const { log, codec, deleteRetentionMs } = await Deployment.open(own, logger);
  return { log, codec, config: own, folder, deleteRetentionMs, name: folder, json: { folder } };
}

async function openTopics(input: ReplayInput, flags: TargetFlags, identity: ReplayIdentity): Promise<Target> {
  const { deployment, config, logger } = input;
  const topicPrefix = flags.topicPrefix!;
  if (config.brokers.length === 0) throw new FreshetError('USAGE', '--topic-prefix needs --brokers; use --out here');
  const own: Config = { ...config, appId: `${topicPrefix}${config.appId}` };
  if (!/^[A-Za-z0-9._-]{1,100}$/.test(topicPrefix) || own.appId.length > 100) {
    throw new FreshetError('USAGE', '--topic-prefix must match /^[A-Za-z0-9._-]{1,100}$/, with the app id behind it');
  }
  const folder = join(config.dataDir, 'replay', topicPrefix);
  await claimFolder(folder, identity);
  const { openKafkaLog } = await import('../log/kafka.ts');
  const log = openKafkaLog(own, logger, { topicPrefix });
  await log.createTopics(declareTopics(config.partitions).filter(({ name }) => TARGET_TOPICS.has(name)));
  const { codec, deleteRetentionMs } = deployment;
  const name = `topics ${topicPrefix}…`;
  return { log, codec, config: own, folder, deleteRetentionMs, name, json: { topicPrefix, appId: own.appId } };
}

function textOf({ name }: Target, { records, features, counts, complete, partitions }: Replayed): string {
  const outcomes = Object.entries(counts).map(([outcome, count]) => `${grouped(count)} ${outcome}`);
  const seeded = partitions.flatMap(({ partition, from, seeded: seeds }) => {
    if (seeds === null) return [];
    const unknown = seeds.unknown === 0 ? '' : `, ${grouped(seeds.unknown)} of whom nothing from before is left`;
    const version = seeds.hasItemVersion ? '' : ', no item vectors in force';
    return [`  partition ${partition} from ${from}: ${grouped(seeds.users)} users as they were${unknown}${version}`];
  });
  return [
    `${grouped(records)} records taken, ${grouped(features)} features written to ${name}`,
    ...(outcomes.length === 0 ? [] : [`  since the start: ${outcomes.join(', ')}`]),
    ...seeded,
    ...(complete ? [] : ['Interrupted: run again, it goes on.']),
  ].join('\n');
}
