/** Parquet as a stream of rows, one row group in memory at a time. */
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet';
import type { FileMetaData, RowGroup, SchemaTree } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { FreshetError } from '../base/errors.ts';
import type { Column, Rows } from './row.ts';

/**
 * A row group is decoded as a whole, so larger ones are refused. Bytes of the wanted columns, unpacked; as JavaScript
 * lists they take some ten times as much at the peak (measured: 96 MB of 32-bit floats, 1.3 GB).
 */
const MAX_ROW_GROUP_BYTES = 128 * 1024 * 1024;

export interface ParquetFile {
  readonly byteLength: number;
  /** Rows read so far, as a share of all: 0 to 1. */
  readonly progress: () => number;
  readonly rows: Rows;
  /** Whether the lists in this column hold signed 8-bit integers. */
  readonly isInt8: (column: string) => boolean;
}

/** Opens a file; its rows count from 1. Throws INPUT_MALFORMED, there or while reading. */
export async function openParquet(
  file: string,
  wanted: readonly Column[],
  maxRowGroupBytes = MAX_ROW_GROUP_BYTES,
): Promise<ParquetFile> {
  const buffer = await asyncBufferFromFile(file);
  const metadata = await orMalformed(file, parquetMetadataAsync(buffer));
  const present = parquetSchema(metadata).children;
  const names = new Set(present.map(({ element }) => element.name));
  for (const { name, required } of wanted) {
    if (required && !names.has(name)) throw new FreshetError('INPUT_MALFORMED', `${file}: no column is called ${name}`);
  }
  const columns = wanted.map(({ name }) => name).filter((name) => names.has(name));
  const rowCount = Number(metadata.num_rows);
  let rowsRead = 0;

  async function* rows(): Rows {
    for (const group of metadata.row_groups) {
      checkSize(file, group, columns, maxRowGroupBytes);
      const rowEnd = rowsRead + Number(group.num_rows);
      const read = parquetReadObjects({ file: buffer, metadata, columns, compressors, rowStart: rowsRead, rowEnd });
      const objects = await orMalformed(file, read);
      const first = rowsRead + 1;
      rowsRead = rowEnd;
      yield objects.map((object, index) => ({
        line: first + index,
        raw: Buffer.alloc(0),
        values: wanted.map(({ name }) => (names.has(name) ? ((object[name] as unknown) ?? null) : undefined)),
      }));
    }
  }

  return {
    byteLength: buffer.byteLength,
    progress: () => (rowCount === 0 ? 1 : rowsRead / rowCount),
    rows: rows(),
    isInt8: (column) => holdsInt8(metadata, column),
  };
}

async function orMalformed<T>(file: string, reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    throw new FreshetError('INPUT_MALFORMED', `${file}: ${(error as Error).message}`, { cause: error });
  }
}

function checkSize(file: string, group: RowGroup, columns: readonly string[], maxBytes: number): void {
  const sizes = group.columns.map(({ meta_data: data }) =>
    data !== undefined && columns.includes(data.path_in_schema[0] ?? '') ? Number(data.total_uncompressed_size) : 0,
  );
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  if (bytes <= maxBytes) return;
  throw new FreshetError('INPUT_MALFORMED', `${file}: a row group of ${bytes} bytes`, {
    remedy: `Write the file with row groups of at most ${maxBytes} bytes, e.g. row_group_size=100_000.`,
  });
}

function holdsInt8(metadata: FileMetaData, column: string): boolean {
  let leaf: SchemaTree | undefined = parquetSchema(metadata).children.find(({ element }) => element.name === column);
  while (leaf?.children[0] !== undefined) leaf = leaf.children[0];
  return leaf?.element.converted_type === 'INT_8';
}
