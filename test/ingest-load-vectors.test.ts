import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContentHash } from '../src/base/content-hash.ts';
import { partitionOf } from '../src/base/murmur2.ts';
import { activateVersion } from '../src/ingest/activate.ts';
import { ITEM_TOPIC } from '../src/ingest/item-version.ts';
import { loadItemVectors, type LoadItemVectorsOptions } from '../src/ingest/load-item-vectors.ts';
import { loadUserVectors, type LoadUserVectorsOptions } from '../src/ingest/load-user-vectors.ts';
import { openParquet } from '../src/ingest/parquet-rows.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT } from '../topics/index.ts';
import type { ControlRecord, ItemEmbeddingRecord, UserEmbeddingRecord } from '../topics/records.ts';
import { collect, fixture, openBench, PARTITIONS, readAll, type Bench } from './ingest-harness.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await openBench();
});
afterEach(() => bench.close());

const loadItems = (file: string, version: string, options: Partial<LoadItemVectorsOptions> = {}) =>
  loadItemVectors({ log: bench.log, codec: bench.codec, file, version, space: 'test-1', timestampMs: 5, ...options });
const loadUsers = (file: string, options: Partial<LoadUserVectorsOptions> = {}) =>
  loadUserVectors({ log: bench.log, codec: bench.codec, file, version: 'day-1', space: 'test-1', ...options });

async function write(name: string, content: string | Buffer): Promise<string> {
  const file = join(bench.dataDir, name);
  await writeFile(file, content);
  return file;
}

/** What stands in item-embeddings, newest record a key: tombstones as null. */
async function table(): Promise<Map<string, ItemEmbeddingRecord | null>> {
  const rows = new Map<string, ItemEmbeddingRecord | null>();
  for (const { key, value } of await readAll(bench.log, 'item-embeddings')) {
    rows.set(key!.toString(), value && bench.codec.decode<ItemEmbeddingRecord>('item-embeddings-value', value));
  }
  return rows;
}

const components = ({ vector, scale }: ItemEmbeddingRecord): number[] =>
  [...new Int8Array(vector!.buffer, vector!.byteOffset, vector!.length)].map((step) => step * scale);

/** As test/fixtures/ingest/make_fixtures.py has it. */
const fixtureVector = (n: number): number[] => [0, 1, 2, 3].map((d) => (((n * 7 + d * 3) % 17) - 8) / 8);

const activate = (version: string, space = 'test-1') =>
  activateVersion(bench.log, bench.codec, version, { space, timestampMs: 77 });

