/**
 * Puts the stores of a snapshot in place of those in the data folder. A store is a cache of the log: an old one is brought
 * forward from there when its task starts, and between the removal of one and the arrival of the other there is none,
 * which is made again from the log. So a crash at any point leaves each store old, new or to be made.
 */
import { rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { FreshetError } from '../base/errors.ts';
import { layoutOf, STATE_VERSION, stateLayoutHash } from '../../state/layout.ts';
import { environmentError } from '../../state/store-open.ts';
import type { StoreOwner } from './committed-stores.ts';
import { readManifest, snapshotsFolder, storeIn, type Manifest } from './manifest.ts';
import { placeStore, sync, type StoreFile } from './store-files.ts';

interface Placed {
  readonly folder: string;
  /** Beside it, and proved. */
  readonly prepared: string;
}

/**
 * All stores are prepared and proved before the first one is replaced. Throws SNAPSHOT_UNKNOWN, SNAPSHOT_DAMAGED,
 * APP_UNKNOWN, LAYOUT_CHANGED and PARTITIONS_CHANGED, with nothing replaced; DATA_DIR_IN_USE at the first store that a
 * live process holds.
 */
export async function restoreSnapshot(
  owner: Pick<StoreOwner, 'config' | 'storeFolder'>,
  name: string,
): Promise<Manifest> {
  const { config } = owner;
  const manifest = await readManifest(config.dataDir, name);
  checkOwner(manifest, config);
  const snapshot = join(snapshotsFolder(config.dataDir), name);
  const placed: Placed[] = [];
  try {
    for (const kind of ['features', 'join'] as const) {
      const folderKind = kind === 'features' ? 'user-actions' : 'join';
      for (const { partition, files } of manifest[kind]) {
        const folder = owner.storeFolder(folderKind, partition);
        placed.push({ folder, prepared: await prepare(storeIn(snapshot, folderKind, partition), folder, files) });
      }
    }
    for (const each of placed) await replace(each);
  } finally {
    for (const { prepared } of placed) await rm(prepared, { recursive: true, force: true });
  }
  return manifest;
}

/** Whether the stores mean what this configuration takes them for. */
export function checkOwner(manifest: Manifest, config: StoreOwner['config']): void {
  const { name, appId, layout, stateVersion, partitions } = manifest;
  if (appId !== config.appId) {
    throw new FreshetError('APP_UNKNOWN', `snapshot ${name} is of ${appId}, configured is ${config.appId}`);
  }
  if (partitions !== config.partitions) {
    const detail = `snapshot ${name} is of ${partitions} partitions, configured are ${config.partitions}`;
    throw new FreshetError('PARTITIONS_CHANGED', detail);
  }
  const configured = stateLayoutHash(layoutOf(config));
  if (layout !== configured || stateVersion !== STATE_VERSION) {
    throw new FreshetError('LAYOUT_CHANGED', `snapshot ${name} has layout ${layout}, configured is ${configured}`);
  }
}

async function prepare(from: string, folder: string, files: readonly StoreFile[]): Promise<string> {
  const prepared = `${folder}.restoring`;
  await placeStore(from, prepared, files).catch(async (error: unknown) => {
    await rm(prepared, { recursive: true, force: true });
    throw error;
  });
  return prepared;
}

async function replace({ folder, prepared }: Placed): Promise<void> {
  try {
    // Under LevelDB's lock: what a live process holds is not removed.
    await ClassicLevel.destroy(folder);
  } catch (error) {
    throw environmentError(error, folder) ?? error;
  }
  await rm(folder, { recursive: true, force: true });
  await rename(prepared, folder);
  await sync(dirname(folder));
}
