import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { csvRows, type CsvOptions } from '../src/ingest/csv-rows.ts';
import { ndjsonRows } from '../src/ingest/ndjson-rows.ts';
import { MAX_KEPT_BYTES, MAX_ROW_BYTES, textOf } from '../src/ingest/row.ts';
import type { BadRow, Row } from '../src/ingest/row.ts';
import { chunksOf, collect } from './ingest-harness.ts';

const HEADER: CsvOptions = { header: true, columns: null };
const AB = [
  { name: 'a', required: true },
  { name: 'b', required: false },
];

const readCsv = (text: string | Buffer, options = HEADER, sizes = [7]): Promise<(Row | BadRow)[]> =>
  collect(csvRows(chunksOf(Buffer.from(text), sizes), AB, options));
const readNdjson = (text: string | Buffer, sizes = [7]): Promise<(Row | BadRow)[]> =>
  collect(ndjsonRows(chunksOf(Buffer.from(text), sizes), AB));

/** Line, then values or cause: what a test compares. */
const brief = (rows: readonly (Row | BadRow)[]): unknown[] =>
  rows.map((row) => [row.line, row.problem === undefined ? row.values : row.problem.cause]);

describe('rows of a CSV file', () => {
  it('come by column name, whatever the order, the mark, the line ends and the last line', async () => {
    expect(brief(await readCsv('\ufeffb,x,a\r\n1,2,3\r\n\r\n"4, 4",5,"6""6"'))).toEqual([
      [2, ['3', '1']],
      [4, ['6"6', '4, 4']],
    ]);
  });

  it('count lines from where a row starts, over line ends inside quotes', async () => {
    expect(brief(await readCsv('a,b\n1,"x\r\ny\nz"\n2,w\n'))).toEqual([
      [2, ['1', 'x\r\ny\nz']],
      [5, ['2', 'w']],
    ]);
  });

  it('are named by the caller where there is no header, and in place of one', async () => {
    const columns = ['b', 'a'];
    expect(brief(await readCsv('1,2\n', { header: false, columns }))).toEqual([[1, ['2', '1']]]);
    expect(brief(await readCsv('x,y\n1,2\n', { header: true, columns }))).toEqual([[2, ['2', '1']]]);
  });

  it('survive any cut into chunks and any text', async () => {
    const cell = fc.string({
      unit: fc.constantFrom('x', '"', ',', '\n', '\r', ' ', 'é', '\u{1f600}', '\ufffd'),
      maxLength: 6,
    });
    const table = fc.array(fc.tuple(fc.integer().map(String), cell), { maxLength: 8 });
    const sizes = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 4 });
    const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`;
    await fc.assert(
      fc.asyncProperty(table, sizes, fc.constantFrom('\n', '\r\n'), async (rows, cut, lineEnd) => {
        const lines = [['a', 'b'], ...rows].map((cells) => cells.map(quoted).join(','));
        const read = await readCsv(lines.join(lineEnd), HEADER, cut);
        expect(read.map((row) => row.values)).toEqual(rows);
      }),
      { numRuns: 1_000 },
    );
  });

  it('cost one line each when malformed, wherever the chunks are cut', async () => {
    const text = 'a,b\n1,x\n2,"y\n3,z\n4,v"w\n5,"u"t\n6,s\n7\n8,q,r\n9,p\n10,"o';
    const expected = [
      [2, ['1', 'x']],
      [3, 'bad_row'],
      [4, ['3', 'z']],
      [5, 'bad_row'],
      [6, 'bad_row'],
      [7, ['6', 's']],
      [8, 'bad_row'],
      [9, 'bad_row'],
      [10, ['9', 'p']],
      [11, 'bad_row'],
    ];
    for (const size of [1, 2, 3, 5, 8, 13, 1000]) expect(brief(await readCsv(text, HEADER, [size]))).toEqual(expected);
  });

  it('keep the bytes of a bad row as they stand in the file', async () => {
    const rows = await readCsv('a,b\r\n\r\n1,"x"y\r\n1,2,3\r\n');
    expect(rows.map((row) => row.raw.toString().trimEnd())).toEqual(['1,"x"y', '1,2,3']);
  });

  it('are found again behind a quote that is never closed', async () => {
    const good = Array.from({ length: 300_000 }, (_, n) => `${n},some text\n`).join('');
    expect(good.length).toBeGreaterThan(2 * MAX_ROW_BYTES);
    const rows = await readCsv(`a,b\n1,"open\n${good}`, HEADER, [65_536]);
    expect(rows).toHaveLength(300_001);
    expect(rows[0]).toMatchObject({ line: 2, problem: { cause: 'bad_row' } });
    expect(rows.at(-1)).toMatchObject({ line: 300_002, values: ['299999', 'some text'] });
  });

  it('are not held when a line is larger than the limit', async () => {
    const rows = await readCsv(`a,b\n1,${'x'.repeat(3 * MAX_ROW_BYTES)}\n2,y\n`, HEADER, [65_536]);
    expect(brief(rows)).toEqual([
      [2, 'oversized_row'],
      [3, ['2', 'y']],
    ]);
    expect(rows[0]!.raw).toHaveLength(MAX_KEPT_BYTES);
  });

  it('are bad where the bytes are not UTF-8, good where they say U+FFFD', async () => {
    const text = Buffer.concat([Buffer.from('a,b\n1,\ufffd\n2,'), Buffer.from([0xe9]), Buffer.from('\n')]);
    expect(brief(await readCsv(text))).toEqual([
      [2, ['1', '\ufffd']],
      [3, 'bad_row'],
    ]);
  });

  it('are refused without the columns asked for, in UTF-16, and under a malformed header', async () => {
    await expect(readCsv('x,b\n1,2\n')).rejects.toMatchObject({
      code: 'INPUT_MALFORMED',
      detail: 'no column is called a',
    });
    await expect(readCsv(Buffer.from('\ufeffa,b\n', 'utf16le'))).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    await expect(readCsv('a,"b\n1,2\n')).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
  });
});