describe('loading item vectors', () => {
  it('writes 8-bit rows, then the manifest, from Parquet of several row groups', async () => {
    const { manifest, removals, appended } = await loadItems(fixture('items.parquet'), 'v1');
    expect({ removals, appended }).toEqual({ removals: 0, appended: 11 });
    const rows = await table();
    expect([...rows.keys()].at(-1)).toBe('v1/');
    const hash = new ContentHash();
    for (let n = 0; n < 10; n += 1) {
      const row = rows.get(`v1/item-${n}`)!;
      expect(row).toMatchObject({ version: 'v1', itemId: `item-${n}`, manifest: null });
      for (const [d, value] of components(row).entries()) expect(value).toBeCloseTo(fixtureVector(n)[d]!, 2);
      hash.add(row.itemId, row.scale, row.vector);
    }
    expect(manifest).toEqual({ base: null, rowCount: 10, contentHash: hash.digest(), space: 'test-1', dimension: 4 });
    expect(rows.get('v1/')).toEqual({ version: 'v1', itemId: '', vector: null, scale: 0, manifest });
    expect((await readAll(bench.log, 'item-embeddings'))[0]!.timestampMs).toBe(5);
  });

  it('joins named vectors part behind part; a part that an item lacks is zeros', async () => {
    const rows = [
      { itemId: 'both', image: [1, -0.5], text: [0.25] },
      { itemId: 'no-text', image: [0, 1], text: null },
      { itemId: 'no-image', text: [-1] },
    ];
    const json = (all: object[]): string => all.map((row) => `${JSON.stringify(row)}\n`).join('');
    const map = { vector: 'image:2+text:1' };
    const { manifest } = await loadItems(await write('parts.ndjson', json(rows)), 'v1', { map });
    expect(manifest).toMatchObject({ rowCount: 3, dimension: 3 });
    const whole = [
      { itemId: 'both', vector: [1, -0.5, 0.25] },
      { itemId: 'no-text', vector: [0, 1, 0] },
      { itemId: 'no-image', vector: [0, 0, -1] },
    ];
    const same = await loadItems(await write('whole.ndjson', json(whole)), 'v2');
    expect(same.manifest).toEqual(manifest);
    const change = [
      { itemId: 'both', image: null, text: null },
      { itemId: 'no-text', image: [1, 1], text: [1] },
    ];
    const changed = await loadItems(await write('change.ndjson', json(change)), 'v3', { map, base: 'v1' });
    expect(changed).toMatchObject({ removals: 1, manifest: { rowCount: 2, dimension: 3 } });
    const csv = 'itemId,image,text\nboth,1 -0.5,0.25\nno-text,0 1,\nno-image,,-1\n';
    expect((await loadItems(await write('parts.csv', csv), 'v4', { map })).manifest).toEqual(manifest);
  });

  it.each([
    [
      'a part of another dimension',
      { itemId: 'a', image: [1], text: [1] },
      'image: the vector has 1 components, not 2',
    ],
    ['a part that is no vector', { itemId: 'a', image: [1, 2], text: 'x' }, 'text: component 0 of the vector is not'],
    ['no part at all', { itemId: 'a' }, 'no vector'],
    [
      'only parts that are null, without a base',
      { itemId: 'a', image: null, text: null },
      'only a version with --base',
    ],
  ])('of several parts refuses %s', async (_name, row, detail) => {
    const file = await write('bad.ndjson', `${JSON.stringify(row)}\n`);
    await expect(loadItems(file, 'v1', { map: { vector: 'image:2+text:1' } })).rejects.toMatchObject({
      code: 'VECTOR_INVALID',
      detail: expect.stringContaining(detail) as string,
    });
  });

  it('gives the same content from NDJSON and CSV, plain or packed', async () => {
    const { manifest } = await loadItems(fixture('items.parquet'), 'v1');
    const rows = Array.from({ length: 10 }, (_, n) => ({ itemId: `item-${n}`, vector: fixtureVector(n) })).reverse();
    const json = rows.map((row) => `${JSON.stringify(row)}\n`).join('');
    const csv = (list: (vector: number[]) => string): string =>
      `id,vec\n${rows.map(({ itemId, vector }) => `${itemId},"${list(vector)}"\n`).join('')}`;
    const map = { itemId: 'id', vector: 'vec' };
    const same = [
      await loadItems(await write('a.ndjson', json), 'v2'),
      await loadItems(await write('a.jsonl.gz', gzipSync(json)), 'v3'),
      await loadItems(
        await write(
          'a.csv',
          csv((vector) => JSON.stringify(vector)),
        ),
        'v4',
        { map },
      ),
      await loadItems(
        await write(
          'b',
          csv((vector) => vector.join(';')),
        ),
        'v5',
        { map, format: 'csv' },
      ),
    ];
    for (const each of same) expect(each.manifest).toEqual(manifest);
  });

  it('takes 8-bit vectors as they are, with their scale or 1/127', async () => {
    await loadItems(fixture('items-int8.parquet'), 'v1');
    await loadItems(fixture('items-int8-scale.parquet'), 'v2');
    await loadItems(await write('a.ndjson', '{"itemId":"a","vector":[127,-128,0,1],"scale":0.5}'), 'v3');
    const rows = await table();
    const vector = Buffer.from([127, 128, 0, 1]);
    expect(rows.get('v1/a')).toMatchObject({ vector, scale: Math.fround(1 / 127) });
    expect(rows.get('v2/a')).toMatchObject({ vector, scale: 0.5 });
    expect(rows.get('v2/b')).toMatchObject({ vector: Buffer.from([1, 2, 3, 4]), scale: 0.25 });
    expect(rows.get('v3/a')).toMatchObject({ vector, scale: 0.5 });
  });

  it('takes changes and removals on a base', async () => {
    await loadItems(fixture('items.parquet'), 'v1');
    const { manifest, removals } = await loadItems(fixture('items-change.parquet'), 'v2', { base: 'v1' });
    expect(removals).toBe(1);
    expect(manifest).toMatchObject({ base: 'v1', rowCount: 2, dimension: 4 });
    expect((await table()).get('v2/item-4')).toMatchObject({ vector: null, scale: 0 });
    const csv = await write('c.csv', 'itemId,vector\nitem-5,\n');
    expect(await loadItems(csv, 'v3', { base: 'v2' })).toMatchObject({ removals: 1, manifest: { dimension: 4 } });
  });

  it.each([
    ['a number that is not finite', 'itemId,vector\na,1 2\nb,1 NaN\n', 3],
    ['another dimension', 'itemId,vector\na,1 2\nb,1 2 3\n', 3],
    ['an item twice', 'itemId,vector\na,1 2\nb,1 2\na,1 2\n', 4],
    ['an empty id', 'itemId,vector\n,1 2\n', 2],
    ['an id of 1 MB', `itemId,vector\n${'x'.repeat(1024 * 1024)},1 2\n`, 2],
    ['no vector and no base', 'itemId,vector\na,\n', 2],
    ['a scale of 0', 'itemId,vector,scale\na,1 2,0\n', 2],
    ['a row that cannot be read', 'itemId,vector\na,1 2\nb,"1\n', 3],
  ])('refuses %s, with the line and no manifest', async (_, text, line) => {
    const loading = loadItems(await write('x.csv', text), 'v1');
    await expect(loading).rejects.toMatchObject({
      code: 'VECTOR_INVALID',
      exitCode: 3,
      detail: expect.stringContaining(`line ${line}:`) as string,
    });
    expect((await table()).has('v1/')).toBe(false);
    await expect(activate('v1')).rejects.toMatchObject({ code: 'VECTOR_VERSION_UNKNOWN' });
  });

  it('refuses what does not fit the version it is based on', async () => {
    await loadItems(fixture('items.parquet'), 'v1');
    const file = await write('x.csv', 'itemId,vector\na,1 2\n');
    await expect(loadItems(file, 'v2', { base: 'v1' })).rejects.toMatchObject({ code: 'VECTOR_INVALID' });
    const change = fixture('items-change.parquet');
    await expect(loadItems(change, 'v2', { base: 'v1', space: 'other' })).rejects.toMatchObject({
      code: 'VECTOR_INVALID',
    });
    await expect(loadItems(change, 'v2', { base: 'v0' })).rejects.toMatchObject({ code: 'VECTOR_VERSION_UNKNOWN' });
    await expect(loadItems(change, 'v2', { base: 'v2' })).rejects.toMatchObject({ code: 'USAGE' });
  });

  it('refuses files without rows, columns or a known format, and names that cannot stand in a key', async () => {
    await expect(loadItems(await write('x.csv', 'itemId,vector\n'), 'v1')).rejects.toMatchObject({
      code: 'VECTOR_INVALID',
    });
    await expect(loadItems(await write('x.csv', 'item,vector\na,1\n'), 'v1')).rejects.toMatchObject({
      code: 'INPUT_MALFORMED',
    });
    await expect(loadItems(fixture('users.parquet'), 'v1')).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
    await expect(loadItems(await write('x.parquet', 'PAR1 and no more'), 'v1')).rejects.toMatchObject({
      code: 'INPUT_MALFORMED',
    });
    await expect(loadItems(await write('x.tsv', 'a'), 'v1')).rejects.toMatchObject({ code: 'USAGE' });
    await expect(loadItems('/nowhere.csv', 'v1')).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
    for (const version of ['', 'a/b', 'a b']) {
      await expect(loadItems(fixture('items.parquet'), version)).rejects.toMatchObject({ code: 'USAGE' });
    }
  });
});

