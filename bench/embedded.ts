/**
 * The job through the embedded log: 1.2 million actions, 8 partitions, one features record a changed user and commit.
 * Filling the log is not timed. `--profile` is Node's: `node --cpu-prof bench/embedded.ts`.
 */
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../src/base/config.ts';
import { ContentHash } from '../src/base/content-hash.ts';
import { createLogger } from '../src/base/logger.ts';
import { boundYoungGeneration } from '../src/base/young-generation.ts';
import { partitionOf } from '../src/base/murmur2.ts';
import { activateVersion } from '../src/ingest/activate.ts';
import type { FoldRow, Score, Scorer } from '../src/intent/scorer.ts';
import type { NewRecord } from '../src/log/log.ts';
import { records } from '../src/log/newest.ts';
import { Deployment } from '../src/run/deployment.ts';
import { tallyOf } from '../src/run/tally.ts';
import { FeatureTask, type StepPoint } from '../src/task/feature-task.ts';
import { measured, printResult, seconds, Shares } from './report.ts';
import { id, itemVector, workload, WORKLOAD } from './workload.ts';

/** The part of the work that ends at each point of a step. */
const PARTS = new Map<StepPoint, string>([
  ['read', 'read log'],
  ['reduced', 'load, reduce'],
  ['folded', 'describe, encode'],
  ['log-committed', 'commit log'],
  ['store-committed', 'commit store'],
]);

boundYoungGeneration();
const dataDir = await mkdtemp(join(tmpdir(), 'freshet-bench-'));
try {
  const config = loadConfig({ env: {}, flags: { dataDir }, cwd: process.cwd() });
  const deployment = await Deployment.open(config, createLogger('warn'));
  const scorer = await deployment.loadScorer();
  await publishVectors();
  await fill();

  const shares = new Shares([...PARTS.values(), 'decode', 'fold', 'idle']);
  const tasks: FeatureTask[] = [];
  for (let partition = 0; partition < config.partitions; partition += 1) {
    const storeFolder = deployment.storeFolder('user-actions', partition);
    const onStep = (point: StepPoint): void => shares.spent(PARTS.get(point)!);
    tasks.push(new FeatureTask({ ...deployment, scorer: timedScorer(), partition, storeFolder, onStep }));
  }
  const counts: Record<string, number> = {};
  const result = await measured(async () => {
    for (const task of tasks) await task.start();
    timeDecoding();
    shares.spent('idle');
    for (let progressed = true; progressed;) {
      progressed = false;
      for (const task of tasks) progressed = (await task.step()).records > 0 || progressed;
    }
    for (const task of tasks) {
      for (const [outcome, count] of Object.entries(task.counts)) counts[outcome] = (counts[outcome] ?? 0) + count;
      await task.close();
    }
    shares.spent('idle');
  });
  const { actionsRead, accepted } = tallyOf(counts);
  const { features, featureBytes } = await featureSizes();
  await deployment.close();
  const storeBytes = await folderBytes(join(dataDir, 'state'));
  printResult({
    name: 'embedded',
    actionsPerSecond: Math.round(actionsRead / result.seconds),
    ...result,
    actions: actionsRead,
    accepted,
    users: WORKLOAD.users,
    features,
    bytesPerFeature: Math.round(featureBytes / features),
    spentSeconds: seconds(shares.spentMs),
    storeBytesPerUser: Math.round(storeBytes / WORKLOAD.users),
    storeBytesPerAction: Math.round((storeBytes / accepted) * 10) / 10,
    logBytesPerAction: Math.round((await folderBytes(join(dataDir, 'log'))) / actionsRead),
  });

  /** A scorer whose folds are a part of their own: what is before one is put down to describing. */
  function timedScorer(): Scorer {
    const fold = async (rows: readonly FoldRow[]): Promise<Score[]> => {
      shares.spent('describe, encode');
      const scores = await scorer.fold(rows);
      shares.spent('fold');
      return scores;
    };
    const { hash, space, dimension, hiddenSize, outcomes, actionTypes } = scorer;
    return { hash, space, dimension, hiddenSize, outcomes, actionTypes, fold };
  }

  function timeDecoding(): void {
    const { codec } = deployment;
    const decode = codec.decode.bind(codec);
    codec.decode = (subject, value, headers) => {
      shares.spent('load, reduce');
      const record = decode(subject, value, headers);
      shares.spent('decode');
      return record as never;
    };
  }

  async function publishVectors(): Promise<void> {
    const { log, codec } = deployment;
    const hash = new ContentHash();
    const row = (itemId: string, value: object): NewRecord => ({
      topic: 'item-embeddings',
      partition: 0,
      timestampMs: 0,
      key: Buffer.from(`bench/${itemId}`),
      value: codec.encode('item-embeddings-value', {
        version: 'bench',
        itemId,
        vector: null,
        scale: 0,
        manifest: null,
        ...value,
      }),
    });
    const rows = Array.from({ length: WORKLOAD.items }, (_, item) => {
      const vector = Buffer.from(itemVector(item, scorer.dimension).buffer);
      const itemId = id('item', item);
      hash.add(itemId, Math.fround(1 / 127), vector);
      return row(itemId, { vector, scale: 1 / 127 });
    });
    const manifest = {
      base: null,
      rowCount: rows.length,
      contentHash: hash.digest(),
      space: scorer.space,
      dimension: scorer.dimension,
    };
    await log.append([...rows, row('', { manifest })]);
    await activateVersion(log, codec, 'bench', { space: scorer.space, timestampMs: 0 });
  }

  async function fill(): Promise<void> {
    let batch: NewRecord[] = [];
    for (const { userId, action, arrivalTimeMs } of workload(WORKLOAD)) {
      const key = Buffer.from(userId);
      batch.push({
        topic: 'user-actions',
        partition: partitionOf(key, config.partitions),
        timestampMs: arrivalTimeMs,
        key,
        value: deployment.codec.encode('user-actions-value', { userId, ...action, surface: action.surface || null }),
      });
      if (batch.length === 10_000) {
        await deployment.log.append(batch);
        batch = [];
      }
    }
    await deployment.log.append(batch);
  }

  async function featureSizes(): Promise<{ features: number; featureBytes: number }> {
    let features = 0;
    let featureBytes = 0;
    for (let partition = 0; partition < config.partitions; partition += 1) {
      const at = { topic: 'sequence-features', partition };
      for await (const { value } of records(deployment.log, at, 0, await deployment.log.endOffset(at))) {
        features += 1;
        featureBytes += value?.length ?? 0;
      }
    }
    return { features, featureBytes };
  }
} finally {
  await rm(dataDir, { recursive: true });
}

async function folderBytes(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return bytes;
}
