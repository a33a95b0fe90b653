/** The snapshots of a data folder, told to people and scripts. */
import { FreshetError } from '../base/errors.ts';
import { readManifest, snapshotNames, type Manifest } from './manifest.ts';

export interface SnapshotSummary {
  readonly name: string;
  readonly createdAtMs: number;
  readonly appId: string;
  readonly layout: string;
  readonly stateVersion: number;
  readonly partitions: number;
  /** Of all its files; tables that it shares with a store count here as well. */
  readonly bytes: number;
  readonly features: readonly {
    readonly partition: number;
    readonly offset: number;
    readonly featuresEnd: number;
    /** The item vectors in force at the offset; null before any. */
    readonly itemVersion: string | null;
    /** How often the application had been reset. */
    readonly generation: number;
  }[];
  readonly join: readonly (Manifest['join'][number]['position'] & { readonly partition: number })[];
}

export interface ListedSnapshots {
  /** Oldest first. */
  readonly snapshots: readonly SnapshotSummary[];
  /** Those whose manifest cannot be read. */
  readonly damaged: readonly { readonly name: string; readonly error: FreshetError }[];
}

/** Of all applications that share the folder. Reads the manifests alone: files are proved when they are used. */
export async function listSnapshots(dataDir: string): Promise<ListedSnapshots> {
  const snapshots: SnapshotSummary[] = [];
  const damaged: { name: string; error: FreshetError }[] = [];
  for (const name of await snapshotNames(dataDir)) {
    try {
      snapshots.push(summaryOf(await readManifest(dataDir, name)));
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error;
      damaged.push({ name, error });
    }
  }
  return { snapshots, damaged };
}

export function summaryOf({ features, join, ...manifest }: Manifest): SnapshotSummary {
  const { name, createdAtMs, appId, layout, stateVersion, partitions } = manifest;
  const bytes = [...features, ...join].flatMap(({ files }) => files).reduce((sum, file) => sum + file.bytes, 0);
  return {
    ...{ name, createdAtMs, appId, layout, stateVersion, partitions, bytes },
    features: features.map(({ partition, offset, metadata }) => ({
      partition,
      offset,
      featuresEnd: metadata.featuresEnd,
      itemVersion: metadata.activation?.version ?? null,
      generation: metadata.generation?.number ?? 0,
    })),
    join: join.map(({ partition, position }) => ({ partition, ...position })),
  };
}
