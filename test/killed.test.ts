/**
 * Processes killed by SIGKILL, one after another in one data folder, in and between all steps of a commit: what is kept
 * and what was emitted in the end is that of a run never disturbed.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Scorer } from '../src/intent/scorer.ts';
import { records } from '../src/log/newest.ts';
import type { Deployment } from '../src/run/deployment.ts';
import { hashDeployment } from '../src/run/inspect.ts';
import type { TopicName } from '../topics/index.ts';
import type { RankingFeaturesRecord } from '../topics/records.ts';
import { drive, FEATURE_STEPS, JOIN_STEPS, openDeployment, type KillJob } from './support/kill-deployment.ts';
import { loadKillInput } from './support/kill-input.ts';
import { loadKillScorer } from './support/kill-scorer.ts';

/** A killed process leaves what it wrote in the page cache: a disk would add nothing but time. */
const ROOT = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'freshet-killed-'));
const WORKER = join(import.meta.dirname, 'support', 'kill-worker.ts');

const RUNS = 50;
const BATCH_SIZES = [20, 120];
const UNDISTURBED_BATCH = 20_000;
const OCCURRENCES = 6;
const KILLS_FROM_OUTSIDE = 12;
const OUTSIDE_DELAY_MS = 40;

/** Six kills at each step of the features, three of them after it; two at each of the join; the rest from outside. */
function jobs(folder: string): KillJob[] {
  const kills: KillJob['kill'][] = [
    ...FEATURE_STEPS.flatMap((step) => Array.from({ length: 6 }, (_, index) => kill(step, index))),
    ...JOIN_STEPS.flatMap((step) => Array.from({ length: 2 }, (_, index) => kill(step, index))),
    ...Array.from({ length: KILLS_FROM_OUTSIDE }, () => null),
  ];
  // 7 and 50 have no common divisor: each kill comes once, and the steps take turns.
  return Array.from({ length: RUNS }, (_, run) => ({
    folder,
    commitMaxRecords: BATCH_SIZES[run % BATCH_SIZES.length]!,
    kill: kills[(run * 7) % RUNS]!,
  }));
}

function kill(step: (typeof FEATURE_STEPS)[number], index: number): KillJob['kill'] {
  return { step, occurrence: 1 + randomInt(OCCURRENCES), when: index % 2 === 0 ? 'at' : 'after' };
}

/** A child that has loaded the model and waits for its job. */
async function readyChild(): Promise<ChildProcess> {
  const child = fork(WORKER, { execArgv: [] });
  await once(child, 'message');
  return child;
}

/** Runs the job to its end; the signal that ended it. */
async function killed(child: ChildProcess, job: KillJob): Promise<NodeJS.Signals | null> {
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const started = once(child, 'message');
  child.send(job);
  if (job.kill === null) {
    await started;
    await sleep(randomInt(OUTSIDE_DELAY_MS));
    child.kill('SIGKILL');
  }
  const [, signal] = await exited;
  return signal;
}

/** Everything that must not depend on what happened on the way. */
async function outcome(deployment: Deployment, scorer: Scorer): Promise<object> {
  const { log, codec, config } = deployment;
  const rejected: object[] = [];
  const history = new Map<string, string>();
  const ranking = new Map<string, object>();
  for (let partition = 0; partition < config.partitions; partition += 1) {
    const read = async (topic: TopicName) => {
      const at = { topic, partition };
      return Array.fromAsync(records(log, at, 0, await log.endOffset(at)));
    };
    rejected.push(...(await read('rejected-actions')));
    for (const { key, value } of await read('action-history'))
      history.set(key!.toString('hex'), value!.toString('hex'));
    for (const { key, value } of await read('ranking-features')) {
      const { realtime, ...rest } = codec.decode<RankingFeaturesRecord>('ranking-features-value', value!);
      // Offsets in sequence-features depend on where commits were cut; the version says which input they stand for.
      ranking.set(key!.toString(), { ...rest, realtime: realtime && { ...realtime, offset: 0 } });
    }
  }
  const hash = await hashDeployment({
    ...deployment,
    loadScorer: async () => scorer,
    storeFolder: deployment.storeFolder.bind(deployment),
    close: deployment.close.bind(deployment),
  });
  return { hash, rejected, history: [...history].sort(), ranking: [...ranking].sort() };
}

let scorer: Scorer;

beforeAll(async () => {
  scorer = await loadKillScorer();
  await loadKillInput(join(ROOT, 'killed'), scorer);
  cpSync(join(ROOT, 'killed'), join(ROOT, 'undisturbed'), { recursive: true });
});

afterAll(() => {
  rmSync(ROOT, { recursive: true, force: true });
});

async function runToEnd(folder: string): Promise<object> {
  const deployment = await openDeployment(join(ROOT, folder), UNDISTURBED_BATCH);
  const counts = await drive(deployment, scorer);
  const result = { counts, ...(await outcome(deployment, scorer)) };
  await deployment.close();
  return result;
}

describe('fifty runs killed in one data folder', () => {
  it('end with the states, features, rejections, history and ranking features of a run never disturbed', async () => {
    const tally = new Map<string, number>();
    const todo = jobs(join(ROOT, 'killed'));
    const ahead = [readyChild(), readyChild()];
    for (const [index, job] of todo.entries()) {
      const child = await ahead.shift()!;
      if (index + 2 < todo.length) ahead.push(readyChild());
      expect(await killed(child, job), `run ${index} was to be killed`).toBe('SIGKILL');
      const where = job.kill === null ? 'from outside' : `${job.kill.when} ${job.kill.step}`;
      tally.set(where, (tally.get(where) ?? 0) + 1);
    }
    console.info('killed', Object.fromEntries([...tally].sort()));
    for (const step of FEATURE_STEPS) {
      expect((tally.get(`at ${step}`) ?? 0) + (tally.get(`after ${step}`) ?? 0)).toBeGreaterThanOrEqual(5);
    }
    expect(await runToEnd('killed')).toEqual(await runToEnd('undisturbed'));
  }, 400_000);
});
