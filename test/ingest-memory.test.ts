import { execFile } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGzip } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixture } from './ingest-harness.ts';

/** Of the heap's old generation: the unpacked files are larger. */
const HEAP_MB = 32;
const MAX_RSS_MB = 256;
const BLOCK_BYTES = 1024 * 1024;
const BLOCKS = 48;
/** In a column that is not mapped. */
const NOTE = 'a note that no one reads '.repeat(8);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'freshet-memory-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Writes `head`, then the same megabyte of rows again and again, gzipped; returns the path. */
async function writeLarge(name: string, head: string, block: string): Promise<string> {
  const file = join(folder, name);
  const blocks = function* (): Generator<string> {
    yield head;
    for (let n = 0; n < BLOCKS; n += 1) yield block;
  };
  await pipeline(Readable.from(blocks()), createGzip({ level: 1 }), createWriteStream(file));
  return file;
}

async function load(
  file: string,
  format: 'csv' | 'ndjson',
): Promise<{ appended: number; rejected: object; rssMb: number }> {
  const script = [`--max-old-space-size=${HEAP_MB}`, fixture('load-large.ts'), file, format, folder];
  const { stdout } = await promisify(execFile)(process.execPath, script);
  return JSON.parse(stdout) as { appended: number; rejected: object; rssMb: number };
}

describe('a large file needs no more memory than a small one', () => {
  it.each([
    ['csv', 'userId,itemId,actionType,eventTime,note\n', `some-user,some-item,view,1457963676000,"${NOTE}"\n`],
    [
      'ndjson',
      '',
      `{"userId":"user","itemId":"item","actionType":"view","eventTime":1457963676000,"note":"${NOTE}"}\n`,
    ],
  ] as const)('%s', async (format, head, row) => {
    const rowsPerBlock = Math.floor(BLOCK_BYTES / row.length);
    const { appended, rejected, rssMb } = await load(await writeLarge(format, head, row.repeat(rowsPerBlock)), format);
    expect({ appended, rejected }).toEqual({ appended: BLOCKS * rowsPerBlock, rejected: {} });
    expect(rssMb).toBeLessThan(MAX_RSS_MB);
  });

  it.each(['csv', 'ndjson'] as const)('%s that is one endless row', async (format) => {
    const head = format === 'csv' ? 'userId,itemId,actionType,eventTime\nu,"' : '{"userId":"';
    const { appended, rejected, rssMb } = await load(
      await writeLarge(`endless-${format}`, head, 'x'.repeat(BLOCK_BYTES)),
      format,
    );
    expect({ appended, rejected }).toEqual({ appended: 0, rejected: { oversized_row: 1 } });
    expect(rssMb).toBeLessThan(MAX_RSS_MB);
  });
});
