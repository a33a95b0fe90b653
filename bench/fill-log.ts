/** Fills a data folder with the workload and its item vectors, activated: `node bench/fill-log.ts DATA_DIR`. */
import { loadConfig } from '../src/base/config.ts';
import { ContentHash } from '../src/base/content-hash.ts';
import { createLogger } from '../src/base/logger.ts';
import { partitionOf } from '../src/base/murmur2.ts';
import { activateVersion } from '../src/ingest/activate.ts';
import type { NewRecord } from '../src/log/log.ts';
import { Deployment } from '../src/run/deployment.ts';
import { id, itemVector, workload, WORKLOAD } from './workload.ts';

const BATCH_RECORDS = 10_000;

const config = loadConfig({ env: {}, flags: { dataDir: process.argv[2]! }, cwd: process.cwd() });
const deployment = await Deployment.open(config, createLogger('warn'));
const scorer = await deployment.loadScorer();
await publishVectors();
await fill();
await deployment.close();

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
    if (batch.length === BATCH_RECORDS) {
      await deployment.log.append(batch);
      batch = [];
    }
  }
  await deployment.log.append(batch);
}