describe('Parquet', () => {
  it('is read a row group at a time, and refused when one is too large to decode', async () => {
    const wanted = [{ name: 'itemId', required: true }];
    const groups: number[] = [];
    for await (const rows of (await openParquet(fixture('items.parquet'), wanted)).rows) groups.push(rows.length);
    expect(groups).toEqual([4, 4, 2]);
    const { rows } = await openParquet(fixture('items.parquet'), wanted, 16);
    await expect(collect(rows)).rejects.toMatchObject({
      code: 'INPUT_MALFORMED',
      remedy: expect.stringContaining('row groups') as string,
    });
  });
});

describe('loading an item version again', () => {
  const A = 'itemId,vector\na,1 2\nb,3 4\nc,5 6\n';

  it('writes nothing when it is complete with this content, in any order', async () => {
    const first = await loadItems(await write('a.csv', A), 'v1');
    const again = await loadItems(await write('b.csv', 'itemId,vector\nc,5 6\na,1 2\nb,3 4\n'), 'v1');
    expect(again).toEqual({ ...first, appended: 0 });
  });

  it('is refused with other content, and changes nothing', async () => {
    await loadItems(await write('a.csv', A), 'v1');
    const end = await bench.log.endOffset(ITEM_TOPIC);
    for (const [text, options] of [
      ['itemId,vector\na,1 2\nb,3 4\nc,5 7\n', {}],
      ['itemId,vector\na,1 2\nb,3 4\n', {}],
      [A, { space: 'other' }],
    ] as const) {
      const loading = loadItems(await write('b.csv', text), 'v1', options);
      await expect(loading).rejects.toMatchObject({ code: 'VECTOR_VERSION_EXISTS' });
    }
    expect(await bench.log.endOffset(ITEM_TOPIC)).toBe(end);
  });

  it('finishes what was interrupted: writes what is missing or different, removes what is not in the file', async () => {
    // Stops at its last line, the rows before it written: as a kill between batches leaves it.
    const rows = Array.from({ length: 6_000 }, (_, n) => `i${n},${n} 1\n`).join('');
    const cut = await write('cut.csv', `itemId,vector\nstray,9 9\n${rows}x,NaN\n`);
    await expect(loadItems(cut, 'v1')).rejects.toMatchObject({ code: 'VECTOR_INVALID' });
    expect((await table()).size).toBe(5_000);

    const whole = await write('whole.csv', `itemId,vector\n${rows.replace('i7,7 1', 'i7,7 2')}`);
    const { manifest, appended } = await loadItems(whole, 'v1');
    const stored = await table();
    expect(stored.get('v1/stray')).toBeNull();
    // i7 changed, the rows that were cut off, the stray, the manifest.
    expect(appended).toBe(1 + (6_000 - 4_999) + 1 + 1);
    expect(manifest.rowCount).toBe(6_000);
    await expect(activate('v1')).resolves.toMatchObject({ manifest });
    const fresh = await loadItems(whole, 'v2');
    expect(fresh.manifest).toEqual(manifest);
  });
});

