/**
 * Restoring a bare machine: the features of 500,000 users, about 1.4 KB each in one partition, from the log into an empty
 * store. `node bench/restore.ts`; the last line on stdout is one JSON object. The log is filled by another process.
 */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../src/base/config.ts';
import { createLogger } from '../src/base/logger.ts';
import { packagePath } from '../src/base/package-root.ts';
import { boundProcessMemory } from '../src/base/process-memory.ts';
import { Deployment } from '../src/run/deployment.ts';
import { Batch } from '../src/task/batch.ts';
import { CommitDraft } from '../src/task/commit-draft.ts';
import { encodeMetadata } from '../src/task/commit-metadata.ts';
import { FeatureTask } from '../src/task/feature-task.ts';
import { Featurizer } from '../src/task/features.ts';
import { EMPTY_TABLE } from '../src/intent/item-table.ts';
import { layoutOf, stateLayoutHash } from '../state/layout.ts';
import { StateCodec } from '../state/state-codec.ts';
import { measured, printResult } from './report.ts';
import { id } from './workload.ts';

const USERS = 500_000;
const ACTIONS_A_USER = 15;
const USERS_A_COMMIT = 5_000;
const FILL = '--fill';

boundProcessMemory();
const filling = process.argv[2] === FILL;
const dataDir = filling ? process.argv[3]! : await mkdtemp(join(tmpdir(), 'freshet-bench-'));
const config = loadConfig({ env: {}, flags: { dataDir, partitions: 1 }, cwd: process.cwd() });
if (filling) await fill();
else {
  try {
    execFileSync(process.execPath, [packagePath('bench', 'restore.ts'), FILL, dataDir], { stdio: 'inherit' });
    await restore();
  } finally {
    await rm(dataDir, { recursive: true });
  }
}

async function restore(): Promise<void> {
  const deployment = await Deployment.open(config, createLogger('warn'));
  const scorer = await deployment.loadScorer();
  const storeFolder = deployment.storeFolder('user-actions', 0);
  let read = 0;
  const task = new FeatureTask({
    ...{ ...deployment, scorer, partition: 0, storeFolder },
    observer: { restoring: (_, restored) => void (read = restored) },
  });
  const result = await measured(() => task.start());
  await task.close();
  await deployment.close();
  printResult({ name: 'restore', usersPerSecond: Math.round(read / result.seconds), ...result, users: read });
}

/** What a task would have written of these users, as commits in its name. */
async function fill(): Promise<void> {
  const deployment = await Deployment.open(config, createLogger('warn'));
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