describe('rows of an NDJSON file', () => {
  it('come by field name; what is absent is undefined', async () => {
    expect(brief(await readNdjson('\ufeff{"b":"x","a":1}\r\n\n{"a":null}'))).toEqual([
      [1, [1, 'x']],
      [3, [null, undefined]],
    ]);
  });

  it('keep every digit of integers beyond 2^53', async () => {
    const rows = await readNdjson('{"a":-8845298781299428018,"b":3891637997717104548}\n{"a":9007199254740993,"b":1}\n');
    expect(brief(rows)).toEqual([
      [1, ['-8845298781299428018', '3891637997717104548']],
      [2, ['9007199254740993', 1]],
    ]);
  });

  it('are bad when they are no JSON object, not UTF-8, or too large', async () => {
    const notUtf8 = Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xff]), Buffer.from('"}\n')]);
    const large = Buffer.from(`{"a":"${'x'.repeat(2 * MAX_ROW_BYTES)}"}\n`);
    const text = Buffer.concat([Buffer.from('{"a":\n[1]\n7\n'), notUtf8, large, Buffer.from('{"a":"end"}')]);
    const rows = await readNdjson(text, [65_536]);
    expect(brief(rows)).toEqual([
      [1, 'bad_row'],
      [2, 'bad_row'],
      [3, 'bad_row'],
      [4, 'bad_row'],
      [5, 'oversized_row'],
      [6, ['end', undefined]],
    ]);
    expect(rows[4]!.raw).toHaveLength(MAX_KEPT_BYTES);
  });

  it('survive any cut into chunks', async () => {
    const object = fc.record({ a: fc.string({ unit: 'binary' }), b: fc.oneof(fc.integer(), fc.constant(null)) });
    const sizes = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(fc.array(object, { maxLength: 8 }), sizes, async (objects, cut) => {
        const text = objects.map((each) => JSON.stringify(each)).join('\n');
        expect((await readNdjson(text, cut)).map((row) => row.values)).toEqual(objects.map(({ a, b }) => [a, b]));
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('a text field', () => {
  it('takes text and integers as they are, and refuses the rest without quoting it', () => {
    expect([textOf('', 'x'), textOf(-7, 'x'), textOf(2n ** 63n, 'x')]).toEqual(['', '-7', '9223372036854775808']);
    expect(textOf(undefined, 'x')).toEqual({ cause: 'missing_field', detail: 'no x' });
    for (const value of [1.5, 2 ** 53, true, {}]) expect(textOf(value, 'x')).toMatchObject({ cause: 'bad_field' });
  });
});
