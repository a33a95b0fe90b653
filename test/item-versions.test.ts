import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ItemVersions } from '../src/intent/item-versions.ts';
import { EmbeddedLog } from '../src/log/embedded.ts';
import { Codec } from '../src/serde/codec.ts';
import { Registry } from '../src/serde/registry.ts';
import { declareTopics } from '../topics/index.ts';
import { activationOf, contentOf, manifestOf, Publisher, scaleOf, type Version } from './fixtures/intent/versions.ts';

const ITEMS = ['a', 'b', 'c', 'd', 'é/世界'];
const V1: Version = {
  version: 'v1',
  base: null,
  rows: { a: [1, 2, 3, 4], b: [5, 6, 7, 8], 'é/世界': [-128, 127, 0, -1] },
};
const V2: Version = { version: 'v2', base: 'v1', rows: { b: [9, 9, 9, 9], c: [1, 1, 1, 1] } };
const V3: Version = { version: 'v3', base: 'v2', rows: { a: null, b: [0, 0, 0, 1] } };
const row = (vector: number[]): number[] => [...vector, scaleOf(vector)];
const unicode = { 'é/世界': row([-128, 127, 0, -1]) };
const CONTENT1 = { a: row([1, 2, 3, 4]), b: row([5, 6, 7, 8]), ...unicode };
const CONTENT2 = { a: row([1, 2, 3, 4]), b: row([9, 9, 9, 9]), c: row([1, 1, 1, 1]), ...unicode };
const CONTENT3 = { b: row([0, 0, 0, 1]), c: row([1, 1, 1, 1]), ...unicode };

let folder: string;
let log: EmbeddedLog;
let publisher: Publisher;
let versions: ItemVersions;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'freshet-versions-'));
  log = await EmbeddedLog.open(path.join(folder, 'log'));
  await log.createTopics(declareTopics(2));
  const codec = await Codec.open(await Registry.open({ dataDir: null }));
  publisher = new Publisher(codec);
  versions = new ItemVersions({ log, codec });
});

afterEach(async () => {
  await log.close();
  await rm(folder, { recursive: true });
});

const content = async (version: Version): Promise<Record<string, number[]> | undefined> => {
  const table = await versions.table(activationOf(version));
  if (table !== undefined) expect(table.version).toBe(version.version);
  return table && contentOf(table, ITEMS);
};

