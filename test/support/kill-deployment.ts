/** A deployment that may be killed at any moment: what the test and its child processes share. */
import { join } from 'node:path';
import { pino } from 'pino';
import { loadConfig } from '../../src/base/config.ts';
import { addCounts } from '../../src/base/counts.ts';
import type { Scorer } from '../../src/intent/scorer.ts';
import { JoinTask, type JoinStepPoint } from '../../src/join/join-task.ts';
import { Deployment } from '../../src/run/deployment.ts';
import { FeatureTask, type StepPoint } from '../../src/task/feature-task.ts';

export type Step = StepPoint | `join ${JoinStepPoint}`;

export const FEATURE_STEPS: readonly Step[] = ['read', 'reduced', 'folded', 'log-committed', 'store-committed'];
export const JOIN_STEPS: readonly Step[] = ['join read', 'join joined', 'join log-committed', 'join store-committed'];

/** What one child process is to do. */
export interface KillJob {
  readonly folder: string;
  readonly commitMaxRecords: number;
  /** Null: the parent kills. */
  readonly kill: {
    readonly step: Step;
    /** The first is 1. */
    readonly occurrence: number;
    /** At the step, or after the code has gone on: in the middle of what comes next. */
    readonly when: 'at' | 'after';
  } | null;
}

export function openDeployment(folder: string, commitMaxRecords: number): Promise<Deployment> {
  const flags = { dataDir: join(folder, 'data'), partitions: 4, commitMaxRecords };
  const config = loadConfig({ env: {}, flags, cwd: folder });
  return Deployment.open(config, pino({ level: 'silent' }));
}

export interface DriveOptions {
  readonly reached?: (step: Step) => void;
  readonly onStarted?: () => void;
}

/** Runs features and join of all partitions to the end of the input; what became of the input, by outcome. */
export async function drive(
  deployment: Deployment,
  scorer: Scorer,
  { reached = () => undefined, onStarted = () => undefined }: DriveOptions = {},
): Promise<Record<string, number>> {
  const pairs: { features: FeatureTask; join: JoinTask }[] = [];
  for (let partition = 0; partition < deployment.config.partitions; partition += 1) {
    const { log, codec, itemVersions, config, logger } = deployment;
    const shared = { log, codec, config, logger, partition };
    const features = new FeatureTask({
      ...shared,
      itemVersions,
      scorer,
      storeFolder: deployment.storeFolder('user-actions', partition),
      onStep: reached,
    });
    const join = new JoinTask({
      ...shared,
      storeFolder: deployment.storeFolder('join', partition),
      onStep: (point) => reached(`join ${point}`),
    });
    await features.start();
    await join.start();
    pairs.push({ features, join });
  }
  onStarted();
  for (let progressed = true; progressed;) {
    progressed = false;
    for (const { features, join } of pairs) {
      const { records } = await features.step();
      const { records: joined } = await join.step();
      progressed ||= records + joined > 0;
    }
  }
  const counts: Record<string, number> = {};
  for (const { features, join } of pairs) {
    addCounts(counts, Object.entries(features.counts));
    await features.close();
    await join.close();
  }
  return counts;
}
