/** The item vectors that a request's candidates are scored with: those that the user's intent was folded under. */
import { FreshetError, type Position } from '../base/errors.ts';
import { EMPTY_TABLE, type ItemTable } from '../intent/item-table.ts';
import type { ItemVersions } from '../intent/item-versions.ts';
import type { VersionContent } from '../intent/lineage-cache.ts';
import type { Log } from '../log/log.ts';
import { newestRecord } from '../log/newest.ts';
import type { Codec } from '../serde/codec.ts';
import type { ItemEmbeddingRecord, RankingFeaturesRecord } from '../../topics/records.ts';

/** Item vectors and the space they share; null where there are none. */
export interface ItemsInForce {
  readonly table: ItemTable;
  readonly space: string | null;
}

export interface ItemsInForceOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly itemVersions: Pick<ItemVersions, 'table' | 'reason'>;
  /** In force for a user without a realtime side; null before any. */
  readonly newestActivation: VersionContent | null;
}

/** Fails with VECTOR_VERSION_UNKNOWN or ITEM_VERSION_INCOMPLETE if the log no longer has the version. */
export async function itemsInForce(
  { realtime }: Pick<RankingFeaturesRecord, 'realtime'>,
  options: ItemsInForceOptions,
): Promise<ItemsInForce> {
  if (realtime === null) return activatedItems(options.newestActivation, options);
  return activatedItems(
    realtime.itemVersion === null ? null : await manifestOf(realtime.itemVersion, options),
    options,
  );
}

async function activatedItems(
  activation: VersionContent | null,
  { itemVersions }: ItemsInForceOptions,
): Promise<ItemsInForce> {
  if (activation === null) return { table: EMPTY_TABLE, space: null };
  const table = await itemVersions.table(activation);
  if (table !== undefined) return { table, space: activation.space };
  throw new FreshetError('ITEM_VERSION_INCOMPLETE', itemVersions.reason(activation.version) ?? activation.version);
}

/** What an activation of the version says: its manifest says it too. */
async function manifestOf(version: string, { log, codec }: ItemsInForceOptions): Promise<VersionContent> {
  const at = { topic: 'item-embeddings', partition: 0 };
  const record = await newestRecord(log, at, Buffer.from(`${version}/`));
  if (record === undefined || record.value === null) {
    throw new FreshetError('VECTOR_VERSION_UNKNOWN', `${version} has no manifest`, { position: at });
  }
  const position: Position = { ...at, offset: record.offset };
  await codec.learn([record]);
  const subject = 'item-embeddings-value';
  const { manifest } = codec.decode<ItemEmbeddingRecord>(subject, record.value, record.headers, position);
  if (manifest === null) throw new FreshetError('VECTOR_VERSION_UNKNOWN', `${version} has no manifest`, { position });
  const { rowCount, contentHash, space } = manifest;
  return { version, rowCount, contentHash, space };
}
