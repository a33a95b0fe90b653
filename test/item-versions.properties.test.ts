import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { ItemVersions } from '../src/intent/item-versions.ts';
import { Codec } from '../src/serde/codec.ts';
import { Registry } from '../src/serde/registry.ts';
import {
  activationOf,
  contentOf,
  DIMENSION,
  MemoryItemLog,
  Publisher,
  scaleOf,
  type Rows,
  type Version,
} from './fixtures/intent/versions.ts';

const ITEMS = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];

let codec: Codec;
let publisher: Publisher;

beforeAll(async () => {
  codec = await Codec.open(await Registry.open({ dataDir: null }));
  publisher = new Publisher(codec);
});

const vector = fc.array(fc.integer({ min: -128, max: 127 }), { minLength: DIMENSION, maxLength: DIMENSION });
const rows: fc.Arbitrary<Rows> = fc.dictionary(fc.constantFrom(...ITEMS), fc.option(vector), {
  minKeys: 1,
  noNullPrototype: true,
});

/** Versions v0, v1, …, each alone or a change on any earlier one. */
const forest: fc.Arbitrary<Version[]> = fc
  .array(fc.record({ rows, base: fc.option(fc.nat(), { freq: 6 }) }), { minLength: 1, maxLength: 12 })
  .map((drawn) =>
    drawn.map(({ rows: drawnRows, base }, n) => ({
      version: `v${n}`,
      base: base === null || n === 0 ? null : `v${n - 1 - Math.min(base % (2 * n), n - 1)}`,
      rows: drawnRows,
    })),
  );

/** The content of a version by the definition: that of its base, overwritten. */
function expected(versions: readonly Version[], version: Version): Record<string, number[]> {
  const base = versions.find((other) => other.version === version.base);
  const content = base === undefined ? {} : expected(versions, base);
  for (const [itemId, values] of Object.entries(version.rows)) {
    if (values === null) delete content[itemId];
    else content[itemId] = [...values, scaleOf(values)];
  }
  return content;
}

describe('item versions', () => {
  it('are what their chains say, in whatever order and memory they are asked for', async () => {
    const asked = fc.array(fc.nat(), { minLength: 1, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(forest, asked, fc.integer({ min: 0, max: 40 }), async (versions, asks, maxRows) => {
        const memory = new MemoryItemLog();
        const published = versions.length >> 1;
        const append = (some: readonly Version[]): void => memory.append(some.flatMap((v) => publisher.all(v)));
        append(versions.slice(0, published));
        const loaded = new ItemVersions({ log: memory.log, codec, maxRows });
        const tables = [];
        for (const [n, ask] of asks.entries()) {
          if (n === asks.length >> 1) append(versions.slice(published));
          const version = versions[ask % versions.length]!;
          const table = await loaded.table(activationOf(version));
          const isThere = n >= asks.length >> 1 || ask % versions.length < published;
          expect(table !== undefined).toBe(isThere);
          if (table !== undefined) tables.push({ version, table });
        }
        for (const { version, table } of tables) {
          expect(contentOf(table, ITEMS)).toEqual(expected(versions, version));
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('a long chain', () => {
  const ITEM_COUNT = 3_000;
  const CHANGED = 300;
  const DAYS = 350;
  const itemIds = Array.from({ length: ITEM_COUNT }, (_, n) => `item-${n}`);
  const valueOf = (item: number, day: number): number[] => [item % 100, day % 100, (item + day) % 100, 1];
  /** Day d writes the items d · 300 to d · 300 + 299, modulo 3,000; day 0 writes all. */
  const days = Array.from({ length: DAYS }, (_, day): Version => {
    const changed = Array.from(
      { length: day === 0 ? ITEM_COUNT : CHANGED },
      (_, n) => (day * CHANGED + n) % ITEM_COUNT,
    );
    const written = Object.fromEntries(changed.map((item) => [`item-${item}`, valueOf(item, day)]));
    return { version: `day-${day}`, base: day === 0 ? null : `day-${day - 1}`, rows: written };
  });
  const lastWritten = (item: number, day: number): number => {
    for (let at = day; at > 0; at -= 1) if (Math.floor(item / CHANGED) === at % (ITEM_COUNT / CHANGED)) return at;
    return 0;
  };

  it('is read once by tasks at different days, in bounded memory, and answers for each of them', async () => {
    const memory = new MemoryItemLog();
    memory.append(days.flatMap((day) => publisher.all(day)));
    const activations = days.map(activationOf);
    const maxRows = 60_000;
    const loaded = new ItemVersions({ log: memory.log, codec, maxRows });
    // Eight tasks, each some days behind the one before.
    for (let day = 0; day < DAYS; day += 1) {
      for (let task = 0; task < 8; task += 1) {
        const at = Math.max(0, day - 5 * task);
        const table = await loaded.table(activations[at]!);
        const item = (day * 37 + task * 411) % ITEM_COUNT;
        expect([...table!.vector(`item-${item}`)!.values]).toEqual(valueOf(item, lastWritten(item, at)));
      }
      expect(loaded.rowCount).toBeLessThanOrEqual(maxRows);
    }
    // Once for the index, once for the rows, and the manifests.
    expect(memory.recordsRead).toBe(memory.records.length * 2 + DAYS);
    const first = await loaded.table(activations[0]!);
    expect(contentOf(first!, itemIds)['item-2999']).toEqual([...valueOf(2_999, 0), scaleOf(valueOf(2_999, 0))]);
  });
});
