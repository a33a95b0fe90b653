/**
 * Waits for records by fetches that the broker answers when there is something, or after a while. A connection is
 * blocked meanwhile, so these have their own: a few to each broker, whoever waits. Who comes while a fetch is out takes
 * the next connection; who has got nothing joins the others in the next fetch. So with nothing going on one fetch is
 * out, for all partitions.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { invariant } from '../base/errors.ts';
import { closeConnections, type KafkaCluster } from './kafka-cluster.ts';
import { kafkaErrorClass } from './kafka-errors.ts';
import { fetchPartitions, type FetchPosition, type FetchedPartition } from './kafka-fetch.ts';
import { createErrorFromCode, type Broker } from './kafka-internals.ts';
import type { KafkaReader } from './kafka-reader.ts';
import type { AwaitedPosition, TopicPartition } from './log.ts';

/** Also how late the last ones may hear of a record, when more callers come than there are connections. */
const POLL_MS = 100;
const MAX_POLLS = 4;
/** Two tasks a partition wait at most. */
const MAX_WAITERS = 4_096;
/** What is fetched is thrown away; a broker gives one batch at least. */
const FETCH_BYTES = 1;

interface Waiter {
  readonly positions: readonly AwaitedPosition[];
  readonly wake: () => void;
  awake: boolean;
}

export class KafkaWaiter {
  readonly #cluster: KafkaCluster;
  readonly #reader: KafkaReader;
  readonly #pending = new Set<Waiter>();
  readonly #connections = new Set<Broker>();
  /** Those that no poll uses, by broker. */
  readonly #idle = new Map<number, Broker[]>();
  #polls = 0;
  #closed = false;

  constructor(cluster: KafkaCluster, reader: KafkaReader) {
    this.#cluster = cluster;
    this.#reader = reader;
  }

  /** Never fails: where something is wrong the caller is woken, and meets it when it reads. */
  async wait(positions: readonly AwaitedPosition[], timeoutMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true || this.#closed) return;
    invariant(this.#pending.size < MAX_WAITERS, `more than ${MAX_WAITERS} callers wait for records`);
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = (): void => {
      waiter.awake = true;
      resolve();
    };
    const waiter: Waiter = { positions, wake, awake: false };
    const timer = setTimeout(wake, timeoutMs);
    signal?.addEventListener('abort', wake);
    if (positions.length > 0) this.#pending.add(waiter);
    this.#pollIfNeeded();
    await promise;
    this.#pending.delete(waiter);
    clearTimeout(timer);
    // One signal may serve a whole run: what is left on it would pile up.
    signal?.removeEventListener('abort', wake);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#pending) waiter.wake();
    for (const { connectionPool } of this.#connections) await closeConnections(connectionPool);
  }

  #pollIfNeeded(): void {
    if (this.#pending.size === 0 || this.#polls >= MAX_POLLS || this.#closed) return;
    const waiters = [...this.#pending];
    this.#pending.clear();
    this.#polls += 1;
    void this.#poll(waiters).finally(() => {
      this.#polls -= 1;
      for (const waiter of waiters) {
        if (this.#closed) waiter.wake();
        if (!waiter.awake) this.#pending.add(waiter);
      }
      this.#pollIfNeeded();
    });
  }

  async #poll(waiters: readonly Waiter[]): Promise<void> {
    const polls = new Map<Broker, Poll>();
    for (const waiter of waiters) {
      for (const { at, offset } of waiter.positions) {
        const leader = await this.#cluster.leader(at).catch(() => undefined);
        // What leads nowhere is looked at once a poll.
        if (leader === undefined) setTimeout(waiter.wake, POLL_MS);
        else addPosition(polls, leader, this.#position(at, offset), waiter);
      }
    }
    await Promise.all(Array.from(polls, ([leader, poll]) => this.#pollLeader(leader, poll)));
  }

  #position(at: TopicPartition, offset: number): FetchPosition {
    return {
      topic: this.#cluster.topicName(at.topic),
      partition: at.partition,
      offset: this.#reader.afterVoid(at, offset),
      maxBytes: FETCH_BYTES,
    };
  }

  async #pollLeader(leader: Broker, poll: Poll): Promise<void> {
    try {
      let isMoving = false;
      for (const { topic, partition, errorCode, lastStableOffset } of await this.#fetch(leader, poll)) {
        const isRefused = errorCode !== 0 && kafkaErrorClass(createErrorFromCode(errorCode)) !== 'retry';
        isMoving ||= errorCode !== 0 && !isRefused;
        for (const { waiter, offset } of poll.get(`${topic}-${partition}`)!.waiters) {
          if (isRefused || lastStableOffset > offset) waiter.wake();
        }
      }
      if (!isMoving) return;
      await sleep(POLL_MS);
      await this.#cluster.refresh();
    } catch {
      await sleep(POLL_MS);
      for (const { waiters } of poll.values()) waiters.forEach(({ waiter }) => waiter.wake());
    }
  }

  async #fetch(leader: Broker, poll: Poll): Promise<FetchedPartition[]> {
    const idle = this.#idle.get(leader.nodeId) ?? [];
    const broker = idle.pop() ?? (await this.#cluster.separateConnection(leader));
    this.#connections.add(broker);
    try {
      const positions = Array.from(poll.values(), ({ position }) => position);
      const wait = { waitMs: POLL_MS, maxBytes: FETCH_BYTES, connection: 0 } as const;
      const fetched = await fetchPartitions(broker, positions, wait);
      this.#idle.set(leader.nodeId, [...(this.#idle.get(leader.nodeId) ?? []), broker]);
      return fetched;
    } catch (error) {
      this.#connections.delete(broker);
      await closeConnections(broker.connectionPool);
      throw error;
    }
  }
}

/** What is fetched of one broker, by partition. */
type Poll = Map<string, Awaited>;

interface Awaited {
  position: FetchPosition;
  readonly waiters: { readonly waiter: Waiter; readonly offset: number }[];
}

function addPosition(polls: Map<Broker, Poll>, leader: Broker, position: FetchPosition, waiter: Waiter): void {
  const poll = polls.get(leader) ?? new Map<string, Awaited>();
  polls.set(leader, poll);
  const name = `${position.topic}-${position.partition}`;
  const known = poll.get(name) ?? { position, waiters: [] };
  poll.set(name, known);
  known.waiters.push({ waiter, offset: position.offset });
  // Two that wait at different places of one partition: the first of these is the one to wait at.
  if (position.offset < known.position.offset) known.position = position;
}
