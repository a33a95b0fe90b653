import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ContentHash, rowDigest } from '../src/base/content-hash.ts';
import { MAX_DIMENSION, pack, quantize, readVector } from '../src/ingest/vector-value.ts';

const float = fc.float({ noNaN: true, noDefaultInfinity: true });

describe('a vector', () => {
  it('is a list of numbers, in CSV a JSON array or numbers between spaces or semicolons', () => {
    const vector = [0.5, -1, 2];
    for (const value of [vector, Float32Array.from(vector), '[0.5, -1, 2]', '0.5 -1 2', '0.5;-1;2', ' 0.5; -1; 2 ']) {
      expect(readVector(value)).toEqual(vector);
    }
  });

  it('is absent where the row says so, and missing where it says nothing', () => {
    expect([readVector(null), readVector(''), readVector(undefined)]).toEqual([null, null, 'no vector']);
  });

  it.each([
    [[1, Number.NaN]],
    [[Infinity]],
    ['1 NaN'],
    ['1;x'],
    [[1e39]],
    [[1, '2']],
    [[1, null]],
    [[]],
    ['[1,'],
    ['[]'],
    [7],
    [{}],
  ])('is not %j', (value) => {
    expect(readVector(value)).toMatch(/vector/);
  });

  it('has a limited number of components', () => {
    expect(readVector(new Float32Array(MAX_DIMENSION))).toHaveLength(MAX_DIMENSION);
    expect(readVector(new Float32Array(MAX_DIMENSION + 1))).toMatch(/more than/);
  });
});

describe('quantizing', () => {
  it('is off by half a step at most, and its largest component is 127', () => {
    const property = fc.property(fc.array(float, { minLength: 1, maxLength: 20 }), (numbers) => {
      const { vector, scale } = quantize(numbers);
      const steps = new Int8Array(vector.buffer, vector.byteOffset, vector.length);
      expect(Math.fround(scale)).toBe(scale);
      const largest = Math.max(...numbers.map(Math.abs));
      // Below the smallest normal float a step is rounded coarsely.
      if (largest > 127 * 2 ** -126) expect(Math.max(...steps.map(Math.abs))).toBe(127);
      for (const [index, number] of numbers.entries()) {
        expect(Math.abs(steps[index]! * scale - number)).toBeLessThanOrEqual(largest * 0.00394 + 2 ** -143);
      }
    });
    fc.assert(property, { numRuns: 1_000 });
  });

  it('of zeros gives zeros', () => {
    expect(quantize([0, 0])).toEqual({ vector: Buffer.from([0, 0]), scale: 1 });
  });

  it('leaves 8-bit vectors as they are', () => {
    expect(pack([127, -128, 0], '0.5')).toEqual({ vector: Buffer.from([127, 128, 0]), scale: 0.5 });
    for (const [numbers, scale] of [
      [[128], 1],
      [[0.5], 1],
      [[1], 0],
      [[1], Number.NaN],
      [[1], -1],
      [[1], 'x'],
      [[1], {}],
    ] as const) {
      expect(pack(numbers, scale)).toMatch(/scale/);
    }
  });
});

describe('the content hash', () => {
  const row = fc.record({ itemId: fc.string(), scale: float, vector: fc.option(fc.uint8Array({ maxLength: 8 })) });
  const rows = fc.uniqueArray(row, { selector: ({ itemId }) => itemId, minLength: 1, maxLength: 8 });
  const hashOf = (list: readonly { itemId: string; scale: number; vector: Uint8Array | null }[]): string => {
    const hash = new ContentHash();
    for (const { itemId, scale, vector } of list) hash.add(itemId, scale, vector);
    return hash.digest();
  };

  it('does not depend on the order of the rows', () => {
    const shuffled = rows.chain((list) =>
      fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
    );
    fc.assert(
      fc.property(shuffled, ([list, other]) => hashOf(list) === hashOf(other)),
      { numRuns: 1_000 },
    );
  });

  it('changes with any row', () => {
    const property = fc.property(rows, rows, (list, other) => {
      const text = (some: typeof list): string =>
        JSON.stringify(
          some.map(({ itemId, scale, vector }) => [itemId, vector && [Object.is(scale, -0), scale, ...vector]]).sort(),
        );
      expect(hashOf(list) === hashOf(other)).toBe(text(list) === text(other));
      expect(hashOf([...list, { itemId: 'one more', scale: 1, vector: null }])).not.toBe(hashOf(list));
    });
    fc.assert(property, { numRuns: 1_000 });
  });

  it('tells what could be confused: ids and vectors that touch, removals and empty vectors, missing rows', () => {
    const hashes = [
      hashOf([]),
      hashOf([{ itemId: 'a', scale: 0, vector: null }]),
      hashOf([{ itemId: 'a', scale: 0, vector: new Uint8Array(0) }]),
      hashOf([{ itemId: 'a', scale: 0, vector: Uint8Array.of(0x62) }]),
      hashOf([{ itemId: 'ab', scale: 0, vector: new Uint8Array(0) }]),
      hashOf([{ itemId: 'b', scale: 0, vector: null }]),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  /** By another implementation, in Python: see the definition in topics/schemas/item-embeddings.avsc. */
  it('has known values', () => {
    const hash = new ContentHash();
    hash.add('é-1', 0.5, Int8Array.of(1, -1));
    hash.add('gone', 0, null);
    expect(hash.rowCount).toBe(2);
    expect(hash.digest()).toBe('089eaf2609247effbee2540d9f57fbcbeaa14c369c418ac26278eef77fd7809f');
    expect(rowDigest('gone', 7, null)).toBe(rowDigest('gone', 0, null));
  });
});