describe('the table of an activated version', () => {
  it('is its chain resolved: changes replace, null removes, other versions do not show', async () => {
    const stray: Version = { version: 'v1-never', base: null, rows: { d: [7, 7, 7, 7] } };
    await log.append([V1, stray, V2, V3].flatMap((version) => publisher.all(version)));
    expect(await content(V3)).toEqual(CONTENT3);
    expect(await content(V1)).toEqual(CONTENT1);
    expect(await content(V2)).toEqual(CONTENT2);
  });

  it('stays what it is when later versions are loaded, in another branch too', async () => {
    const branch: Version = { version: 'v2b', base: 'v1', rows: { a: [0, 0, 1, 0], b: null } };
    await log.append([V1, V2, branch].flatMap((version) => publisher.all(version)));
    const first = await versions.table(activationOf(V1));
    expect(await content(V2)).toEqual(CONTENT2);
    expect(await content(branch)).toEqual({ a: row([0, 0, 1, 0]), ...unicode });
    await log.append(publisher.all(V3));
    expect(await content(V3)).toEqual(CONTENT3);
    expect(contentOf(first!, ITEMS)).toEqual(CONTENT1);
    expect(await content(V2)).toEqual(CONTENT2);
  });

  it('is absent until its rows, its manifest and those of every version below are in the log', async () => {
    expect(await content(V2)).toBeUndefined();
    expect(versions.reason('v2')).toBe('v2: nothing of it is in the log');
    await log.append(publisher.rows(V2));
    expect(await content(V2)).toBeUndefined();
    expect(versions.reason('v2')).toBe('v2: its manifest is not in the log');
    await log.append([publisher.manifest(V2)]);
    expect(await content(V2)).toBeUndefined();
    expect(versions.reason('v2')).toBe('v1: nothing of it is in the log');
    const [last, ...others] = publisher.rows(V1);
    await log.append([publisher.manifest(V1), ...others]);
    expect(await content(V2)).toBeUndefined();
    expect(versions.reason('v2')).toContain('v1: 2 rows of 3 are in the log');
    await log.append([last!]);
    expect(await content(V2)).toEqual(CONTENT2);
    expect(versions.reason('v2')).toBeUndefined();
  });

  it('takes the newest of rows written twice, once, and none that was taken back', async () => {
    const wrong: Version = { ...V1, rows: { ...V1.rows, a: [0, 0, 0, 0], d: [1, 0, 0, 0] } };
    const records = [...publisher.rows(wrong), ...publisher.rows(V2), ...publisher.rows(V1)];
    await log.append([...records, publisher.tombstone('v1', 'd'), publisher.manifest(V1), publisher.manifest(V2)]);
    expect(await content(V1)).toEqual(CONTENT1);
    await log.append([...publisher.all(V1)]);
    expect(await content(V2)).toEqual(CONTENT2);
  });

  it('can be resolved however the rows of versions lie among one another', async () => {
    const [one, two] = [publisher.rows(V1), publisher.rows(V2)];
    const mixed = [...one.slice(0, 1), ...two.slice(0, 1), ...one.slice(1, 2), ...two.slice(1), ...one.slice(2)];
    await log.append([...mixed, publisher.manifest(V2), publisher.manifest(V1)]);
    expect(await content(V2)).toEqual(CONTENT2);
    expect(await content(V1)).toEqual(CONTENT1);
  });

  it.each<[string, () => ReturnType<Publisher['all']>, RegExp]>([
    [
      'other vectors',
      () => [...publisher.rows({ ...V1, rows: { ...V1.rows, a: [1, 2, 3, 5] } }), publisher.manifest(V1)],
      /content hash/,
    ],
    [
      'more rows',
      () => [...publisher.rows({ ...V1, rows: { ...V1.rows, d: [1, 2, 3, 5] } }), publisher.manifest(V1)],
      /4 rows of 3/,
    ],
    [
      'another manifest',
      () => [...publisher.all(V1), publisher.manifest(V1, { contentHash: '0'.repeat(64) })],
      /contentHash/,
    ],
    [
      'another space',
      () => [...publisher.rows(V1), publisher.manifest(V1, { space: 'other' })],
      /space test-1, not other/,
    ],
    ['another dimension', () => [...publisher.rows(V1), publisher.manifest(V1, { dimension: 5 })], /no vector of 5/],
    [
      'a base that is itself',
      () => [...publisher.rows(V1), publisher.manifest(V1, { base: 'v1' })],
      /comes back to v1/,
    ],
    ['a tombstone for a manifest', () => [...publisher.all(V1), publisher.tombstone('v1', '')], /nothing of it/],
    [
      'no manifest in the manifest',
      () => [...publisher.rows(V1), publisher.record('v1', '', {})],
      /manifest is not in/,
    ],
    [
      'a manifest that is not Avro',
      () => [...publisher.rows(V1), { ...publisher.manifest(V1), value: Buffer.from([0, 0]) }],
      /offset 3/,
    ],
    [
      'a row that is not Avro',
      () => [
        { ...publisher.rows(V1)[0]!, value: Buffer.from([9]) },
        ...publisher.rows(V1).slice(1),
        publisher.manifest(V1),
      ],
      /offset 0/,
    ],
    [
      'a scale that is no number',
      () => [...publisher.all(V1), publisher.record('v1', 'a', { vector: Buffer.alloc(4), scale: NaN })],
      /offset 4 is no vector/,
    ],
  ])('is absent, with the reason, if the log has %s', async (_, records, reason) => {
    await log.append(records());
    expect(await content(V1)).toBeUndefined();
    expect(versions.reason('v1')).toMatch(reason);
    await log.append([publisher.tombstone('v1', ''), publisher.tombstone('v1', 'd'), ...publisher.all(V1)]);
    expect(await content(V1)).toEqual(CONTENT1);
  });

  it('must share space and dimension with its base', async () => {
    await log.append([...publisher.rows(V1), publisher.manifest(V1, { space: 'other' }), ...publisher.all(V2)]);
    expect(await content(V2)).toBeUndefined();
    expect(versions.reason('v2')).toMatch(/v1 has another space or dimension/);
  });

  it('must be what the activation says, once it is loaded too', async () => {
    await log.append(publisher.all(V1));
    expect(await content(V1)).toEqual(CONTENT1);
    const { rowCount } = manifestOf(V1);
    expect(await versions.table({ ...activationOf(V1), rowCount: rowCount + 1 })).toBeUndefined();
    expect(versions.reason('v1')).toMatch(/rowCount 4, not 3/);
    expect(await versions.table({ ...activationOf(V1), space: 'other' })).toBeUndefined();
  });

  it('is the same for tasks that ask at once', async () => {
    await log.append([V1, V2, V3].flatMap((version) => publisher.all(version)));
    const asked = [V3, V1, V2, V3, V1, V2, V1, V3];
    const found = await Promise.all(asked.map(content));
    expect(found).toEqual(asked.map((version) => ({ v1: CONTENT1, v2: CONTENT2, v3: CONTENT3 })[version.version]));
  });
});
