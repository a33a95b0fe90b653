/** Bytes in blocks that are used again. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteBlocks } from '../src/base/byte-blocks.ts';
import { FC_OPTIONS } from './support/seed.ts';

describe('bytes in blocks', () => {
  it('stay as they are until they are released, whatever is written meanwhile', () => {
    const part = fc.record({
      size: fc.oneof(fc.nat(3_000), fc.constantFrom(0, 262_144, 262_145, 400_000)),
      fill: fc.nat(255),
      start: fc.nat(7),
    });
    fc.assert(
      fc.property(fc.array(fc.array(part, { maxLength: 12 }), { maxLength: 4 }), (rounds) => {
        const others = new ByteBlocks();
        const kept = others.copy(Buffer.alloc(5_000, 0xaa), 0, 5_000);
        for (const parts of rounds) {
          const blocks = new ByteBlocks();
          const copies = parts.map(({ size, fill, start }) => {
            const source = Buffer.alloc(start + size + 3, fill);
            return blocks.copy(source, start, start + size);
          });
          copies.forEach((copy, index) => {
            const { size, fill } = parts[index]!;
            expect(copy.equals(Buffer.alloc(size, fill))).toBe(true);
          });
          blocks.release();
        }
        expect(kept.equals(Buffer.alloc(5_000, 0xaa))).toBe(true);
      }),
      { ...FC_OPTIONS, numRuns: 100 },
    );
  });

  it('stand where released ones stood', () => {
    const blocks = new ByteBlocks();
    const before = blocks.copy(Buffer.from('before'), 0, 6);
    blocks.release();
    expect(blocks.copy(Buffer.from('after'), 0, 5).buffer).toBe(before.buffer);
    expect(blocks.copy(Buffer.from('and on'), 4, 6).toString()).toBe('on');
  });
});
