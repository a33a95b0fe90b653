/**
 * What a snapshot holds, as its file `manifest.json` says: of which application, and for each store the place in the log
 * that it is as of, and its files. The manifest carries its own checksum and is written last.
 *
 *     <data-dir>/snapshots/<name>/manifest.json
 *     <data-dir>/snapshots/<name>/user-actions-<p>/   the store of the feature task of partition p
 *     <data-dir>/snapshots/<name>/join-<p>/           the store of the join task of partition p
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { FreshetError } from '../base/errors.ts';
import { commitMetadata } from '../task/commit-metadata.ts';

const FORMAT = 1;
const MANIFEST_FILE = 'manifest.json';
/** A time, with what file systems do not take replaced. */
const SNAPSHOT_NAME = /^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z$/;

const count = z.number().int().nonnegative();
const files = z.array(
  z.strictObject({
    name: z.string().regex(/^[A-Z0-9][\w.-]*$/),
    bytes: count,
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
  }),
);

const schema = z.strictObject({
  format: z.literal(FORMAT),
  name: z.string().regex(SNAPSHOT_NAME),
  /** Milliseconds since the epoch. */
  createdAtMs: count,
  appId: z.string(),
  partitions: count,
  /** Hash of the state layout that the stores were written with. */
  layout: z.string(),
  stateVersion: count,
  features: z.array(
    z.strictObject({
      partition: count,
      /** L: the input offset that the store is as of. */
      offset: count,
      /** As it was committed with that offset: ends of the outputs, activation in force, counts, generation. */
      metadata: commitMetadata,
      files,
    }),
  ),
  join: z.array(
    z.strictObject({
      partition: count,
      position: z.strictObject({ featuresOffset: count, embeddingsOffset: count, rankingEnd: count }),
      files,
    }),
  ),
});

export type Manifest = z.infer<typeof schema>;
export type FeaturesSnapshot = Manifest['features'][number];

export const snapshotsFolder = (dataDir: string): string => join(dataDir, 'snapshots');

export const snapshotName = (createdAtMs: number): string => new Date(createdAtMs).toISOString().replaceAll(':', '-');

/** The folder of a store in a snapshot's folder. */
export const storeIn = (snapshot: string, kind: 'user-actions' | 'join', partition: number): string =>
  join(snapshot, `${kind}-${partition}`);

/** Durable when it returns, but for the folder's name. */
export async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  const text = JSON.stringify({ checksum: checksumOf(manifest), manifest }, null, 2);
  await writeFile(join(folder, MANIFEST_FILE), text, { flush: true });
}

/** Throws SNAPSHOT_UNKNOWN and SNAPSHOT_DAMAGED. */
export async function readManifest(dataDir: string, name: string): Promise<Manifest> {
  const path = join(snapshotsFolder(dataDir), name, MANIFEST_FILE);
  if (!SNAPSHOT_NAME.test(name)) throw new FreshetError('SNAPSHOT_UNKNOWN', name);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new FreshetError('SNAPSHOT_UNKNOWN', path, { cause: error });
  }
  try {
    const { checksum, manifest } = JSON.parse(text) as { checksum: unknown; manifest: unknown };
    if (checksum === checksumOf(manifest)) return schema.parse(manifest);
  } catch (cause) {
    throw new FreshetError('SNAPSHOT_DAMAGED', `${path} cannot be read`, { cause });
  }
  throw new FreshetError('SNAPSHOT_DAMAGED', `${path} does not match its checksum`);
}

/** Names of the snapshots in a data folder, oldest first; also of those whose manifest is damaged. */
export async function snapshotNames(dataDir: string): Promise<string[]> {
  try {
    return (await readdir(snapshotsFolder(dataDir))).filter((name) => SNAPSHOT_NAME.test(name)).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

const checksumOf = (manifest: unknown): string =>
  createHash('sha256')
    .update(JSON.stringify(manifest) ?? '')
    .digest('hex');
