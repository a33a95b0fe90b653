import { describe, expect, test } from 'vitest';
import fc from 'fast-check';
import { murmur2, partitionOf } from '../src/base/murmur2.ts';

describe('murmur2 is that of the Java client', () => {
  test.each([
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ])('%s', (text, hash) => {
    expect(murmur2(Buffer.from(text))).toBe(hash);
  });
});

describe('partitionOf', () => {
  test('clears the sign bit, as the Java client does, and does not take the absolute value', () => {
    expect(partitionOf(Buffer.from('21'), 1_000)).toBe((-973932308 & 0x7fffffff) % 1_000);
    expect(partitionOf(Buffer.from('21'), 1_000)).not.toBe(973932308 % 1_000);
  });

  test('is one of the partitions, and a function of the bytes alone', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.integer({ min: 1, max: 4_096 }), (bytes, partitions) => {
        const partition = partitionOf(bytes, partitions);
        expect(Number.isInteger(partition) && partition >= 0 && partition < partitions).toBe(true);
        expect(partitionOf(Buffer.concat([Buffer.alloc(3), bytes]).subarray(3), partitions)).toBe(partition);
      }),
      { numRuns: 2_000 },
    );
  });
});
