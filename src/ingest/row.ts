/**
 * The rows of a file, whatever its format: the values of the wanted columns, in the order in which they were asked for,
 * or why there are none.
 */

/** A row larger than this is not held in memory; an unclosed quote is given up after as many bytes. */
export const MAX_ROW_BYTES = 2 * 1024 * 1024;
/** Of a bad row this much is kept for the side file. */
export const MAX_KEPT_BYTES = 64 * 1024;

export interface Column {
  readonly name: string;
  /** A CSV file without this column is refused; in NDJSON each row answers for itself. */
  readonly required: boolean;
}

/** Why a row cannot be read or made into a record. */
export type RowCause = 'missing_field' | 'bad_time' | 'bad_field' | 'bad_row' | 'oversized_row';

export interface RowProblem {
  readonly cause: RowCause;
  /** For a person; never quotes the row, as its values may name users. */
  readonly detail: string;
}

interface Place {
  /** Line on which the row starts, from 1. Parquet has no lines: the number of the row, from 1. */
  readonly line: number;
  /** The row as it stands in the file, for the side file; cut at MAX_KEPT_BYTES where it never was whole. */
  readonly raw: Buffer;
}

/** `values[i]` belongs to the wanted column i; undefined or null where the row has none. */
export type Row = Place & { readonly values: readonly unknown[]; readonly problem?: never };
export type BadRow = Place & { readonly problem: RowProblem; readonly values?: never };

/** Rows come in lists, about one a chunk of the file: an await for each row would cost more than the row. */
export type Rows = AsyncGenerator<readonly (Row | BadRow)[]>;

/** The error of a file that is not UTF-8, found by its byte order mark or by bytes that are no character. */
export const NOT_UTF8 = 'not UTF-8';

/** An id or another text field: text as it is, a safe integer in decimal, a larger one as it was written. */
export function textOf(value: unknown, name: string): string | RowProblem {
  if (typeof value === 'string') return value;
  if (value === undefined || value === null) return { cause: 'missing_field', detail: `no ${name}` };
  if (typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value))) return String(value);
  return { cause: 'bad_field', detail: `${name} is neither text nor an integer` };
}
