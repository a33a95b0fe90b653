/** Item and user vectors from the log: what training made of the same log, and versions that never look ahead. */
import { beforeAll, describe, expect, it } from 'vitest';
import { ContentHash } from '../src/base/content-hash.ts';
import { murmur2, partitionOf } from '../src/base/murmur2.ts';
import { readRecipes, type Recipes } from '../src/vectors/recipes.ts';
import { DailyVectors } from '../src/vectors/daily.ts';
import { userIndex } from '../src/vectors/user-index.ts';
import type { NewRecord } from '../src/log/log.ts';
import { Codec } from '../src/serde/codec.ts';
import { Registry } from '../src/serde/registry.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT } from '../topics/index.ts';
import type { ControlRecord, ItemEmbeddingRecord, UserActionRecord, UserEmbeddingRecord } from '../topics/records.ts';
import { DAY_MS, HOUR_MS, readModelJson, readShippedLog } from './quality-harness.ts';

const PARTITIONS = 3;
const codec = await Codec.open(await Registry.open({ dataDir: null }));

interface ItemParity {
  readonly murmur2: readonly { text: string; hash: number }[];
  readonly users: readonly { userId: string; index: readonly (readonly [dimension: number, sign: number])[] }[];
  readonly items: readonly { itemId: string; midnightMs: number; vector: readonly number[] }[];
}
interface UserParity {
  readonly users: readonly { userId: string; midnightMs: number; vector: readonly number[] }[];
}
const ITEMS = readModelJson<ItemParity>('item-vectors', 'parity.json');
const USERS = readModelJson<UserParity>('long-term', 'parity.json');

let recipes: Recipes;

beforeAll(async () => {
  recipes = await readRecipes();
});

describe('the index of a user', () => {
  it('is drawn by Kafka’s murmur2, of ids in any script', () => {
    expect(ITEMS.murmur2.length).toBeGreaterThan(3);
    for (const { text, hash } of ITEMS.murmur2) expect(murmur2(Buffer.from(text)) >>> 0).toBe(hash);
  });

  it('is that of training', () => {
    const { rawDimension, nonzeros } = recipes.items;
    expect(ITEMS.users.length).toBeGreaterThan(10);
    for (const { userId, index } of ITEMS.users) {
      const { dimensions, signs } = userIndex(userId, rawDimension, nonzeros);
      expect([...dimensions].map((dimension, draw) => [dimension, signs[draw]])).toEqual(index);
    }
  });
});

describe('the shipped recipes on the shipped log', () => {
  it('give the vectors of training: int8 equal, long-term ones within 1e-6', () => {
    const daily = new DailyVectors({ codec, partitions: 1, ...recipes });
    const midnights = new Set([...ITEMS.items, ...USERS.users].map(({ midnightMs }) => midnightMs));
    const log = readShippedLog();
    const compared = { components: 0, different: 0, users: 0, worst: 0 };
    let next = 0;
    for (const midnightMs of [...midnights].sort((a, b) => a - b)) {
      for (; next < log.length && log[next]!.eventTimeMs < midnightMs; next += 1) daily.add(log[next]!);
      for (const { itemId, vector } of ITEMS.items.filter((each) => each.midnightMs === midnightMs)) {
        const found = daily.items.vector(itemId)!;
        expect(found).toHaveLength(vector.length);
        compared.components += vector.length;
        compared.different += vector.filter((value, at) => value !== found[at]).length;
      }
      for (const { userId, vector } of USERS.users.filter((each) => each.midnightMs === midnightMs)) {
        const found = daily.users.vector(userId, midnightMs, (itemId) => daily.items.vector(itemId))!;
        expect(found).toHaveLength(vector.length);
        compared.users += 1;
        compared.worst = Math.max(compared.worst, ...vector.map((value, at) => Math.abs(value - found[at]!)));
      }
    }
    console.info(`vectors against training: ${JSON.stringify(compared)}`);
    expect(compared.components).toBe(ITEMS.items.length * recipes.items.dimension);
    expect(compared.different).toBe(0);
    expect(compared.users).toBe(USERS.users.length);
    expect(compared.worst).toBeLessThanOrEqual(1e-6);
  });
});

