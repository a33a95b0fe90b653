/**
 * The job through the embedded log: 1.2 million actions, 8 partitions, one features record a changed user and commit.
 * The log is filled before, by another process. `--profile` is Node's: `node --cpu-prof bench/embedded.ts`.
 */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../src/base/config.ts';
import { addCounts } from '../src/base/counts.ts';
import { createLogger } from '../src/base/logger.ts';
import { packagePath } from '../src/base/package-root.ts';
import { boundProcessMemory } from '../src/base/process-memory.ts';
import type { FoldRow, Score, Scorer } from '../src/intent/scorer.ts';
import { records } from '../src/log/newest.ts';
import { Deployment } from '../src/run/deployment.ts';
import { tallyOf } from '../src/run/tally.ts';
import { FeatureTask, type StepPoint } from '../src/task/feature-task.ts';
import { measured, printResult, seconds, Shares } from './report.ts';
import { WORKLOAD } from './workload.ts';

/** The part of the work that ends at each point of a step. */
const PARTS = new Map<StepPoint, string>([
  ['read', 'read log'],
  ['reduced', 'load, reduce'],
  ['folded', 'describe, encode'],
  ['log-committed', 'commit log'],
  ['store-committed', 'commit store'],
]);

boundProcessMemory();
const dataDir = await mkdtemp(join(tmpdir(), 'freshet-bench-'));
try {
  // The input has its producers in other processes, in service and here: their memory is not the job's.
  execFileSync(process.execPath, [packagePath('bench', 'fill-log.ts'), dataDir], { stdio: 'inherit' });
  const config = loadConfig({
    env: {},
    flags: { dataDir },
    cwd: process.cwd(),
  });
  const deployment = await Deployment.open(config, createLogger('warn'));
  const scorer = await deployment.loadScorer();
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
      addCounts(counts, Object.entries(task.counts));
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
