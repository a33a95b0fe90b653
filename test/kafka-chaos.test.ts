/**
 * Exactly once, on a real broker, with real processes killed. 200,000 actions while workers die at every step of a commit,
 * sleep past their sessions, come and go, and while the broker is bounced; then the audit against an undisturbed run.
 * `npm run test:chaos` disturbs thirty times; CHAOS_SEED repeats a run.
 */
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { expect, it, onTestFailed } from 'vitest';
import { loadConfig } from '../src/base/config.ts';
import { FreshetError } from '../src/base/errors.ts';
import { activateVersion } from '../src/ingest/activate.ts';
import { openKafkaLog } from '../src/log/kafka.ts';
import type { NewRecord } from '../src/log/log.ts';
import { Deployment } from '../src/run/deployment.ts';
import { isRetryable } from '../src/task/retry.ts';
import { embeddedOutcome, kafkaOutcome, verifyAll, versionsGoneBack } from './support/chaos/audit.ts';
import { disturbances, type Stage } from './support/chaos/disturbances.ts';
import { ChaosInput } from './support/chaos/input.ts';
import { WorkerPool } from './support/chaos/pool.ts';
import { randomFrom } from './support/random.ts';
import { untilConsumed } from './support/until-consumed.ts';
import { declareTopics } from '../topics/index.ts';
import { kafkaForTests, startOwnKafka, uniqueAppId } from './support/kafka.ts';

const DISTURBANCES = Number(process.env['CHAOS_DISTURBANCES'] ?? 5);
const SEED = Number(process.env['CHAOS_SEED'] ?? randomInt(2 ** 31));
/** At least: workers that are to die at a step are fed until they come to it. */
const ACTIONS = 200_000;
const PARTITIONS = 4;
const SESSION_TIMEOUT_MS = 6_000;
const APPEND_RECORDS = 5_000;
const CATCH_UP_MS = 300_000;
const FOLDER = mkdtempSync(join(tmpdir(), 'freshet-chaos-'));

it(
  `is exactly once through ${DISTURBANCES} disturbances`,
  { timeout: 60_000 + DISTURBANCES * 60_000 + CATCH_UP_MS },
  async () => {
    // What the workers logged is worth keeping when something went wrong.
    onTestFailed(() => {
      console.error(`logs of the workers: ${FOLDER}`);
    });
    console.log(`chaos: seed ${SEED}`);
    const kafka = await startOwnKafka();
    const flags = {
      brokers: kafka.brokers,
      registry: kafkaForTests().registry,
      appId: uniqueAppId('chaos'),
      partitions: PARTITIONS,
      commitIntervalMs: 100,
      commitMaxRecords: 500,
      kafkaSessionTimeoutMs: SESSION_TIMEOUT_MS,
      kafkaHeartbeatIntervalMs: 1_000,
    };
    const config = loadConfig({ env: {}, flags: { ...flags, dataDir: join(FOLDER, 'test') }, cwd: FOLDER });
    const logger = pino({ level: 'silent' });
    const admin = openKafkaLog(config, logger);
    await admin.createTopics(declareTopics(PARTITIONS));
    await admin.close();
    const deployment = await Deployment.open(config, logger);
    const scorer = await deployment.loadScorer();
    const { log, codec } = deployment;
    const input = new ChaosInput({ codec, partitions: PARTITIONS, seed: SEED, ...scorer });
    const append = async (records: readonly NewRecord[]): Promise<void> => {
      for (let from = 0; from < records.length; from += APPEND_RECORDS) {
        const some = records.slice(from, from + APPEND_RECORDS);
        await patiently(() => log.append(some));
      }
    };
    const publish = async (version: string): Promise<void> => {
      await append(input.itemVersion(version));
      await patiently(() => activateVersion(log, codec, version, { space: scorer.space, timestampMs: 0 }));
    };
    let fed = 0;
    const feed = async (count: number): Promise<void> => {
      const records = input.actions(count);
      fed += records.length;
      await append(records);
    };

    const pool = new WorkerPool(FOLDER, flags);
    try {
      await publish('v1');
      await feed(ACTIONS / (DISTURBANCES + 2));
      pool.start();
      pool.start();
      const random = randomFrom(SEED + 1);
      const share = ACTIONS / (DISTURBANCES + 2);
      const stage: Stage = { pool, kafka, random, sessionTimeoutMs: SESSION_TIMEOUT_MS, feed: () => feed(share / 10) };
      for (const [index, disturb] of disturbances(DISTURBANCES, random).entries()) {
        if (index === Math.floor(DISTURBANCES / 2)) await publish('v2');
        await feed(share);
        await sleep(random() * 2_000);
        console.log(`chaos: ${index + 1}. ${disturb.name}`);
        await disturb(stage);
      }
      await feed(Math.max(0, ACTIONS - fed));
      await untilConsumed(deployment, CATCH_UP_MS);
      for (const worker of [...pool.running]) await pool.stop(worker);
    } finally {
      await pool.killAll();
    }

    const onKafka = await kafkaOutcome(deployment);
    const expected = await embeddedOutcome(deployment, scorer);
    expect(fed).toBeGreaterThanOrEqual(ACTIONS);
    expect(onKafka.counts).toEqual(expected.counts);
    expect(onKafka.unaccounted).toBe(0);
    expect(onKafka.rejected).toEqual(expected.rejected);
    expect(onKafka.features).toEqual(expected.features);
    expect(onKafka.history).toEqual(expected.history);
    expect(onKafka.doubledHistory).toBe(expected.doubledHistory);
    expect(onKafka.ranking).toEqual(expected.ranking);
    expect(await versionsGoneBack(deployment)).toBe(0);
    const verified = await verifyAll(deployment, scorer);
    expect(verified.causes).toEqual([]);
    expect(verified).toMatchObject({ equal: verified.compared, missing: 0, unverifiable: 0, gaps: [] });
    expect(verified.compared).toBeGreaterThan(onKafka.features.size);
    console.log(
      `chaos: ${JSON.stringify({ seed: SEED, users: onKafka.features.size, history: onKafka.history.size, ...onKafka.counts })}`,
    );
    await deployment.close();
    rmSync(FOLDER, { recursive: true, force: true });
  },
);

/** While the broker is bounced; what was appended in part is appended again, as by any producer that tries again. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  const endMs = performance.now() + 60_000;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof FreshetError) || !isRetryable(error) || performance.now() > endMs) throw error;
      await sleep(250);
    }
  }
}
