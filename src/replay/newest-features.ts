/** Users as a replay holds them, described as they were after their last record. */
import { EMPTY_TABLE, type ItemTable } from '../intent/item-table.ts';
import type { UserState } from '../../state/user-state.ts';
import { FEATURED_USERS } from '../task/commit-draft.ts';
import type { Featured, Featurizer } from '../task/features.ts';
import type { Revision } from '../task/revision.ts';
import type { CachedUser, ScoreCache } from '../task/score-cache.ts';

export interface NewestFeaturesOptions {
  readonly featurizer: Featurizer;
  /** The item vectors of a version that some user was scored with. */
  readonly tableOf: (version: string) => Promise<ItemTable>;
}

/** By user id. */
export async function newestFeatures(
  users: ReadonlyMap<string, CachedUser<UserState>>,
  { featurizer, tableOf }: NewestFeaturesOptions,
): Promise<Map<string, Featured>> {
  const revisions: Revision[] = [];
  const tables = new Map<string | null, ItemTable>([[null, EMPTY_TABLE]]);
  for (const [userId, { state, cache }] of users) {
    const version = cache?.itemVersion ?? null;
    const table = tables.get(version) ?? (await tableOf(version!));
    tables.set(version, table);
    revisions.push(revisionOf(userId, state, cache, table));
  }
  const featured = new Map<string, Featured>();
  while (revisions.length > 0) {
    for (const each of await featurizer.features(revisions.splice(0, FEATURED_USERS))) {
      featured.set(each.revision.userId, each);
    }
  }
  return featured;
}

/** A user as the store has it, as if its last record had just been taken. */
function revisionOf(userId: string, state: UserState, cache: ScoreCache | null, table: ItemTable): Revision {
  return {
    ...{ userId, place: 0, existed: true, depth: 0, state, cache, previous: null, table, arrivalTimeMs: 0 },
    ...{ isFolded: false, written: null, isOneRecord: true, isNewest: true, isClosed: true, isEmitted: true },
  };
}
