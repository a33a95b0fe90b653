/** Who serves which partitions: whatever the members say they had, the assignment is complete, balanced and moves little. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  assignPartitions,
  decodeAssignment,
  decodeMember,
  encodeAssignment,
  encodeMember,
  type Candidate,
} from '../src/run/assigner.ts';

const MAX_PARTITIONS = 12;

/** Claims in any state of confusion: overlapping, out of range, of several generations. */
const candidates: fc.Arbitrary<Candidate[]> = fc
  .uniqueArray(fc.string({ minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 7 })
  .chain((ids) =>
    fc.tuple(
      ...ids.map((memberId) =>
        fc.record({
          memberId: fc.constant(memberId),
          owned: fc.uniqueArray(fc.nat(MAX_PARTITIONS + 2), { maxLength: MAX_PARTITIONS }),
          generation: fc.nat(3),
        }),
      ),
    ),
  );
const partitionCount = fc.integer({ min: 1, max: MAX_PARTITIONS });

const owner = (assignment: Map<string, number[]>): Map<number, string> =>
  new Map([...assignment].flatMap(([id, partitions]) => partitions.map((partition) => [partition, id] as const)));

/** The most that any balanced assignment can leave in place, by trying all ways to hand out the larger shares. */
function mostKept(owned: readonly number[], partitions: number): number {
  const [least, larger] = [Math.floor(partitions / owned.length), partitions % owned.length];
  const best = (index: number, left: number): number => {
    if (index === owned.length) return left === 0 ? 0 : Number.NEGATIVE_INFINITY;
    const small = Math.min(owned[index]!, least) + best(index + 1, left);
    if (left === 0) return small;
    return Math.max(small, Math.min(owned[index]!, least + 1) + best(index + 1, left - 1));
  };
  return best(0, larger);
}

describe('assignPartitions', () => {
  it('gives every partition to one member, and sizes that differ by one at most', () => {
    fc.assert(
      fc.property(candidates, partitionCount, (members, partitions) => {
        const assignment = assignPartitions(members, partitions);
        expect([...assignment.values()].flat().sort((a, b) => a - b)).toEqual([...Array(partitions).keys()]);
        expect([...assignment.keys()].sort()).toEqual(members.map(({ memberId }) => memberId).sort());
        const sizes = [...assignment.values()].map(({ length }) => length);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
      { numRuns: 1_000 },
    );
  });

  it('leaves as many partitions in place as any balanced assignment can', () => {
    fc.assert(
      fc.property(candidates, candidates, partitionCount, (before, after, partitions) => {
        // What the members own is what an earlier assignment gave them; some left, some came.
        const earlier = owner(assignPartitions(before, partitions));
        const members = after.map(({ memberId }) => ({
          memberId,
          owned: [...earlier].filter(([, id]) => id === memberId).map(([partition]) => partition),
          generation: 1,
        }));
        const later = owner(assignPartitions(members, partitions));
        const kept = [...later].filter(([partition, id]) => earlier.get(partition) === id).length;
        expect(kept).toBe(
          mostKept(
            members.map(({ owned }) => owned.length),
            partitions,
          ),
        );
      }),
      { numRuns: 1_000 },
    );
  });

  it('does not depend on the order of the members, and changes nothing when nobody came or went', () => {
    fc.assert(
      fc.property(candidates, partitionCount, (members, partitions) => {
        const assignment = assignPartitions(members, partitions);
        expect(assignPartitions(members.toReversed(), partitions)).toEqual(assignment);
        const again = [...assignment].map(([memberId, owned]) => ({ memberId, owned, generation: 4 }));
        expect(assignPartitions(again, partitions)).toEqual(assignment);
      }),
    );
  });

  it('believes the later generation where two claim a partition', () => {
    const zombie = { memberId: 'a', owned: [0, 1], generation: 3 };
    const live = { memberId: 'b', owned: [0, 1], generation: 4 };
    const other = { memberId: 'c', owned: [2, 3], generation: 4 };
    expect(assignPartitions([zombie, live, other], 6)).toEqual(
      new Map([
        ['a', [4, 5]],
        ['b', [0, 1]],
        ['c', [2, 3]],
      ]),
    );
  });
});

describe('what members send', () => {
  const TOPICS = ['user-actions', 'sequence-features', 'user-embeddings'];

  it('comes back as it was', () => {
    const memberMetadata = encodeMember(TOPICS, [1, 5], 7);
    expect(decodeMember({ memberId: 'a', memberMetadata })).toEqual({ memberId: 'a', owned: [1, 5], generation: 7 });
    expect(decodeAssignment(encodeAssignment(TOPICS, [3, 1]))).toEqual([1, 3]);
    expect(decodeAssignment(encodeAssignment(TOPICS, []))).toEqual([]);
    expect(decodeAssignment(Buffer.alloc(0))).toEqual([]);
  });

  it('is taken for nothing owned when it cannot be read', () => {
    const unreadable = [
      Buffer.alloc(0),
      Buffer.from('rubbish'),
      encodeMember(TOPICS, [-1], 0),
      encodeMember(TOPICS, [1], 0.5),
    ];
    for (const memberMetadata of unreadable) {
      expect(decodeMember({ memberId: 'a', memberMetadata })).toEqual({ memberId: 'a', owned: [], generation: 0 });
    }
  });
});
