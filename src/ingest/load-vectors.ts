/** The engine of `freshet vectors load`: what item and user vectors share. */
import { FreshetError } from '../base/errors.ts';
import type { Log } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import type { OnProgress } from './progress.ts';
import { ProgressMeter } from './progress.ts';
import type { Column, Row } from './row.ts';
import { textOf } from './row.ts';
import { openRowFile, type RowFile, type RowFormat } from './row-file.ts';

export interface LoadVectorsOptions {
  readonly log: Log;
  readonly codec: Pick<Codec, 'encode' | 'decode' | 'learn'>;
  readonly file: string;
  /** Default: told by the file. */
  readonly format?: RowFormat;
  readonly version: string;
  /** The space of the vectors, that of the model: they are only compared with vectors of the same. */
  readonly space: string;
  readonly onProgress?: OnProgress;
}

/** Longest id, bytes of UTF-8, as the schemas say. */
const MAX_ID_BYTES = 256;

/** Calls `take` with each row, in order, and the file it is in. Throws VECTOR_INVALID at the first row that is bad. */
export async function readVectorRows(
  options: Pick<LoadVectorsOptions, 'file' | 'format' | 'onProgress'>,
  columns: readonly Column[],
  take: (row: Row, file: RowFile) => Promise<void>,
): Promise<void> {
  const file = await openRowFile(options.file, options.format, columns);
  const meter = new ProgressMeter(options.onProgress);
  let rowCount = 0;
  for await (const rows of file.rows) {
    for (const row of rows) {
      if (row.problem !== undefined) throw invalid(row.line, row.problem.detail);
      await take(row, file);
    }
    rowCount += rows.length;
    meter.tell(rowCount, file.bytesRead(), file.totalBytes);
  }
}

/** The id of a row: text or an integer, not empty, at most 256 bytes. */
export function readId(row: Row, value: unknown, name: string): string {
  const id = textOf(value, name);
  if (typeof id !== 'string') throw invalid(row.line, id.detail);
  if (id === '') throw invalid(row.line, `the ${name} is empty`);
  if (Buffer.byteLength(id) > MAX_ID_BYTES) throw invalid(row.line, `the ${name} has more than ${MAX_ID_BYTES} bytes`);
  return id;
}

/** VECTOR_INVALID at a line, in Parquet a row; ids are not quoted, as they may name users. */
export const invalid = (line: number, detail: string): FreshetError =>
  new FreshetError('VECTOR_INVALID', `row at line ${line}: ${detail}`);
