/**
 * The requests of a group's member to its coordinator, over a kafkajs connection of their own: the broker holds the answer
 * to a join back, and with it everything that waits behind it on its connection.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { FreshetError } from '../base/errors.ts';
import { KafkaCluster, type KafkaClusterOptions } from '../log/kafka-cluster.ts';
import {
  ASSIGNER_NAME,
  assignPartitions,
  decodeAssignment,
  decodeMember,
  encodeAssignment,
  encodeMember,
} from './assigner.ts';
import type { Assignment } from './membership.ts';

export interface GroupCoordinatorOptions {
  readonly cluster: KafkaClusterOptions;
  readonly groupId: string;
  /** Partition p of all of them goes to one member. */
  readonly topics: readonly string[];
  readonly partitions: number;
  readonly sessionTimeoutMs: number;
}

/** The part of kafkajs's brokers that groups need. */
interface Coordinator {
  joinGroup(request: {
    groupId: string;
    sessionTimeout: number;
    rebalanceTimeout: number;
    memberId: string;
    groupProtocols: { name: string; metadata: Buffer }[];
  }): Promise<{
    generationId: number;
    leaderId: string;
    memberId: string;
    members: { memberId: string; memberMetadata: Buffer }[];
  }>;
  syncGroup(request: {
    groupId: string;
    generationId: number;
    memberId: string;
    groupAssignment: { memberId: string; memberAssignment: Buffer }[];
  }): Promise<{ memberAssignment: Buffer }>;
  heartbeat(request: { groupId: string; groupGenerationId: number; memberId: string }): Promise<unknown>;
  leaveGroup(request: { groupId: string; memberId: string }): Promise<unknown>;
}

const LEAVE_TIMEOUT_MS = 3_000;

export class GroupCoordinator {
  private readonly options: GroupCoordinatorOptions;
  private cluster: KafkaCluster;
  private coordinator: Coordinator | undefined;
  private memberId = '';

  constructor(options: GroupCoordinatorOptions) {
    this.options = options;
    this.cluster = new KafkaCluster(options.cluster);
  }

  /** Joins with the partitions owned so far; the leader, whom the group chooses, assigns those of all. */
  async join({ partitions: owned, generation }: Assignment): Promise<Assignment & { readonly isLeader: boolean }> {
    const { groupId, partitions, sessionTimeoutMs } = this.options;
    const topics = this.options.topics.map((topic) => this.cluster.topicName(topic));
    this.coordinator = (await this.cluster.coordinator('group', groupId)) as unknown as Coordinator;
    const joined = await this.coordinator.joinGroup({
      groupId,
      sessionTimeout: sessionTimeoutMs,
      // Members beat whatever their tasks do, so one that has not come back by then is dead.
      rebalanceTimeout: sessionTimeoutMs,
      memberId: this.memberId,
      groupProtocols: [{ name: ASSIGNER_NAME, metadata: encodeMember(topics, owned, generation) }],
    });
    this.memberId = joined.memberId;
    const isLeader = joined.leaderId === joined.memberId;
    const assigned = isLeader ? assignPartitions(joined.members.map(decodeMember), partitions) : new Map<string, []>();
    const { memberAssignment } = await this.coordinator.syncGroup({
      groupId,
      generationId: joined.generationId,
      memberId: joined.memberId,
      groupAssignment: [...assigned].map(([memberId, each]) => ({
        memberId,
        memberAssignment: encodeAssignment(topics, each),
      })),
    });
    return { generation: joined.generationId, partitions: decodeAssignment(memberAssignment), isLeader };
  }

  async heartbeat(generation: number): Promise<void> {
    const { coordinator, memberId } = this;
    if (coordinator === undefined) throw new FreshetError('LOG_UNAVAILABLE', 'not yet a member of the group');
    await coordinator.heartbeat({ groupId: this.options.groupId, groupGenerationId: generation, memberId });
  }

  /** The group knows this member no more: the next join is that of a new one. */
  forgetMember(): void {
    this.memberId = '';
  }

  /** kafkajs keeps what it knew of the brokers: addresses that answer no more, a coordinator that has moved. */
  async reconnect(): Promise<void> {
    this.coordinator = undefined;
    await this.cluster.close();
    this.cluster = new KafkaCluster(this.options.cluster);
  }

  /** So that the others need not wait until the session has timed out. */
  async leave(): Promise<void> {
    const { coordinator, memberId, options } = this;
    const leaving = coordinator?.leaveGroup({ groupId: options.groupId, memberId }).catch(() => undefined);
    await Promise.race([leaving, sleep(LEAVE_TIMEOUT_MS, undefined, { ref: false })]);
    await this.cluster.close();
  }
}
