/**
 * The table of schema ids of a data folder, `schemas.json`: what each id in the stored records means. Ids are given
 * once and kept for ever, over restarts and over versions of Freshet that ship changed schemas.
 */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { FreshetError, storageError } from '../base/errors.ts';

export interface SchemaEntry {
  readonly id: number;
  /** The registry's name for the same schema, a UUID; absent where the registry gives none. */
  readonly guid?: string | undefined;
  readonly subject: string;
  /** The schema as JSON. */
  readonly schema: string;
}

/** More than this many schemas in one data folder is a producer that registers one a record. */
export const MAX_SCHEMAS = 10_000;

export const schemaTablePath = (dataDir: string): string => join(dataDir, 'schemas.json');

const entries = z
  .array(
    z.strictObject({
      id: z.int().min(1),
      guid: z.guid().optional(),
      subject: z.string().min(1),
      schema: z.string().min(1),
    }),
  )
  .max(MAX_SCHEMAS)
  .transform((list) => list.sort((a, b) => a.id - b.id))
  .refine((list) => list.every((entry, index) => entry.id === index + 1), 'its ids are not 1, 2, 3 and so on');

/** Reads the table, in order of the ids; empty when there is none. Throws SCHEMA_TABLE_INVALID. */
export async function readSchemaTable(file: string): Promise<SchemaEntry[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new FreshetError('SCHEMA_TABLE_INVALID', file, { cause: error });
  }
  try {
    return entries.parse(JSON.parse(text));
  } catch (error) {
    throw new FreshetError('SCHEMA_TABLE_INVALID', file, { cause: error });
  }
}

/** Replaces the table in one step: after a crash the old or the new one is there, whole. */
export async function writeSchemaTable(file: string, table: readonly SchemaEntry[]): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true });
    const temporary = `${file}.tmp`;
    await withHandle(temporary, 'w', async (handle) => {
      await handle.writeFile(`${JSON.stringify(table, null, 2)}\n`);
      await handle.sync();
    });
    await rename(temporary, file);
    // The rename itself is durable only once the folder is.
    await withHandle(dirname(file), 'r', (handle) => handle.sync());
  } catch (error) {
    throw storageError(error, file) ?? error;
  }
}

type FileHandle = Awaited<ReturnType<typeof open>>;

async function withHandle(path: string, flags: string, use: (handle: FileHandle) => Promise<void>): Promise<void> {
  const handle = await open(path, flags);
  try {
    await use(handle);
  } finally {
    await handle.close();
  }
}
