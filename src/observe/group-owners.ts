/** Who serves which partition, by the word of the consumer group. It is told to people; nothing depends on it. */
import { AssignerProtocol, type Admin } from 'kafkajs';

export interface Owner {
  readonly memberId: string;
  readonly clientId: string;
  /** Address that the member's connection comes from. */
  readonly host: string;
}

export interface Owners {
  /** Of the group, as Kafka calls it: Stable, PreparingRebalance, Empty, … */
  readonly state: string;
  readonly byPartition: ReadonlyMap<number, Owner>;
}

export async function groupOwners(admin: Pick<Admin, 'describeGroups'>, appId: string): Promise<Owners> {
  const { groups } = await admin.describeGroups([appId]);
  const byPartition = new Map<number, Owner>();
  for (const { memberId, clientId, clientHost, memberAssignment } of groups[0]?.members ?? []) {
    const owner = { memberId, clientId, host: clientHost.replace(/^\//, '') };
    for (const partition of assignedPartitions(memberAssignment)) byPartition.set(partition, owner);
  }
  return { state: groups[0]?.state ?? 'Unknown', byPartition };
}

/** A member of another kind of client, or one that has just joined, has no assignment that could be read. */
function assignedPartitions(assignment: Buffer): readonly number[] {
  if (assignment.length === 0) return [];
  return AssignerProtocol.MemberAssignment.decode(assignment)?.assignment['user-actions'] ?? [];
}
