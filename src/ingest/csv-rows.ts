/**
 * CSV as a stream of rows. csv-parse splits the fields; this keeps what it has not yet answered for, so that a malformed
 * row costs its own line only: the line is rejected and parsing starts anew on the next. csv-parse's own way of skipping
 * (`skip_records_with_error`) stays inside an unclosed quote, and after an oversized row drops the rest of the chunk.
 */
import { isUtf8 } from 'node:buffer';
import { CsvError, parse, type Parser } from 'csv-parse';
import { FreshetError } from '../base/errors.ts';
import { MAX_KEPT_BYTES, MAX_ROW_BYTES, NOT_UTF8 } from './row.ts';
import type { BadRow, Column, Row, RowProblem, Rows } from './row.ts';
import { utf8Chunks } from './utf8-chunks.ts';

export interface CsvOptions {
  /** Whether the first line names the columns (or, with `columns`, is left out). */
  readonly header: boolean;
  /** Names of the columns; null takes them from the header. */
  readonly columns: readonly string[] | null;
}

/** How CSV files are called. */
export const CSV_NAME = /\.csv$/i;

const NEWLINE = 0x0a;

/** The rows of one CSV file; lines count from 1, the header among them. Throws INPUT_MALFORMED without a usable header. */
export async function* csvRows(chunks: AsyncIterable<Buffer>, wanted: readonly Column[], options: CsvOptions): Rows {
  const reader = new CsvReader(wanted, options);
  for await (const chunk of utf8Chunks(chunks)) yield await reader.advance(chunk, false);
  yield await reader.advance(Buffer.alloc(0), true);
}

class CsvReader {
  readonly #wanted: readonly Column[];
  #indexes: readonly number[] | undefined;
  #columnCount = 0;
  #headerDue: boolean;
  #parser = this.#newParser();
  /** Records that the parser has found, each with its end, counted in bytes from where this parser started. */
  #found: { readonly fields: string[]; readonly end: number }[] = [];
  /** Bytes not yet answered for, the line they start on, and where they start in the parser's count. */
  #pending: Buffer = Buffer.alloc(0);
  #line = 1;
  #parsed = 0;
  /** In the rest of a line that was rejected before it ended. */
  #skipping = false;

  constructor(wanted: readonly Column[], { header, columns }: CsvOptions) {
    this.#wanted = wanted;
    this.#headerDue = header;
    if (columns !== null) this.#nameColumns(columns);
  }

