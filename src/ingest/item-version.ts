/** Item-vector versions as they stand in `item-embeddings`: key `version/item`, the manifest under `version/`. */
import { FreshetError } from '../base/errors.ts';
import { ContentHash, rowDigest } from '../base/content-hash.ts';
import type { Log, LogRecord } from '../log/log.ts';
import { records } from '../log/newest.ts';
import type { Codec } from '../serde/codec.ts';
import type { ItemEmbeddingRecord, ItemManifest } from '../../topics/records.ts';

export const ITEM_TOPIC = { topic: 'item-embeddings', partition: 0 } as const;

const VERSION_NAME = /^[A-Za-z0-9.:_-]{1,128}$/;
/** Items of one version whose digests are held to find duplicates; a V8 map ends a little above. */
export const MAX_VERSION_ITEMS = 16_000_000;

export type Reader = Pick<Codec, 'decode' | 'learn'>;

/** Key of an item's row; of the manifest for the empty id. */
export const itemKey = (version: string, itemId: string): Buffer => Buffer.from(`${version}/${itemId}`);

/** Throws USAGE for a name that could not stand in a key. */
export function checkVersionName(version: string): void {
  if (VERSION_NAME.test(version)) return;
  throw new FreshetError('USAGE', `version "${version}"`, {
    remedy: 'A version is named by 1 to 128 letters, digits, dots, colons, underscores and hyphens.',
  });
}

/** The manifests of all versions, by name: a version without one was never finished. One pass over the topic. */
export async function readManifests(log: Log, codec: Reader): Promise<Map<string, ItemManifest>> {
  const manifests = new Map<string, ItemManifest>();
  for await (const { version, itemId, record } of rowsOfTopic(log)) {
    if (itemId.length > 0) continue;
    manifests.delete(version);
    if (record.value === null) continue;
    await codec.learn([record]);
    const { manifest } = decodeRow(codec, record);
    if (manifest !== null) manifests.set(version, manifest);
  }
  return manifests;
}

/** Digests of rows, by item id. */
export type RowDigests = Map<string, bigint>;

/** The rows that stand for these versions: of rows written twice the newest, none removed again. One pass. */
export async function readRowDigests(
  log: Log,
  codec: Reader,
  versions: readonly string[],
): Promise<Map<string, RowDigests>> {
  const digests = new Map(versions.map((version) => [version, new Map<string, bigint>()]));
  for await (const { version, itemId, record } of rowsOfTopic(log)) {
    const rows = digests.get(version);
    if (rows === undefined || itemId.length === 0) continue;
    const id = itemId.toString();
    if (record.value === null) {
      rows.delete(id);
      continue;
    }
    await codec.learn([record]);
    const { scale, vector } = decodeRow(codec, record);
    rows.set(id, rowDigest(id, scale, vector));
  }
  return digests;
}

/** Whether the rows of a version are all there, and are those that its manifest describes. */
export function isComplete(rows: RowDigests, manifest: ItemManifest): boolean {
  const hash = new ContentHash();
  for (const digest of rows.values()) hash.addDigest(digest);
  return hash.rowCount === manifest.rowCount && hash.digest() === manifest.contentHash;
}

async function* rowsOfTopic(log: Log): AsyncGenerator<{ version: string; itemId: Buffer; record: LogRecord }> {
  const [start, end] = [await log.startOffset(ITEM_TOPIC), await log.endOffset(ITEM_TOPIC)];
  for await (const record of records(log, ITEM_TOPIC, start, end)) {
    const slash = record.key?.indexOf('/') ?? -1;
    if (record.key === null || slash < 0) continue;
    yield { version: record.key.toString('utf8', 0, slash), itemId: record.key.subarray(slash + 1), record };
  }
}

const decodeRow = (codec: Reader, { value, headers, offset }: LogRecord): ItemEmbeddingRecord =>
  codec.decode<ItemEmbeddingRecord>('item-embeddings-value', value!, headers, { ...ITEM_TOPIC, offset });
