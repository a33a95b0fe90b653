/**
 * A new folder of a broker. Kafka's tool takes a second to format one, and for a broker without users and properties of its
 * own it writes, besides two ids, always the same: a checkpoint with the features of its version. So that is kept.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const CHECKPOINT = 'bootstrap.checkpoint';

/**
 * @param kept - where the checkpoint of this version of Kafka is kept; undefined: the folder is not like any other.
 * @param runTool - formats the folder under this cluster id.
 */
export async function formatFolder(
  folder: string,
  kept: string | undefined,
  runTool: (clusterId: string) => Promise<void>,
): Promise<void> {
  if (kept === undefined) return runTool(newId());
  if (existsSync(kept)) {
    await copyFile(kept, join(folder, CHECKPOINT));
    await writeFile(
      join(folder, 'meta.properties'),
      `version=1\nnode.id=1\ncluster.id=${newId()}\ndirectory.id=${newId()}\n`,
    );
    return;
  }
  await runTool(newId());
  const partial = `${kept}.partial-${randomUUID()}`;
  await copyFile(join(folder, CHECKPOINT), partial);
  await rename(partial, kept);
}

/** The format of Kafka's ids; one that begins with a dash would be taken for an option. */
function newId(): string {
  const id = randomBytes(16).toString('base64url');
  return id.startsWith('-') ? newId() : id;
}