  /** Takes the next bytes; `last` ends the file. */
  async advance(chunk: Buffer, last: boolean): Promise<(Row | BadRow)[]> {
    const rows: (Row | BadRow)[] = [];
    let input = this.#skipping ? this.#skipLine(chunk) : chunk;
    this.#pending = this.#pending.length === 0 ? input : Buffer.concat([this.#pending, input]);
    for (;;) {
      let error = await new Promise<Error | null | undefined>((done) => this.#parser.write(input, done));
      if (!error && last) error = await endOf(this.#parser);
      for (const { fields, end } of this.#found.splice(0)) this.#take(fields, end, rows);
      if (!error) return rows;
      if (!(error instanceof CsvError)) throw error;
      rows.push(this.#rejectLine(error));
      input = this.#pending;
    }
  }

  #newParser(): Parser {
    const parser = parse({
      relax_column_count: true,
      skip_empty_lines: true,
      record_delimiter: ['\r\n', '\n'],
      max_record_size: MAX_ROW_BYTES,
      // Collected here instead of read from the stream, so that what precedes an error is not lost with the stream.
      on_record: (fields: string[], { bytes }) => {
        this.#found.push({ fields, end: bytes });
        return null;
      },
    });
    // Each error reaches the callback of write or end too; without a listener it would end the process.
    return parser.on('error', () => undefined);
  }

  #take(fields: readonly string[], end: number, rows: (Row | BadRow)[]): void {
    let bytes = this.#pending.subarray(0, end - this.#parsed);
    this.#pending = this.#pending.subarray(bytes.length);
    this.#parsed = end;
    for (; isLineEnd(bytes[0]); bytes = bytes.subarray(1)) if (bytes[0] === NEWLINE) this.#line += 1;
    const line = this.#line;
    this.#line += countNewlines(bytes);
    if (this.#headerDue) {
      this.#headerDue = false;
      if (this.#indexes === undefined) this.#nameColumns(fields);
      return;
    }
    const problem = this.#problemOf(fields, bytes);
    const place = { line, raw: bytes.subarray(0, bytes.length - lineEndLength(bytes)) };
    if (problem !== undefined) rows.push({ ...place, problem });
    else rows.push({ ...place, values: this.#indexes!.map((index) => fields[index]) });
  }

  #problemOf(fields: readonly string[], bytes: Buffer): RowProblem | undefined {
    if (fields.length !== this.#columnCount) {
      return { cause: 'bad_row', detail: `${fields.length} fields for ${this.#columnCount} columns` };
    }
    // Bytes that are no character decode as U+FFFD: two users could become one.
    const suspect = fields.some((field) => field.includes('\ufffd'));
    return suspect && !isUtf8(bytes) ? { cause: 'bad_row', detail: NOT_UTF8 } : undefined;
  }

  #rejectLine(error: CsvError): BadRow {
    if (this.#headerDue)
      throw new FreshetError('INPUT_MALFORMED', `the header, line ${this.#line}: ${reasonOf(error)}`);
    // Empty lines that the parser had skipped before the row.
    while (isLineEnd(this.#pending[0])) this.#pending = this.#skipOne();
    const line = this.#line;
    const length = this.#pending.indexOf(NEWLINE);
    const isLong = length > MAX_ROW_BYTES || (length < 0 && error.code === 'CSV_MAX_RECORD_SIZE');
    const raw = this.#pending.subarray(0, Math.min(length < 0 ? Infinity : length, MAX_KEPT_BYTES));
    this.#pending = this.#skipLine(this.#pending);
    this.#parser.destroy();
    this.#parser = this.#newParser();
    this.#parsed = 0;
    const detail = isLong ? `more than ${MAX_ROW_BYTES} bytes` : reasonOf(error);
    return { line, raw: Buffer.from(raw), problem: { cause: isLong ? 'oversized_row' : 'bad_row', detail } };
  }

  /** What follows the end of the line, which may not have come yet. */
  #skipLine(bytes: Buffer): Buffer {
    const length = bytes.indexOf(NEWLINE);
    this.#skipping = length < 0;
    if (length >= 0) this.#line += 1;
    return length < 0 ? Buffer.alloc(0) : bytes.subarray(length + 1);
  }

  #skipOne(): Buffer {
    if (this.#pending[0] === NEWLINE) this.#line += 1;
    return this.#pending.subarray(1);
  }

  #nameColumns(names: readonly string[]): void {
    this.#columnCount = names.length;
    this.#indexes = this.#wanted.map(({ name, required }) => {
      const index = names.indexOf(name);
      if (index >= 0 || !required) return index;
      // The columns found are not listed: without a header they are the first user's action.
      throw new FreshetError('INPUT_MALFORMED', `no column is called ${name}`, {
        remedy:
          'Say which column it is with --map, or name the columns of a file without header: --no-header --columns.',
      });
    });
  }
}

const endOf = (parser: Parser): Promise<Error | null | undefined> =>
  new Promise((done) => parser.end((error?: Error | null) => done(error)));

/** In our words: csv-parse's messages quote the row, which may name a user. */
function reasonOf(error: CsvError): string {
  if (error.code === 'CSV_QUOTE_NOT_CLOSED') return 'a quote is never closed';
  if (error.code === 'CSV_MAX_RECORD_SIZE') return `a quote is not closed within ${MAX_ROW_BYTES} bytes`;
  return 'a quote where none may stand';
}

const isLineEnd = (byte: number | undefined): boolean => byte === NEWLINE || byte === 0x0d;

const lineEndLength = (bytes: Buffer): number => (bytes.at(-1) !== NEWLINE ? 0 : bytes.at(-2) === 0x0d ? 2 : 1);

function countNewlines(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count += 1;
  return count;
}
