/** Snapshots as places to begin at: the state of a partition's users as of an input offset. */
import { join } from 'node:path';
import { FreshetError } from '../base/errors.ts';
import type { CommitMetadata } from '../task/commit-metadata.ts';
import { UserStore, type UserStoreOptions } from '../task/user-store.ts';
import type { StoreOwner } from './committed-stores.ts';
import { readManifest, snapshotNames, snapshotsFolder, storeIn, type FeaturesSnapshot } from './manifest.ts';
import { checkOwner } from './restore.ts';
import { placeStore } from './store-files.ts';

export interface Seed {
  /** Of the snapshot. */
  readonly name: string;
  readonly createdAtMs: number;
  readonly partition: number;
  /** L: the first input offset that is not in the state. */
  readonly offset: number;
  /** As committed with L: the activation in force, the counts, the ends of the outputs. */
  readonly metadata: CommitMetadata;
  /** The store's files; not to be opened in place, see `openSeed`. */
  readonly folder: string;
  readonly files: FeaturesSnapshot['files'];
}

/**
 * The seeds of a partition in the data folder, in order of their offsets, that a configuration can go on from: of its
 * application, layout and partition count. One that cannot be read is told to `onUnusable` and left out.
 *
 * @param committed - what the application has committed, if only seeds of its present course are wanted: what a reset has
 * gone back behind is none.
 */
export async function listSeeds(
  config: StoreOwner['config'],
  partition: number,
  {
    committed,
    onUnusable,
  }: { committed?: CommitMetadata; onUnusable?: (name: string, error: FreshetError) => void } = {},
): Promise<Seed[]> {
  const seeds: Seed[] = [];
  for (const name of await snapshotNames(config.dataDir)) {
    try {
      const manifest = await readManifest(config.dataDir, name);
      checkOwner(manifest, config);
      const found = manifest.features.find((each) => each.partition === partition);
      if (found === undefined || (committed !== undefined && !isOnCourse(found, committed))) continue;
      const folder = storeIn(join(snapshotsFolder(config.dataDir), name), 'user-actions', partition);
      seeds.push({ ...found, name, createdAtMs: manifest.createdAtMs, folder });
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error;
      onUnusable?.(name, error);
    }
  }
  return seeds.sort((a, b) => a.offset - b.offset);
}

/**
 * The seed as a store of its own in `scratch`, whose content it replaces: the caller may go on from it, closes it and
 * removes the folder. Throws SNAPSHOT_DAMAGED.
 */
export async function openSeed(seed: Seed, scratch: string, options: UserStoreOptions): Promise<UserStore> {
  await placeStore(seed.folder, scratch, seed.files);
  const store = await UserStore.open(scratch, options);
  if (store.position()?.offset === seed.offset && store.isWhole()) return store;
  await store.close();
  throw new FreshetError('SNAPSHOT_DAMAGED', `${seed.folder} does not open as a store at offset ${seed.offset}`);
}

/** Whether no reset since has gone back behind the seed: its state would be of records that were taken otherwise. */
function isOnCourse({ offset, metadata }: FeaturesSnapshot, committed: CommitMetadata): boolean {
  const since = (committed.generation?.number ?? 0) - (metadata.generation?.number ?? 0);
  if (since <= 0) return since === 0;
  const resets = committed.generation?.resets ?? [];
  return since <= resets.length && resets.slice(-since).every((reset) => offset <= reset.offset);
}
