/** The shipped log, played through everything: load with daily vectors, features, join, a score for every user. */
import { packagePath } from '../base/package-root.ts';
import type { Scorer } from '../intent/scorer.ts';
import { loadActions } from '../ingest/load-actions.ts';
import type { Deployment } from '../run/deployment.ts';
import { tallyOf, type Tally } from '../run/tally.ts';
import { GroupWorker } from '../run/group-worker.ts';
import { Worker, type Progress, type RunResult } from '../run/worker.ts';
import { DailyVectors } from '../vectors/daily.ts';
import type { Recipes } from '../vectors/recipes.ts';

export const DEMO_FILE = packagePath('data', 'deskdrop', 'actions.csv.gz');

export interface Played extends Tally {
  readonly loadSeconds: number;
  readonly runSeconds: number;
  /** `sequence-features` records written. */
  readonly features: number;
  /** `ranking-features` records written. */
  readonly joined: number;
  /** Actions per second of the run, from the log to the joined features. */
  readonly actionsPerSecond: number;
}

export type Tell = (text: string, fields: Readonly<Record<string, number>>) => void;

export async function play(deployment: Deployment, scorer: Scorer, recipes: Recipes, tell: Tell): Promise<Played> {
  const { log, codec, config } = deployment;
  const loadMs = performance.now();
  const daily = new DailyVectors({ codec, partitions: config.partitions, ...recipes });
  await loadActions({
    log,
    codec,
    file: DEMO_FILE,
    dataDir: config.dataDir,
    format: 'deskdrop',
    before: (action) => daily.before(action),
    onProgress: ({ rows, rowsPerSecond }) => {
      tell(`loading: ${count(rows)} actions, ${count(rowsPerSecond)}/s`, { rows });
    },
  });
  const runMs = performance.now();
  const result = await runToEnd(deployment, scorer, ({ records, lag, features }) => {
    const perSecond = (records * 1000) / (performance.now() - runMs);
    tell(
      `running: ${count(records)} records, ${count(perSecond)}/s, ${count(features)} features, ${count(lag)} to go`,
      { records, lag },
    );
  });
  const runSeconds = (performance.now() - runMs) / 1000;
  const tally = tallyOf(result.counts);
  return {
    ...tally,
    loadSeconds: (runMs - loadMs) / 1000,
    runSeconds,
    features: result.features,
    joined: result.ranked,
    actionsPerSecond: Math.round(tally.actionsRead / runSeconds),
  };
}

async function runToEnd(
  deployment: Deployment,
  scorer: Scorer,
  onProgress: (progress: Progress) => void,
): Promise<RunResult> {
  if (deployment.config.brokers.length > 0) {
    const { signal } = new AbortController();
    const { membershipOf } = await import('../run/group-member.ts');
    const membership = membershipOf(deployment);
    return new GroupWorker({ deployment, scorer, membership, signal, untilEnd: true, onProgress }).run();
  }
  const worker = new Worker({ deployment, scorer, onProgress });
  await worker.start();
  const result = await worker.run(true);
  await worker.close();
  return result;
}

export const count = (value: number): string => Math.round(value).toLocaleString('en-US');
