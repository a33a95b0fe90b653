/**
 * The audit after the chaos: the same input, at the same offsets and timestamps, through an embedded deployment that
 * nothing disturbed. What Kafka's readers see must be that, byte for byte behind the registry's header.
 */
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { loadConfig, type Config } from '../../../src/base/config.ts';
import { addCounts } from '../../../src/base/counts.ts';
import type { Scorer } from '../../../src/intent/scorer.ts';
import type { Log, LogRecord, NewRecord } from '../../../src/log/log.ts';
import { records } from '../../../src/log/newest.ts';
import type { VerifyReport } from '../../../src/replay/verify-report.ts';
import { verify } from '../../../src/replay/verify.ts';
import { Deployment } from '../../../src/run/deployment.ts';
import { decodeMetadata } from '../../../src/task/commit-metadata.ts';
import { PREFIX_BYTES } from '../../../src/serde/frame.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT, type TopicName } from '../../../topics/index.ts';
import type { RankingFeaturesRecord, RejectedActionRecord, SequenceFeaturesRecord } from '../../../topics/records.ts';
import { drive } from '../kill-deployment.ts';

const SUBJECTS = {
  'item-embeddings': 'item-embeddings-value',
  'user-embeddings': 'user-embeddings-value',
  'user-actions': 'user-actions-value',
} as const;

type Source = Pick<Deployment, 'log' | 'codec' | 'config'>;

/** Everything that must not depend on what happened on the way. Bodies in hex, by user or key. */
export interface Outcome {
  /** Input records by outcome. */
  readonly counts: Readonly<Record<string, number>>;
  /** Input records that are told to be neither accepted nor rejected by the counts. */
  readonly unaccounted: number;
  readonly features: ReadonlyMap<string, string>;
  readonly history: ReadonlyMap<string, string>;
  /** History entries beyond one a key. */
  readonly doubledHistory: number;
  /** `partition:offset cause`, once for each record. */
  readonly rejected: readonly string[];
  readonly ranking: ReadonlyMap<string, object>;
}

/** The outcome on Kafka, as its readers see it. */
export async function kafkaOutcome(source: Source): Promise<Outcome> {
  const { log, config } = source;
  const counts: Record<string, number> = {};
  for (let partition = 0; partition < config.partitions; partition += 1) {
    const input = { topic: 'user-actions', partition };
    const committed = await log.committed(config.appId, input);
    if (committed === undefined) continue;
    addCounts(counts, Object.entries(decodeMetadata(committed.metadata, input).counts));
  }
  return outcome(source, counts);
}

/** The outcome of the same input, undisturbed. Fails if an offset could not be kept. */
export async function embeddedOutcome(source: Source, scorer: Scorer): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), 'freshet-audit-'));
  const { partitions, appId } = source.config;
  const own = loadConfig({ env: {}, flags: { dataDir: folder, partitions, appId }, cwd: folder });
  const config: Config = { ...own, sequences: source.config.sequences };
  const deployment = await Deployment.open(config, pino({ level: 'silent' }));
  try {
    for (const topic of ['item-embeddings', 'user-embeddings', 'user-actions'] as const) {
      await copy(source, deployment, topic);
    }
    return await outcome(deployment, await drive(deployment, scorer));
  } finally {
    await deployment.close();
    rmSync(folder, { recursive: true });
  }
}

/** What a replay of the log says of every record that was emitted, not only of the newest ones. */
export async function verifyAll(deployment: Deployment, scorer: Scorer): Promise<VerifyReport> {
  const { partitions } = deployment.config;
  const stretches = Array.from({ length: partitions }, (_, partition) => ({ partition, from: 0, to: Infinity }));
  return verify({ ...deployment, scorer, stretches });
}

