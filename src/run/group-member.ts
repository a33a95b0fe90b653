/**
 * A member of a Kafka consumer group that fetches nothing: it joins, beats and leaves, and says which partitions are its
 * own. kafkajs's consumer beats only between two fetches, asks for the offsets of all partitions at every join, and after
 * five errors leaves the group and starts anew.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { FreshetError } from '../base/errors.ts';
import { kafkaConfig } from '../log/kafka-connection.ts';
import { kafkaError, protocolCode } from '../log/kafka-errors.ts';
import type { Deployment } from './deployment.ts';
import { GroupCoordinator, type GroupCoordinatorOptions } from './group-coordinator.ts';
import type { Assignment, Membership } from './membership.ts';

export interface GroupMemberOptions extends GroupCoordinatorOptions {
  readonly heartbeatIntervalMs: number;
  readonly logger: Logger;
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

export class GroupMember implements Membership {
  private readonly options: GroupMemberOptions;
  private readonly coordinator: GroupCoordinator;
  /** Settles when no join is under way. */
  private decided: Promise<void> = Promise.resolve();
  private beatNow = new AbortController();
  private current: Assignment = { generation: 0, partitions: [] };

  constructor(options: GroupMemberOptions) {
    this.options = options;
    this.coordinator = new GroupCoordinator(options);
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
      await this.coordinator.leave();
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
      await this.coordinator.heartbeat(generation);
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
    const { isLeader, ...assignment } = await this.coordinator.join(this.current);
    this.current = assignment;
    this.options.logger.info({ code: 'ASSIGNED', ...assignment, isLeader }, 'partitions assigned');
  }

  /** Beats until the group calls to join again, or until the signal. */
  private async beat(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.beatNow = new AbortController();
      const early = AbortSignal.any([signal, this.beatNow.signal]);
      await sleep(this.options.heartbeatIntervalMs, undefined, { signal: early }).catch(() => undefined);
      if (!signal.aborted) await untilAborted(this.coordinator.heartbeat(this.current.generation), signal);
    }
  }

  /** Makes ready to join again; throws what a person has to mend. */
  private async recover(error: unknown, signal: AbortSignal, retry: number): Promise<void> {
    const { logger, groupId, heartbeatIntervalMs } = this.options;
    const reason = protocolCode(error) ?? '';
    if (REJOIN.has(reason)) {
      logger.info({ code: 'REJOINING', reason }, 'joining the group again');
      if (reason === 'UNKNOWN_MEMBER_ID') this.coordinator.forgetMember();
      return;
    }
    const known = kafkaError(error, `membership of group ${groupId}`);
    if (known.code !== 'LOG_UNAVAILABLE') throw known;
    logger.warn({ code: known.code, detail: known.detail }, 'the group cannot be reached; trying again');
    await this.coordinator.reconnect();
    const delayMs = Math.min(heartbeatIntervalMs, FIRST_RETRY_MS * 2 ** Math.min(retry, 10));
    await sleep(delayMs, undefined, { signal }).catch(() => undefined);
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
