/** What an open finds in the store, checked before anything is written. */
import { FreshetError } from '../base/errors.ts';
import { EMPTY_MANIFEST, MANIFEST_RANGE, decodeManifest, type Manifest } from './embedded-manifest.ts';
import { recordKey } from './embedded-record.ts';
import type { Storage } from './embedded-storage.ts';
import type { TopicPartition } from './log.ts';

/** The newest manifest, in accord with the records. Fails with LOG_FORMAT, LOG_CORRUPT or LOG_GAP. */
export async function recoverManifest(storage: Storage): Promise<Manifest> {
  const [newest] = await storage.iterator({ ...MANIFEST_RANGE, reverse: true, limit: 1 }).all();
  if (newest !== undefined) {
    const manifest = decodeManifest({ key: newest[0], value: newest[1] });
    await checkEnds(storage, manifest);
    return manifest;
  }
  const [anyKey] = await storage.keys({ limit: 1 }).all();
  if (anyKey === undefined) return EMPTY_MANIFEST;
  throw new FreshetError('LOG_FORMAT', 'the folder holds a LevelDB that is no log of Freshet');
}

export const gap = (detail: string, at: TopicPartition, offset: number): FreshetError =>
  new FreshetError('LOG_GAP', detail, { position: { ...at, offset } });

/** Each partition has the record before its end and none at its end: what LevelDB lost near the ends shows here. */
async function checkEnds(storage: Storage, manifest: Manifest): Promise<void> {
  for (const [topicId, { name: topic, partitions }] of manifest.topics.entries()) {
    const atEnds = partitions.map(({ end }, partition) => recordKey(topicId, partition, end));
    const beyond = (await storage.hasMany(atEnds)).indexOf(true);
    if (beyond >= 0) {
      throw gap('a record stands after the end', { topic, partition: beyond }, partitions[beyond]!.end);
    }
    const filled = partitions.flatMap(({ end }, partition) => (end > 0 ? [{ partition, offset: end - 1 }] : []));
    const present = await storage.hasMany(filled.map(({ partition, offset }) => recordKey(topicId, partition, offset)));
    const missing = filled[present.indexOf(false)];
    if (missing !== undefined) {
      throw gap('the last record is missing', { topic, partition: missing.partition }, missing.offset);
    }
  }
}
