/**
 * A member of a Kafka consumer group that fetches nothing: it joins, beats and leaves, and says which partitions are its
 * own. kafkajs's consumer beats only between two fetches, asks for the offsets of all partitions at every join, and after
 * five errors leaves the group and starts anew. So the four requests are sent here, over a kafkajs connection of their
 * own: the broker holds the answer to a join back, and with it everything that waits behind it on its connection.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { FreshetError } from '../base/errors.ts';
import { KafkaCluster, type KafkaClusterOptions } from '../log/kafka-cluster.ts';
import { kafkaConfig } from '../log/kafka-connection.ts';
import { kafkaError, protocolCode } from '../log/kafka-errors.ts';
import {
  ASSIGNER_NAME,
  assignPartitions,
  decodeAssignment,
  decodeMember,
  encodeAssignment,
  encodeMember,
} from './assigner.ts';
import type { Deployment } from './deployment.ts';
import type { Assignment, Membership } from './membership.ts';

export interface GroupMemberOptions {
  readonly cluster: KafkaClusterOptions;
  readonly groupId: string;
  /** Partition p of all of them goes to one member. */
  readonly topics: readonly string[];
  readonly partitions: number;
  readonly sessionTimeoutMs: number;
  readonly heartbeatIntervalMs: number;
  readonly logger: Logger;
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

/** The group goes on, and this member has to join it again. */
const REJOIN = new Set(['REBALANCE_IN_PROGRESS', 'ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID', 'MEMBER_ID_REQUIRED']);
/** The member was given up for dead. */
const REPLACED = new Set(['ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID']);
/** Partition p of each belongs to the tasks of partition p. */
const INPUTS = ['user-actions', 'sequence-features', 'user-embeddings'];
/** Within one attempt; the member makes as many as it takes. */
const PATIENCE_MS = 5_000;
const FIRST_RETRY_MS = 100;
const LEAVE_TIMEOUT_MS = 3_000;

export class GroupMember implements Membership {
  private readonly options: GroupMemberOptions;
  private cluster: KafkaCluster;
  private coordinator: Coordinator | undefined;
  private memberId = '';
  /** Settles when no join is under way. */
  private decided: Promise<void> = Promise.resolve();
  private beatNow = new AbortController();
  private current: Assignment = { generation: 0, partitions: [] };

  constructor(options: GroupMemberOptions) {
    this.options = options;
    this.cluster = new KafkaCluster(options.cluster);
  }

  async run(serve: (assignment: Assignment) => void, signal: AbortSignal): Promise<void> {
    let retries = 0;
    try {
      while (!signal.aborted) {
        try {
          const joining = this.join();
          this.decided = joining.then(
            () => undefined,
            () => undefined,
          );
          await untilAborted(joining, signal);
          retries = 0;
          serve(this.current);
          await this.beat(signal);
        } catch (error) {
          if (signal.aborted) break;
          await this.recover(error, signal, (retries += 1));
        }
      }
    } finally {
      await this.leave();
    }
  }

  async confirm(partition: number): Promise<void> {
    const { groupId, heartbeatIntervalMs } = this.options;
    // What this member is given is being decided.
    const isUndecided = await Promise.race([this.decided, sleep(heartbeatIntervalMs, true, { ref: false })]);
    if (isUndecided === true) throw new FreshetError('LOG_UNAVAILABLE', `group ${groupId} is being rebalanced`);
    const { generation, partitions } = this.current;
    let replaced: unknown = partitions.includes(partition) ? null : 'it has another assignment';
    try {
      await this.heartbeat();
    } catch (error) {
      const code = protocolCode(error) ?? '';
      if (REPLACED.has(code)) replaced = error;
      // Whoever is called to join again is a member.
      else if (code !== 'REBALANCE_IN_PROGRESS') throw kafkaError(error, `heartbeat to group ${groupId}`);
    }
    if (replaced === null) return;
    this.beatNow.abort();
    const detail = `the group has gone on since generation ${generation}`;
    throw new FreshetError('FENCED', detail, { position: { partition }, cause: replaced });
  }

  private async join(): Promise<void> {
    const { groupId, partitions, sessionTimeoutMs, logger } = this.options;
    const topics = this.options.topics.map((topic) => this.cluster.topicName(topic));
    const { partitions: owned, generation } = this.current;
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
    this.current = { generation: joined.generationId, partitions: decodeAssignment(memberAssignment) };
    logger.info({ code: 'ASSIGNED', ...this.current, isLeader }, 'partitions assigned');
  }

  /** Beats until the group calls to join again, or until the signal. */
  private async beat(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.beatNow = new AbortController();
      const early = AbortSignal.any([signal, this.beatNow.signal]);
      await sleep(this.options.heartbeatIntervalMs, undefined, { signal: early }).catch(() => undefined);
      if (!signal.aborted) await untilAborted(this.heartbeat(), signal);
    }
  }

  private async heartbeat(): Promise<void> {
    const { coordinator, memberId } = this;
    if (coordinator === undefined) throw new FreshetError('LOG_UNAVAILABLE', 'not yet a member of the group');
    const { generation } = this.current;
    await coordinator.heartbeat({ groupId: this.options.groupId, groupGenerationId: generation, memberId });
  }

  /** Makes ready to join again; throws what a person has to mend. */
  private async recover(error: unknown, signal: AbortSignal, retry: number): Promise<void> {
    const { logger, groupId, heartbeatIntervalMs } = this.options;
    const reason = protocolCode(error) ?? '';
    if (REJOIN.has(reason)) {
      logger.info({ code: 'REJOINING', reason }, 'joining the group again');
      if (reason === 'UNKNOWN_MEMBER_ID') this.memberId = '';
      return;
    }
    const known = kafkaError(error, `membership of group ${groupId}`);
    if (known.code !== 'LOG_UNAVAILABLE') throw known;
    logger.warn({ code: known.code, detail: known.detail }, 'the group cannot be reached; trying again');
    // kafkajs keeps what it knew of the brokers: addresses that answer no more, a coordinator that has moved.
    this.coordinator = undefined;
    await this.cluster.close();
    this.cluster = new KafkaCluster(this.options.cluster);
    const delayMs = Math.min(heartbeatIntervalMs, FIRST_RETRY_MS * 2 ** Math.min(retry, 10));
    await sleep(delayMs, undefined, { signal }).catch(() => undefined);
  }

  /** So that the others need not wait until the session has timed out. */
  private async leave(): Promise<void> {
    const { coordinator, memberId, options } = this;
    const leaving = coordinator?.leaveGroup({ groupId: options.groupId, memberId }).catch(() => undefined);
    await Promise.race([leaving, sleep(LEAVE_TIMEOUT_MS, undefined, { ref: false })]);
    await this.cluster.close();
  }
}

/** A broker may answer late: it holds a join back for as long as others take. Who is told to stop need not wait. */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => {
    reject(new Error('told to stop'));
  };
  signal.addEventListener('abort', abort, { once: true });
  work.catch(() => undefined);
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** A worker's place in the group of its application. */
export function membershipOf({ config, logger }: Pick<Deployment, 'config' | 'logger'>): GroupMember {
  const { appId, partitions, kafka } = config;
  return new GroupMember({
    cluster: { kafka: kafkaConfig(config, logger), logger, topicPrefix: '', patienceMs: PATIENCE_MS },
    groupId: appId,
    topics: INPUTS,
    partitions,
    sessionTimeoutMs: kafka.sessionTimeoutMs,
    heartbeatIntervalMs: kafka.heartbeatIntervalMs,
    logger,
  });
}
