/**
 * Reads committed records from any offset, without a consumer group. What a fetch brought beyond what was asked for is
 * kept for the read that goes on from there, in bounded memory.
 */
import { FreshetError } from '../base/errors.ts';
import type { KafkaCluster } from './kafka-cluster.ts';
import { REMEDIES, protocolCode } from './kafka-errors.ts';
import { FetchedRecords } from './kafka-fetched.ts';
import { fetchPartitions } from './kafka-fetch.ts';
import { createErrorFromCode } from './kafka-internals.ts';
import { partitionName, type LogRecord, type ReadLimits, type TopicPartition } from './log.ts';

const MAX_FETCH_BYTES = 256 * 1024;
const MIN_FETCH_BYTES = 64 * 1024;
/** Of fetches kept; one that is larger than this, by a single batch, is read and not kept. */
const MAX_KEPT_BYTES = 4 * 1024 * 1024;
/** Offsets of a partition where there is known to be no record. */
const MAX_VOIDS = 16_384;
const LATEST = -1;
const EARLIEST = -2;
const READ_UNCOMMITTED = 0;
const READ_COMMITTED = 1;
const OFFSET_NOT_AVAILABLE = 78;

export class KafkaReader {
  readonly #cluster: KafkaCluster;
  readonly #kept = new Map<string, FetchedRecords>();
  #keptBytes = 0;
  /** By partition: from an offset that a read has reached up to where it found nothing but markers. */
  readonly #voids = new Map<string, { readonly from: number; readonly to: number }>();
  /** By partition: the end of what this process has committed, which it must find again. */
  readonly #ownEnds = new Map<string, number>();
  /** By partition: the end that the last fetch told of. */
  readonly #knownEnds = new Map<string, number>();

  constructor(cluster: KafkaCluster) {
    this.#cluster = cluster;
  }

  async read(at: TopicPartition, offset: number, limits: ReadLimits): Promise<LogRecord[]> {
    const records: LogRecord[] = [];
    let position = this.afterVoid(at, offset);
    for (let bytes = 0; ;) {
      const fetched = this.#takeKept(at, position) ?? (await this.#fetch(at, position, limits.maxBytes));
      const taken = await fetched.take(records, bytes, limits);
      bytes = taken.bytes;
      position = fetched.nextOffset;
      if (taken.left) {
        this.#keep(at, fetched);
        break;
      }
      if (position >= fetched.lastStableOffset) break;
    }
    const from = (records.at(-1)?.offset ?? offset - 1) + 1;
    if (position > from) this.#rememberVoid(at, from, position);
    return records;
  }

  async startOffset(at: TopicPartition): Promise<number> {
    return this.#listOffset(at, EARLIEST);
  }

  async endOffset(at: TopicPartition): Promise<number> {
    return this.#cluster.retrying('the end of a partition cannot be read', at, async () => {
      const end = await this.#listOffset(at, LATEST);
      if (end >= this.#ownEnd(at)) return end;
      const written = await this.#listOffset(at, LATEST, READ_UNCOMMITTED);
      if (written >= this.#ownEnd(at)) throw createErrorFromCode(OFFSET_NOT_AVAILABLE);
      // No marker is missing but the records: the topic was made again.
      this.#ownEnds.delete(partitionName(at));
      return end;
    });
  }

  knownEnd(at: TopicPartition): number | undefined {
    return this.#knownEnds.get(partitionName(at));
  }

  /** Where a fetch begins that looks for records at or after `offset`. */
  afterVoid(at: TopicPartition, offset: number): number {
    const known = this.#voids.get(partitionName(at));
    return known !== undefined && known.from <= offset && offset < known.to ? known.to : offset;
  }

  /** What this process has committed is there for its own reads. */
  committed(ends: ReadonlyMap<string, number>): void {
    for (const [partition, end] of ends) this.#ownEnds.set(partition, end);
  }

