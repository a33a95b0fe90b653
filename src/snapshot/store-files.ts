/**
 * The files of a closed store, taken from one folder to another. LevelDB never changes a table file once it is written,
 * only removes its name, so tables are linked: they take no room while both stores have them. The others (CURRENT,
 * MANIFEST, the write-ahead log, the clean-close mark) go on being written to and are copied.
 */
import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FreshetError } from '../base/errors.ts';
import { STORE_FILE } from '../../state/store-open.ts';

export interface StoreFile {
  readonly name: string;
  readonly bytes: number;
  /** SHA-256, hex. */
  readonly sha256: string;
}

const TABLE_FILE = /^\d+\.(?:ldb|sst)$/;
/** Another file system, one without links, or a file with too many names: then tables are copied as well. */
const CANNOT_LINK = new Set(['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'EACCES']);

/**
 * Takes the store in `from`, which has to be closed, to the new folder `to`, durably. Throws DATA_DIR_IN_USE if somebody
 * opened it meanwhile: what was taken is then of no use.
 */
export async function takeStore(from: string, to: string): Promise<StoreFile[]> {
  await mkdir(to, { recursive: true });
  const before = await listing(from);
  const files: StoreFile[] = [];
  for (const { name } of before) {
    await takeFile(join(from, name), join(to, name));
    files.push(await describeFile(to, name));
  }
  if (JSON.stringify(await listing(from)) !== JSON.stringify(before)) {
    throw new FreshetError('DATA_DIR_IN_USE', `${from} was opened while it was copied`);
  }
  await sync(to);
  return files;
}

/** Takes the files of a snapshot to the new folder `to`, durably, and proves there that they are the ones described. */
export async function placeStore(from: string, to: string, files: readonly StoreFile[]): Promise<void> {
  await rm(to, { recursive: true, force: true });
  await mkdir(to, { recursive: true });
  for (const { name } of files) {
    await takeFile(join(from, name), join(to, name)).catch((error: NodeJS.ErrnoException) => {
      throw error.code === 'ENOENT' ? new FreshetError('SNAPSHOT_DAMAGED', `${join(from, name)} is missing`) : error;
    });
  }
  await proveFiles(to, files, from);
  await sync(to);
}

/** Throws SNAPSHOT_DAMAGED unless the folder holds exactly these bytes; `shown` is the folder that the error names. */
async function proveFiles(folder: string, files: readonly StoreFile[], shown: string): Promise<void> {
  for (const { name, bytes, sha256 } of files) {
    const found = await describeFile(folder, name);
    if (found.bytes === bytes && found.sha256 === sha256) continue;
    const detail = found.bytes === bytes ? 'its content has changed' : `${found.bytes} bytes instead of ${bytes}`;
    throw new FreshetError('SNAPSHOT_DAMAGED', `${join(shown, name)}: ${detail}`);
  }
}

/** A folder's names, made durable. */
export async function sync(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

interface Listed {
  readonly name: string;
  readonly size: number;
  readonly mtimeMs: number;
}

async function listing(folder: string): Promise<Listed[]> {
  const names = (await readdir(folder)).filter((name) => STORE_FILE.test(name)).sort();
  const found: Listed[] = [];
  for (const name of names) {
    const { size, mtimeMs } = await stat(join(folder, name));
    found.push({ name, size, mtimeMs });
  }
  return found;
}

async function takeFile(from: string, to: string): Promise<void> {
  if (TABLE_FILE.test(from.slice(from.lastIndexOf('/') + 1))) {
    try {
      await link(from, to);
      return;
    } catch (error) {
      if (!CANNOT_LINK.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
  await copyFile(from, to, constants.COPYFILE_FICLONE);
  const handle = await open(to, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function describeFile(folder: string, name: string): Promise<StoreFile> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of createReadStream(join(folder, name)) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { name, bytes, sha256: hash.digest('hex') };
}
