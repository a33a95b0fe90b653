/**
 * Makes a snapshot: brings each store of the data folder to what the log has committed, closes it, and takes its files.
 * A closed store is whole (docs/architecture.md), so its files are; one that a live process holds is refused by its lock.
 */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { FreshetError } from '../base/errors.ts';
import { layoutOf, STATE_VERSION, stateLayoutHash } from '../../state/layout.ts';
import { committedJoin, committedUsers, type StoreOwner } from './committed-stores.ts';
import { readManifest, snapshotName, snapshotNames, snapshotsFolder, storeIn, writeManifest } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { sync, takeStore } from './store-files.ts';

export interface CreateOptions {
  /** Snapshots of the application that stay, the new one included; by default all. */
  readonly keep?: number;
  readonly onProgress: (partition: number, restored: number, total: number) => void;
}

export interface Created {
  readonly manifest: Manifest;
  /** Names of the snapshots that gave way to it. */
  readonly removed: readonly string[];
}

/** Snapshots that are being made or removed; what a crash has left of them goes with the next one. */
const UNFINISHED = '.unfinished-';

/** Throws APP_UNKNOWN, DATA_DIR_IN_USE, and what opening and restoring a store throws: no snapshot is there then. */
export async function createSnapshot(owner: StoreOwner, options: CreateOptions): Promise<Created> {
  const { config } = owner;
  const folder = snapshotsFolder(config.dataDir);
  await mkdir(folder, { recursive: true });
  await removeUnfinished(folder);
  const createdAtMs = Date.now();
  const name = snapshotName(createdAtMs);
  const unfinished = join(folder, UNFINISHED + name);
  const taken = await takeStores(owner, unfinished, options).catch(async (error: unknown) => {
    await rm(unfinished, { recursive: true, force: true });
    throw error;
  });
  const manifest: Manifest = {
    ...{ format: 1, name, createdAtMs, appId: config.appId, partitions: config.partitions },
    ...{ layout: stateLayoutHash(layoutOf(config)), stateVersion: STATE_VERSION },
    ...taken,
  };
  await writeManifest(unfinished, manifest);
  await sync(unfinished);
  await rename(unfinished, join(folder, name));
  await sync(folder);
  return { manifest, removed: options.keep === undefined ? [] : await removeOlder(config, options.keep) };
}

async function takeStores(
  owner: StoreOwner,
  folder: string,
  { onProgress }: CreateOptions,
): Promise<Pick<Manifest, 'features' | 'join'>> {
  const { log, config } = owner;
  const taken: Pick<Manifest, 'features' | 'join'> = { features: [], join: [] };
  for (let partition = 0; partition < config.partitions; partition += 1) {
    const catchUp = { partition, onProgress: onProgress.bind(undefined, partition) };
    const committed = await log.committed(config.appId, { topic: 'user-actions', partition });
    // Where nothing is committed the beginning is at hand without a snapshot.
    if (committed === undefined) continue;
    const { store, restored } = await committedUsers(owner, committed, catchUp);
    await store.close();
    const { offset, metadata } = restored;
    const files = await takeStore(
      owner.storeFolder('user-actions', partition),
      storeIn(folder, 'user-actions', partition),
    );
    taken.features.push({ partition, offset, metadata, files });

    const joined = await committedJoin(owner, catchUp);
    if (joined === undefined) continue;
    await joined.store.close();
    const joinFiles = await takeStore(owner.storeFolder('join', partition), storeIn(folder, 'join', partition));
    taken.join.push({ partition, position: joined.restored.position, files: joinFiles });
  }
  if (taken.features.length === 0) throw new FreshetError('APP_UNKNOWN', config.appId);
  return taken;
}

async function removeOlder({ dataDir, appId }: StoreOwner['config'], keep: number): Promise<string[]> {
  const own: string[] = [];
  for (const name of await snapshotNames(dataDir)) {
    // One that cannot be read may be another application's, and is for a person to look at.
    const manifest = await readManifest(dataDir, name).catch(() => undefined);
    if (manifest?.appId === appId) own.push(name);
  }
  const removed = own.slice(0, Math.max(0, own.length - keep));
  const folder = snapshotsFolder(dataDir);
  for (const name of removed) {
    await rename(join(folder, name), join(folder, UNFINISHED + name));
    await rm(join(folder, UNFINISHED + name), { recursive: true });
  }
  return removed;
}

async function removeUnfinished(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.startsWith(UNFINISHED)) await rm(join(folder, name), { recursive: true, force: true });
  }
}
