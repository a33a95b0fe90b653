/**
 * The item vectors that a request's candidates are scored with: those in force now, not those that the user's intent was
 * folded under. All versions share one space, and only the newest knows the newest items.
 */
import { FreshetError } from '../base/errors.ts';
import { EMPTY_TABLE, type ItemTable } from '../intent/item-table.ts';
import type { ItemVersions } from '../intent/item-versions.ts';
import type { VersionContent } from '../intent/lineage-cache.ts';

/** Item vectors and the space they share; null where there are none. */
export interface ItemsInForce {
  readonly table: ItemTable;
  readonly space: string | null;
}

/** Fails with ITEM_VERSION_INCOMPLETE if the log no longer has the version. */
export async function itemsInForce(
  activation: VersionContent | null,
  itemVersions: Pick<ItemVersions, 'table' | 'reason'>,
): Promise<ItemsInForce> {
  if (activation === null) return { table: EMPTY_TABLE, space: null };
  const table = await itemVersions.table(activation);
  if (table !== undefined) return { table, space: activation.space };
  throw new FreshetError('ITEM_VERSION_INCOMPLETE', itemVersions.reason(activation.version) ?? activation.version);
}