describe('loading user vectors', () => {
  it('writes each row under its user, as of its time', async () => {
    expect(await loadUsers(fixture('users.parquet'), { map: { userId: 'uid' } })).toEqual({ rows: 2, dimension: 2 });
    const all = await readAll(bench.log, 'user-embeddings');
    for (const { key, partition, timestampMs, value } of all) {
      const record = bench.codec.decode<UserEmbeddingRecord>('user-embeddings-value', value!);
      expect(key!.toString()).toBe(record.userId);
      expect(partition).toBe(partitionOf(key!, PARTITIONS));
      expect(timestampMs).toBe(record.asOfMs);
    }
    const records = all.map(({ value }) => bench.codec.decode<UserEmbeddingRecord>('user-embeddings-value', value!));
    const shared = { version: 'day-1', space: 'test-1' };
    expect(records).toHaveLength(2);
    expect(records).toContainEqual({
      ...shared,
      userId: '3891637997717104548',
      asOfMs: 1_480_550_400_000,
      vector: [0.5, 1.5],
    });
    expect(records).toContainEqual({
      ...shared,
      userId: '-8845298781299428018',
      asOfMs: 1_480_636_800_000,
      vector: [-2, 0.25],
    });
  });

  it('takes the time of the call where the row has none', async () => {
    const file = await write(
      'u.ndjson',
      '{"userId":"u","vector":[1]}\n{"userId":"w","vector":[2],"asOf":"2016-12-01"}\n',
    );
    await expect(loadUsers(file)).rejects.toMatchObject({
      code: 'VECTOR_INVALID',
      detail: expect.stringContaining('--as-of') as string,
    });
    await expect(loadUsers(file, { asOf: 'today' })).rejects.toMatchObject({ code: 'USAGE' });
    await loadUsers(file, { asOf: '2016-11-30T00:00:00Z' });
    const times = (await readAll(bench.log, 'user-embeddings')).map(({ key, timestampMs }) => [
      key!.toString(),
      timestampMs,
    ]);
    expect(times.sort()).toEqual([
      ['u', Date.UTC(2016, 10, 30)],
      ['w', Date.UTC(2016, 11, 1)],
    ]);
  });

  it.each([
    ['another dimension', '{"userId":"u","vector":[1]}\n{"userId":"w","vector":[1,2]}\n', 2],
    ['no vector', '{"userId":"u","vector":null}\n', 1],
    ['a number that is none', '{"userId":"u","vector":[NaN]}\n', 1],
    ['no user', '{"vector":[1]}\n', 1],
    ['no time', '{"userId":"u","vector":[1],"asOf":"now"}\n', 1],
  ])('refuses %s', async (_, text, line) => {
    const loading = loadUsers(await write('u.ndjson', text), { asOf: 1 });
    await expect(loading).rejects.toMatchObject({
      code: 'VECTOR_INVALID',
      detail: expect.stringContaining(`line ${line}:`) as string,
    });
  });
});

