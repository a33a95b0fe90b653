/** A file of rows, opened: Parquet, NDJSON or CSV, the latter two also gzipped or zipped. */
import { open } from 'node:fs/promises';
import { FreshetError } from '../base/errors.ts';
import { CSV_NAME, csvRows } from './csv-rows.ts';
import { NDJSON_NAME, ndjsonRows } from './ndjson-rows.ts';
import { openParquet } from './parquet-rows.ts';
import type { Column, Rows } from './row.ts';
import { byExtension, openSource, type Source } from './source.ts';

export type RowFormat = 'parquet' | 'ndjson' | 'csv';

export interface RowFile {
  readonly totalBytes: number;
  readonly bytesRead: () => number;
  readonly rows: Rows;
  /** Whether the column holds 8-bit integers by its type; other formats than Parquet cannot say. */
  readonly isInt8: (column: string) => boolean;
}

/** Opens a file. Without `format`, Parquet is told by its first bytes, the others by their names. */
export async function openRowFile(
  file: string,
  format: RowFormat | undefined,
  wanted: readonly Column[],
): Promise<RowFile> {
  const kind = format ?? ((await isParquet(file)) ? 'parquet' : formatOf(file));
  if (kind === 'parquet') {
    const { byteLength, progress, rows, isInt8 } = await openParquet(file, wanted);
    return { totalBytes: byteLength, bytesRead: () => Math.round(progress() * byteLength), rows, isInt8 };
  }
  const source = await openSource(file, byExtension(kind === 'csv' ? CSV_NAME : NDJSON_NAME));
  const { totalBytes, bytesRead } = source;
  return { totalBytes, bytesRead, rows: rowsOf(source, kind, wanted), isInt8: () => false };
}

async function* rowsOf(source: Source, format: 'csv' | 'ndjson', wanted: readonly Column[]): Rows {
  for await (const { chunks } of source.entries()) {
    yield* format === 'csv' ? csvRows(chunks, wanted, { header: true, columns: null }) : ndjsonRows(chunks, wanted);
  }
}

async function isParquet(file: string): Promise<boolean> {
  try {
    const handle = await open(file, 'r');
    try {
      const magic = Buffer.alloc(4);
      await handle.read(magic, 0, 4, 0);
      return magic.toString('latin1') === 'PAR1';
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new FreshetError('FILE_NOT_FOUND', `${file}: ${(error as Error).message}`, { cause: error });
  }
}

function formatOf(file: string): RowFormat {
  const name = file.replace(/\.(gz|zip)$/i, '');
  if (CSV_NAME.test(name)) return 'csv';
  if (NDJSON_NAME.test(name)) return 'ndjson';
  throw new FreshetError('USAGE', `the name of ${file} does not say its format`, {
    remedy: 'Say it: --format=parquet, ndjson or csv.',
  });
}