  #ownEnd(at: TopicPartition): number {
    return this.#ownEnds.get(partitionName(at)) ?? 0;
  }

  async #fetch(at: TopicPartition, offset: number, maxBytes: number): Promise<FetchedRecords> {
    const bytes = Math.max(MIN_FETCH_BYTES, Math.min(MAX_FETCH_BYTES, maxBytes));
    return this.#cluster.retrying('records cannot be read', { ...at, offset }, async () => {
      const topic = this.#cluster.topicName(at.topic);
      const [fetched] = await fetchPartitions(
        await this.#cluster.leader(at),
        [{ topic, partition: at.partition, offset, maxBytes: bytes }],
        { waitMs: 0, maxBytes: bytes, connection: 1 },
      );
      if (fetched!.errorCode !== 0) await this.#fail(at, offset, createErrorFromCode(fetched!.errorCode));
      const { lastStableOffset, batches } = fetched!;
      // A leader that has just begun may not have at hand what is there. And a commit is true once the coordinator says
      // so, while its markers are still being written.
      if (batches.length === 0 && offset < Math.max(lastStableOffset, this.#ownEnd(at))) {
        throw createErrorFromCode(OFFSET_NOT_AVAILABLE);
      }
      this.#knownEnds.set(partitionName(at), lastStableOffset);
      return new FetchedRecords(at, offset, fetched!);
    });
  }

  async #fail(at: TopicPartition, offset: number, error: Error): Promise<never> {
    if (protocolCode(error) !== 'OFFSET_OUT_OF_RANGE') throw error;
    const [start, end] = [await this.#listOffset(at, EARLIEST), await this.#listOffset(at, LATEST)];
    throw new FreshetError('OFFSET_OUT_OF_RANGE', `the partition holds ${start} to ${end}`, {
      position: { ...at, offset },
      remedy: REMEDIES.OFFSET_OUT_OF_RANGE!,
    });
  }

  async #listOffset(at: TopicPartition, timestamp: number, isolationLevel = READ_COMMITTED): Promise<number> {
    return this.#cluster.retrying('the offsets of a partition cannot be read', at, async () => {
      const topics = [
        { topic: this.#cluster.topicName(at.topic), partitions: [{ partition: at.partition, timestamp }] },
      ];
      const leader = await this.#cluster.leader(at);
      const { responses } = await leader.listOffsets({ isolationLevel, topics });
      return Number(responses[0]!.partitions[0]!.offset);
    });
  }

  #takeKept(at: TopicPartition, offset: number): FetchedRecords | undefined {
    const key = keptKey(at, offset);
    const kept = this.#kept.get(key);
    if (kept === undefined) return undefined;
    this.#kept.delete(key);
    this.#keptBytes -= kept.bytes;
    return kept;
  }

  #keep(at: TopicPartition, fetched: FetchedRecords): void {
    const key = keptKey(at, fetched.nextOffset);
    this.#takeKept(at, fetched.nextOffset);
    this.#kept.set(key, fetched);
    this.#keptBytes += fetched.bytes;
    for (const [oldest, { bytes }] of this.#kept) {
      if (this.#keptBytes <= MAX_KEPT_BYTES) break;
      this.#kept.delete(oldest);
      this.#keptBytes -= bytes;
    }
  }

  #rememberVoid(at: TopicPartition, from: number, to: number): void {
    const name = partitionName(at);
    const known = this.#voids.get(name);
    // A read that began where the last one had ended, in the void, and found nothing either, makes it longer.
    const goesOn = known !== undefined && known.from < from && from <= known.to;
    this.#voids.delete(name);
    this.#voids.set(name, { from: goesOn ? known.from : from, to });
    if (this.#voids.size > MAX_VOIDS) this.#voids.delete(this.#voids.keys().next().value!);
  }
}

const keptKey = (at: TopicPartition, offset: number): string => `${partitionName(at)}@${offset}`;
