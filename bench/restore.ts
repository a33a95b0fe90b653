/**
 * Restoring a bare machine: the features of 500,000 users, about 1.4 KB each in one partition, from the log into an empty
 * store. `node bench/restore.ts`, from the embedded log; `node bench/restore.ts --kafka`, from a broker on this machine.
 * The last line on stdout is one JSON object. The log is filled by another process.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig, type Config } from '../src/base/config.ts';
import { createLogger } from '../src/base/logger.ts';
import { packagePath } from '../src/base/package-root.ts';
import { boundProcessMemory } from '../src/base/process-memory.ts';
import { LocalKafka } from '../src/local-kafka/local-kafka.ts';
import { openKafkaLog } from '../src/log/kafka.ts';
import { Deployment } from '../src/run/deployment.ts';
import { Batch } from '../src/task/batch.ts';
import { CommitDraft } from '../src/task/commit-draft.ts';
import { encodeMetadata } from '../src/task/commit-metadata.ts';
import { FeatureTask } from '../src/task/feature-task.ts';
import { Featurizer } from '../src/task/features.ts';
import { EMPTY_TABLE } from '../src/intent/item-table.ts';
import { layoutOf, stateLayoutHash } from '../state/layout.ts';
import { StateCodec } from '../state/state-codec.ts';
import { declareTopics } from '../topics/index.ts';
import { containerMemorySettings } from './environment.ts';
import { measured, printResult } from './report.ts';
import { id } from './workload.ts';

const USERS = 500_000;
const ACTIONS_A_USER = 15;
const USERS_A_COMMIT = 5_000;

const [role = '--embedded', flags] = process.argv.slice(2);
boundProcessMemory();
if (role === '--fill') await fill(configOf(flags!));
else if (role === '--restore') await restore(configOf(flags!));
else await withLog(role === '--kafka');

/** Fills a log and restores from it, each in a process of its own. */
async function withLog(isKafka: boolean): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'freshet-bench-'));
  const kafka = isKafka ? await LocalKafka.start({ dataDir: join(dataDir, 'kafka') }) : undefined;
  try {
    const cluster = kafka && { brokers: kafka.brokers, registry: kafka.registry };
    const given = JSON.stringify({ dataDir, partitions: 1, ...cluster });
    for (const next of ['--fill', '--restore']) {
      await inProcess(packagePath('bench', 'restore.ts'), next, given);
    }
  } finally {
    await kafka?.stop();
    await rm(dataDir, { recursive: true });
  }
}

async function inProcess(...args: string[]): Promise<void> {
  const env = { ...process.env, ...containerMemorySettings() };
  const [code] = (await once(spawn(process.execPath, args, { stdio: 'inherit', env }), 'close')) as [number | null];
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}`);
}

function configOf(json: string): Config {
  return loadConfig({ env: {}, flags: JSON.parse(json) as Record<string, unknown>, cwd: process.cwd() });
}

async function restore(config: Config): Promise<void> {
  let users = 0;
  const logger = createLogger('info', {
    write: (line) => {
      const { code, records } = JSON.parse(line) as { code?: string; records?: number };
      if (code === 'RESTORED') users = records!;
    },
  });
  const deployment = await Deployment.open(config, logger);
  const scorer = await deployment.loadScorer();
  const storeFolder = deployment.storeFolder('user-actions', 0);
  const task = new FeatureTask({ ...deployment, scorer, partition: 0, storeFolder });
  const result = await measured(() => task.start());
  await task.close();
  await deployment.close();
  const name = config.brokers.length > 0 ? 'restore-kafka' : 'restore';
  printResult({ name, usersPerSecond: Math.round(users / result.seconds), ...result, users });
}

/** What a task would have written of these users, as commits in its name. */
async function fill(config: Config): Promise<void> {
  const logger = createLogger('warn');
  if (config.brokers.length > 0) {
    const admin = openKafkaLog(config, logger);
    await admin.createTopics(declareTopics(config.partitions));
    await admin.close();
  }
  const deployment = await Deployment.open(config, logger);
  const { log, codec } = deployment;
  const scorer = await deployment.loadScorer();
  const layout = layoutOf(config);
  const featurizer = new Featurizer({ layout, scorer, stateCodec: new StateCodec(layout), codec });
  const input = { topic: 'user-actions', partition: 0 };
  const writer = await log.openWriter(`${config.appId}-user-actions-0`);
  for (let user = 0; user < USERS;) {
    const batch = new Batch({ layout, codec, partition: 0, emit: 'commit' });
    // A record of the input a user, as its offsets alone matter: the user's actions but the last stand before them all.
    await log.append(
      Array.from({ length: USERS_A_COMMIT }, () => ({ ...input, timestampMs: 0, key: null, value: null })),
    );
    for (const last = user + USERS_A_COMMIT; user < last; user += 1) {
      const userId = id('user', user);
      for (let left = ACTIONS_A_USER - 1; left >= 0; left -= 1) {
        const offset = left === 0 ? user : -left;
        const arrivalTimeMs = (user + 1) * 60_000 - left;
        const itemId = id('item', (user + left * left) % 20_000);
        const action = { eventTimeMs: arrivalTimeMs, itemId, actionType: 'view', surface: 'web' };
        batch.apply(userId, { kind: 'action', offset, arrivalTimeMs, action }, undefined, EMPTY_TABLE);
      }
    }
    const draft = new CommitDraft({ partition: 0, featurizer, decodedMax: 1 });
    await draft.add(batch.takeRevisions());
    const metadata = (ends: ReadonlyMap<string, number>): string =>
      encodeMetadata({
        ...{ featuresStart: 0, featuresEnd: ends.get('sequence-features-0')!, historyEnd: 0, rejectedEnd: 0 },
        ...{ activation: null, layout: stateLayoutHash(layout), counts: {} },
      });
    await writer.commit({ outputs: draft.outputs, offsets: [{ input, offset: user }], metadata });
  }
  await writer.close();
  await deployment.close();
}