/** How often a user's version went back in the order in which readers see its features. */
export async function versionsGoneBack({ log, codec, config }: Source): Promise<number> {
  let count = 0;
  for (let partition = 0; partition < config.partitions; partition += 1) {
    const last = new Map<string, number>();
    for await (const { key, value, headers } of all(log, 'sequence-features', partition)) {
      if (value === null) continue;
      const user = key!.toString('latin1');
      const { version } = codec.decode<SequenceFeaturesRecord>('sequence-features-value', value, headers);
      if (version <= (last.get(user) ?? -1)) count += 1;
      last.set(user, version);
    }
  }
  return count;
}

async function copy({ log }: Source, to: Deployment, topic: keyof typeof SUBJECTS): Promise<void> {
  const partitions = (await log.topics()).get(topic)!;
  for (let partition = 0; partition < partitions; partition += 1) {
    let batch: LogRecord[] = [];
    const flush = async (): Promise<void> => {
      const copies = batch.map((record) => embeddedRecord(record, to, topic, partition));
      const offsets = await to.log.append(copies);
      const moved = offsets.findIndex((offset, index) => topic === 'user-actions' && offset !== batch[index]!.offset);
      if (moved >= 0) throw new Error(`${topic}-${partition}: offset ${batch[moved]!.offset} became ${offsets[moved]}`);
      batch = [];
    };
    for await (const record of all(log, topic, partition)) {
      batch.push(record);
      if (batch.length === 5_000) await flush();
    }
    await flush();
  }
}

/** Under the same subject, since schema ids differ between registries: also of what no reader can decode. */
function embeddedRecord(
  { timestampMs, key, value, headers }: LogRecord,
  { codec }: Pick<Source, 'codec'>,
  topic: keyof typeof SUBJECTS,
  partition: number,
): NewRecord {
  const subject = CONTROL_HEADER in headers ? CONTROL_SUBJECT : SUBJECTS[topic];
  const framed = value === null ? null : codec.frame(subject, value.subarray(PREFIX_BYTES));
  return { topic, partition, timestampMs, key, headers, value: framed };
}

async function outcome({ log, codec, config }: Source, counts: Record<string, number>): Promise<Outcome> {
  const features = new Map<string, string>();
  const history = new Map<string, string>();
  const ranking = new Map<string, object>();
  const rejected: string[] = [];
  let doubledHistory = 0;
  let input = 0;
  for (let partition = 0; partition < config.partitions; partition += 1) {
    for await (const { key, value, headers } of all(log, 'sequence-features', partition)) {
      if (value === null) features.delete(key!.toString('latin1'));
      else features.set(key!.toString('latin1'), codec.body(value, headers).toString('hex'));
    }
    for await (const { key, value, headers } of all(log, 'action-history', partition)) {
      const name = key!.toString('hex');
      if (value === null) history.delete(name);
      else {
        if (history.has(name)) doubledHistory += 1;
        history.set(name, codec.body(value, headers).toString('hex'));
      }
    }
    for await (const { value, headers } of all(log, 'rejected-actions', partition)) {
      const { offset, cause } = codec.decode<RejectedActionRecord>('rejected-actions-value', value!, headers);
      rejected.push(`${partition}:${offset} ${cause}`);
    }
    for await (const { key, value, headers } of all(log, 'ranking-features', partition)) {
      const user = key!.toString('latin1');
      if (value === null) ranking.delete(user);
      else {
        const { realtime, ...rest } = codec.decode<RankingFeaturesRecord>('ranking-features-value', value, headers);
        // Offsets in sequence-features depend on where commits were cut.
        ranking.set(user, { ...rest, realtime: realtime && { ...realtime, offset: 0 } });
      }
    }
    input += await log.endOffset({ topic: 'user-actions', partition });
  }
  const accounted = Object.values(counts).reduce((sum, count) => sum + count, 0);
  return { counts, unaccounted: input - accounted, features, history, doubledHistory, rejected, ranking };
}

async function* all(log: Log, topic: TopicName, partition: number): AsyncGenerator<LogRecord> {
  const at = { topic, partition };
  yield* records(log, at, await log.startOffset(at), await log.endOffset(at));
}
