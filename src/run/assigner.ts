/**
 * Which worker serves which partitions: balanced, and sticky, since a partition that moves has to be restored elsewhere.
 * Partition p of all topics goes to one worker. Every member says which partitions it owned last and since which
 * generation; the leader of the group decides for all.
 */
import { AssignerProtocol } from 'kafkajs';
import { z } from 'zod';

/** A member of the group, with what it says it owned before. */
export interface Candidate {
  readonly memberId: string;
  readonly owned: readonly number[];
  /** The generation in which it got them: of two that claim a partition the later one has it. */
  readonly generation: number;
}

/** The name under which members agree on this way to assign; another meaning needs another name. */
export const ASSIGNER_NAME = 'freshet-sticky';
const VERSION = 0;

/**
 * Partitions by member. The numbers of any two members differ by one at most, and no assignment that is as balanced
 * leaves more partitions where they were. A function of its arguments: the order of the members changes nothing.
 */
export function assignPartitions(candidates: readonly Candidate[], partitions: number): Map<string, number[]> {
  const owners = ownersBefore(candidates, partitions);
  const kept = candidates.map(({ memberId }) => ({
    memberId,
    partitions: [...owners.keys()].filter((partition) => owners.get(partition) === memberId),
  }));
  // The larger shares go to those who own most: what they keep is then largest.
  kept.sort((a, b) => b.partitions.length - a.partitions.length || compare(a.memberId, b.memberId));
  const [least, larger] = [Math.floor(partitions / kept.length), partitions % kept.length];
  const share = (index: number): number => (index < larger ? least + 1 : least);
  kept.forEach((member, index) => member.partitions.splice(share(index)));

  const taken = new Set(kept.flatMap((member) => member.partitions));
  const free = range(partitions).filter((partition) => !taken.has(partition));
  return new Map(
    kept.map((member, index) => {
      const more = free.splice(0, share(index) - member.partitions.length);
      return [member.memberId, [...member.partitions, ...more].sort((a, b) => a - b)];
    }),
  );
}

/** The owner of each partition that has one, in order of the partitions. */
function ownersBefore(candidates: readonly Candidate[], partitions: number): Map<number, string> {
  const owners = new Map<number, string>();
  // The last claim stands: that of the latest generation, then of the smallest id.
  const claims = [...candidates].sort((a, b) => a.generation - b.generation || compare(b.memberId, a.memberId));
  for (const { memberId, owned } of claims) for (const partition of owned) owners.set(partition, memberId);
  return new Map(
    range(partitions).flatMap((partition) => {
      const owner = owners.get(partition);
      return owner === undefined ? [] : [[partition, owner] as const];
    }),
  );
}

const range = (end: number): number[] => Array.from({ length: end }, (_, index) => index);

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const integer = z.number().int().nonnegative();
const userData = z.object({ generation: integer, owned: z.array(integer).max(100_000) });

/** What a member sends when it joins: Kafka's own envelope, so that Kafka's tools can read it, with `owned` inside. */
export function encodeMember(topics: readonly string[], owned: readonly number[], generation: number): Buffer {
  const own: z.infer<typeof userData> = { generation, owned: [...owned] };
  return AssignerProtocol.MemberMetadata.encode({
    version: VERSION,
    topics: [...topics],
    userData: Buffer.from(JSON.stringify(own)),
  });
}

/** The leader's reading of a member; one that says nothing it can read is taken to own nothing. */
export function decodeMember({ memberId, memberMetadata }: { memberId: string; memberMetadata: Buffer }): Candidate {
  try {
    const text = AssignerProtocol.MemberMetadata.decode(memberMetadata)!.userData.toString();
    return { memberId, ...userData.parse(JSON.parse(text)) };
  } catch {
    return { memberId, owned: [], generation: 0 };
  }
}

/** Partition p of every topic. */
export function encodeAssignment(topics: readonly string[], partitions: readonly number[]): Buffer {
  return AssignerProtocol.MemberAssignment.encode({
    version: VERSION,
    assignment: Object.fromEntries(topics.map((topic) => [topic, [...partitions]])),
    userData: Buffer.alloc(0),
  });
}

/** The partitions in an assignment, which are the same for every topic; none if it is empty. */
export function decodeAssignment(bytes: Buffer): number[] {
  const decoded = bytes.length === 0 ? null : AssignerProtocol.MemberAssignment.decode(bytes);
  return [...(Object.values(decoded?.assignment ?? {})[0] ?? [])].sort((a, b) => a - b);
}