const MIDNIGHT_MS = Date.UTC(2020, 0, 1);
const act = (
  dayNumber: number,
  hour: number,
  userId: string,
  itemId: string,
  actionType = 'view',
): UserActionRecord => ({
  userId,
  itemId,
  actionType,
  eventTimeMs: MIDNIGHT_MS + dayNumber * DAY_MS + hour * HOUR_MS,
  surface: null,
});

/** Four days, the third without an action. */
const LOG = [
  act(0, 9, 'u1', 'a'),
  act(0, 9, 'u2', 'a'),
  act(0, 10, 'u2', 'b', 'like'),
  act(1, 0, 'u1', 'c'), // at midnight: not known to the version of that midnight
  act(1, 5, 'u2', 'c', 'bookmark'),
  act(3, 1, 'u3', 'b'),
];

const newDaily = (partitions = PARTITIONS): DailyVectors => new DailyVectors({ codec, partitions, ...recipes });

interface Version {
  readonly name: string;
  readonly base: string | null;
  readonly rows: ReadonlyMap<string, Buffer>;
  readonly records: readonly NewRecord[];
  readonly users: ReadonlyMap<string, UserEmbeddingRecord>;
}

/** The versions that a log is given, each with the index of the action it stands before. */
function versionsOf(log: readonly UserActionRecord[], daily = newDaily()): Map<number, Version> {
  const versions = log.map((action, at): [number, NewRecord[]] => [at, daily.before(action)]);
  return new Map(versions.filter(([, records]) => records.length > 0).map(([at, records]) => [at, read(records)]));
}

function read(records: readonly NewRecord[]): Version {
  const items = records.filter(({ topic }) => topic === 'item-embeddings').map(itemOf);
  const { manifest, version } = items.find((item) => item.manifest !== null)!;
  return {
    name: version,
    base: manifest!.base,
    rows: new Map(items.filter((item) => item.manifest === null).map(({ itemId, vector }) => [itemId, vector!])),
    records,
    users: new Map(
      records
        .filter(({ topic }) => topic === 'user-embeddings')
        .map(({ key, value }) => [
          key!.toString(),
          codec.decode<UserEmbeddingRecord>('user-embeddings-value', value!, {}),
        ]),
    ),
  };
}

const itemOf = ({ value }: NewRecord): ItemEmbeddingRecord =>
  codec.decode<ItemEmbeddingRecord>('item-embeddings-value', value!, {});

/** Every row of a version, its chain of changes resolved. */
function resolve(versions: Iterable<Version>, name: string): Map<string, Buffer> {
  const byName = new Map([...versions].map((version) => [version.name, version]));
  const { base, rows } = byName.get(name)!;
  return new Map([...(base === null ? [] : resolve(byName.values(), base)), ...rows]);
}

