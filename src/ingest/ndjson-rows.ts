/** Newline-delimited JSON as a stream of rows: one object a line, empty lines ignored. */
import { isUtf8 } from 'node:buffer';
import { MAX_KEPT_BYTES, MAX_ROW_BYTES, NOT_UTF8 } from './row.ts';
import type { BadRow, Column, Row, RowProblem, Rows } from './row.ts';
import { utf8Chunks } from './utf8-chunks.ts';

/** How NDJSON files are called. */
export const NDJSON_NAME = /\.(ndjson|jsonl|json)$/i;

const NEWLINE = 0x0a;

/** The rows of one NDJSON file. Integers beyond 2^53 come as text, every digit kept. */
export async function* ndjsonRows(chunks: AsyncIterable<Buffer>, wanted: readonly Column[]): Rows {
  const names = wanted.map(({ name }) => name);
  let line = 1;
  let pending: Buffer = Buffer.alloc(0);
  /** In a line that was rejected for its size before it ended. */
  let skipping = false;

  for await (const chunk of utf8Chunks(chunks)) {
    const rows: (Row | BadRow)[] = [];
    let rest = chunk;
    for (let at = rest.indexOf(NEWLINE); at >= 0; at = rest.indexOf(NEWLINE)) {
      const bytes = pending.length === 0 ? rest.subarray(0, at) : Buffer.concat([pending, rest.subarray(0, at)]);
      rest = rest.subarray(at + 1);
      pending = Buffer.alloc(0);
      if (!skipping) append(rows, readRow(line, bytes, names));
      skipping = false;
      line += 1;
    }
    if (!skipping) pending = Buffer.concat([pending, rest]);
    if (pending.length > MAX_ROW_BYTES) {
      append(rows, readRow(line, pending, names));
      pending = Buffer.alloc(0);
      skipping = true;
    }
    yield rows;
  }
  const rows: (Row | BadRow)[] = [];
  append(rows, readRow(line, pending, names));
  yield rows;
}

const append = (rows: (Row | BadRow)[], row: Row | BadRow | undefined): void => {
  if (row !== undefined) rows.push(row);
};

function readRow(line: number, raw: Buffer, names: readonly string[]): Row | BadRow | undefined {
  const bad = (problem: RowProblem): BadRow => ({ line, raw: raw.subarray(0, MAX_KEPT_BYTES), problem });
  if (raw.length > MAX_ROW_BYTES) return bad({ cause: 'oversized_row', detail: `more than ${MAX_ROW_BYTES} bytes` });
  const text = raw.toString();
  if (text.trim() === '') return undefined;
  if (text.includes('\ufffd') && !isUtf8(raw)) return bad({ cause: 'bad_row', detail: NOT_UTF8 });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return bad({ cause: 'bad_row', detail: 'not JSON' });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return bad({ cause: 'bad_row', detail: 'not a JSON object' });
  }
  return { line, raw, values: valuesOf(value, names, text) };
}

function valuesOf(object: object, names: readonly string[], text: string): unknown[] {
  const values = (from: object): unknown[] =>
    names.map((name) => (Object.hasOwn(from, name) ? (from as Record<string, unknown>)[name] : undefined));
  const read = values(object);
  // Rare, and slow: only a row with such a number is parsed again, with the text of its numbers.
  return read.some((value) => Number.isInteger(value) && !Number.isSafeInteger(value))
    ? values(JSON.parse(text, keepDigits) as object)
    : read;
}

/** A reviver: integers beyond 2^53 become the text they were written as. */
function keepDigits(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  const isLossy = Number.isInteger(value) && !Number.isSafeInteger(value);
  const source = context?.source;
  return isLossy && source !== undefined && /^-?\d+$/.test(source) ? source : value;
}
