/**
 * Fills a deployment with actions and item vectors, activated: `node bench/fill-log.ts DATA_DIR [ACTIONS USERS | CLICKS]`.
 * By default the actions are those of WORKLOAD; CLICKS is a file of them (clicks.ts). On Kafka where the environment names
 * brokers and a registry; the topics are there then.
 */
import { loadConfig } from '../src/base/config.ts';
import { ContentHash } from '../src/base/content-hash.ts';
import { createLogger } from '../src/base/logger.ts';
import { partitionOf } from '../src/base/murmur2.ts';
import { activateVersion } from '../src/ingest/activate.ts';
import type { NewRecord } from '../src/log/log.ts';
import { Deployment } from '../src/run/deployment.ts';
import { readClicks } from './clicks.ts';
import { id, itemVector, workload, WORKLOAD, type UserAction } from './workload.ts';

const BATCH_RECORDS = 10_000;

const [dataDir, first = String(WORKLOAD.actions), users = String(WORKLOAD.users)] = process.argv.slice(2);
const config = loadConfig({ env: process.env, flags: { dataDir }, cwd: process.cwd() });
const deployment = await Deployment.open(config, createLogger('warn'));
const scorer = await deployment.loadScorer();
const { items, actions } = /^\d+$/.test(first) ? synthetic(Number(first), Number(users)) : await readClicks(first);
await publishVectors();
await fill();
await deployment.close();

function synthetic(count: number, of: number): { items: string[]; actions: Iterable<UserAction> } {
  const ids = Array.from({ length: WORKLOAD.items }, (_, item) => id('item', item));
  return { items: ids, actions: workload({ ...WORKLOAD, actions: count, users: of }) };
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
  const rows = items.map((itemId, item) => {
    const vector = Buffer.from(itemVector(item, scorer.dimension).buffer);
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
  for (const { userId, action, arrivalTimeMs } of actions) {
    const key = Buffer.from(userId);
    batch.push({
      topic: 'user-actions',
      partition: partitionOf(key, config.partitions),
      timestampMs: arrivalTimeMs,
      key,
      value: deployment.codec.encode('user-actions-value', { userId, ...action, surface: action.surface || null }),
    });
    if (batch.length === BATCH_RECORDS) {
      await deployment.log.append(batch);
      batch = [];
    }
  }
  await deployment.log.append(batch);
}