describe('daily vectors', () => {
  it('stand before the first action of a day, and nowhere else', () => {
    const versions = versionsOf(LOG);
    expect([...versions].map(([at, { name }]) => [at, name])).toEqual([
      [3, '2020-01-02'],
      [5, '2020-01-04'],
    ]);
  });

  it('know only what came before their midnight, and all of it', () => {
    const versions = versionsOf(LOG);
    for (const [at, { name, users }] of versions) {
      const before = newDaily();
      for (const action of LOG.slice(0, at)) before.add(action);
      const rows = resolve(versions.values(), name);
      expect(rows).toEqual(new Map(before.items.all().map(([itemId, vector]) => [itemId, Buffer.from(vector)])));
      for (const [userId, { vector, asOfMs }] of users) {
        const expected = before.users.vector(userId, asOfMs, (itemId) => before.items.vector(itemId))!;
        expect(asOfMs).toBe(Date.parse(name));
        expect(vector).toEqual([...expected]);
      }
    }
    expect([...versions.get(3)!.users.keys()].sort()).toEqual(['u1', 'u2']);
    expect([...versions.get(3)!.rows.keys()].sort()).toEqual(['a', 'b']);
    expect([...versions.get(5)!.rows.keys()]).toEqual(['c']); // the others are as they were
  });

  it('do not depend on what comes later', () => {
    const whole = versionsOf(LOG).get(3)!;
    const other = versionsOf([...LOG.slice(0, 3), act(1, 0, 'u9', 'a', 'like')]).get(3)!;
    expect(other.records).toEqual(whole.records);
  });

  it('count an action once, however often it was logged', () => {
    const twice = LOG.flatMap((action) => [action, { ...action, surface: 'web' }]);
    const [tied, first, second] = [LOG[0]!, LOG[0]!, LOG[1]!];
    const between = [first, second, tied, ...LOG.slice(2)];
    const once = [...versionsOf(LOG).values()].map(({ records }) => records);
    for (const log of [twice, between]) {
      expect([...versionsOf(log).values()].map(({ records }) => records)).toEqual(once);
    }
  });

  it('are the same in two runs', () => {
    expect([...versionsOf(LOG).values()]).toEqual([...versionsOf(LOG).values()]);
  });

  it('are changes on the version before, and complete every 30th time', () => {
    const log = Array.from({ length: 64 }, (_, day) => act(day, 12, `u${day % 7}`, `i${day % 11}`));
    const versions = [...versionsOf(log).values()];
    expect(versions).toHaveLength(63);
    for (const [index, { name, base, rows }] of versions.entries()) {
      expect(base).toBe(index % 30 === 0 ? null : versions[index - 1]!.name);
      expect(rows.size).toBe(index % 30 === 0 ? Math.min(index + 1, 11) : 1);
      const before = newDaily();
      for (const action of log.slice(0, index + 1)) before.add(action);
      const all = new Map(before.items.all().map(([itemId, vector]) => [itemId, Buffer.from(vector)]));
      expect(resolve(versions, name)).toEqual(all);
    }
  });

  it('are activated in every partition, by the content of their rows', () => {
    for (const { name, records, rows } of versionsOf(LOG).values()) {
      const items = records.filter(({ topic }) => topic === 'item-embeddings').map(itemOf);
      const hash = new ContentHash();
      for (const { itemId, scale, vector } of items.slice(0, -1)) hash.add(itemId, scale, vector);
      const { manifest } = items.at(-1)!;
      const { space, dimension } = recipes.items;
      expect(manifest).toMatchObject({ rowCount: rows.size, contentHash: hash.digest(), space, dimension });
      const activations = records.filter(({ topic }) => topic === 'user-actions');
      expect(activations.map(({ partition }) => partition)).toEqual([0, 1, 2]);
      for (const { key, value, headers } of activations) {
        expect([key, headers![CONTROL_HEADER]!.toString()]).toEqual([null, CONTROL_SUBJECT]);
        const { activation } = codec.decode<ControlRecord>(CONTROL_SUBJECT, value!, headers);
        expect(activation).toEqual({ version: name, rowCount: rows.size, contentHash: hash.digest(), space });
      }
      expect(records.findIndex(({ topic }) => topic === 'user-actions')).toBe(items.length); // rows and manifest first
      expect(records.every(({ timestampMs }) => timestampMs === Date.parse(name))).toBe(true);
    }
  });

  it('place a user’s vector where the user is, of unit length', () => {
    const versions = [...versionsOf(LOG).values()];
    const placed = versions.flatMap(({ records }) => records.filter(({ topic }) => topic === 'user-embeddings'));
    expect(placed.length).toBeGreaterThan(3);
    for (const { key, partition } of placed) expect(partition).toBe(partitionOf(key!, PARTITIONS));
    for (const { users } of versions) {
      for (const { vector, space } of users.values()) {
        expect(Math.hypot(...vector)).toBeCloseTo(1, 6);
        expect(space).toBe(recipes.items.space);
      }
    }
  });
});