describe('activating a version', () => {
  it('of another space than the model’s is refused, and nothing is written', async () => {
    await loadItems(fixture('items.parquet'), 'v1');
    await expect(activate('v1', 'other')).rejects.toMatchObject({ code: 'SPACE_MISMATCH' });
    expect(await bench.log.endOffset({ topic: 'user-actions', partition: 0 })).toBe(0);
  });

  it('appends one control record to each partition of user-actions', async () => {
    const { manifest } = await loadItems(fixture('items.parquet'), 'v1');
    expect(await activate('v1')).toEqual({ manifest, offsets: new Array(PARTITIONS).fill(0) });
    const all = await readAll(bench.log, 'user-actions');
    expect(all.map(({ partition }) => partition)).toEqual([0, 1, 2, 3]);
    const { rowCount, contentHash, space } = manifest;
    for (const { key, value, headers, timestampMs } of all) {
      expect({ key, timestampMs }).toEqual({ key: null, timestampMs: 77 });
      expect(headers[CONTROL_HEADER]!.toString()).toBe(CONTROL_SUBJECT);
      const control = bench.codec.decode<ControlRecord>(CONTROL_SUBJECT, value!);
      expect(control).toEqual({ activation: { version: 'v1', rowCount, contentHash, space }, expire: null });
    }
  });

  it('needs the whole chain', async () => {
    await loadItems(fixture('items.parquet'), 'v1');
    await loadItems(fixture('items-change.parquet'), 'v2', { base: 'v1' });
    await expect(activate('v2')).resolves.toMatchObject({ manifest: { base: 'v1' } });
    const lost = { ...ITEM_TOPIC, timestampMs: 1, value: null };
    await bench.log.append([{ ...lost, key: Buffer.from('v1/item-9') }]);
    await expect(activate('v2')).rejects.toMatchObject({
      code: 'ITEM_VERSION_INCOMPLETE',
      detail: expect.stringContaining('v1') as string,
    });
    // The remedy: loading it again brings the row back.
    expect(await loadItems(fixture('items.parquet'), 'v1')).toMatchObject({ appended: 1 });
    await expect(activate('v2')).resolves.toMatchObject({ manifest: { base: 'v1' } });
    await bench.log.append([{ ...lost, key: Buffer.from('v1/') }]);
    await expect(activate('v2')).rejects.toMatchObject({ code: 'ITEM_VERSION_INCOMPLETE' });
    await expect(activate('v1')).rejects.toMatchObject({ code: 'VECTOR_VERSION_UNKNOWN' });
    expect(await readAll(bench.log, 'user-actions')).toHaveLength(2 * PARTITIONS);
  });
});
