/**
 * The numbered records of one producer id: slices of bounded size, a few of them under way at once. The broker knows a
 * batch that it has by its numbers, so what failed is sent again, in order and as the same bytes.
 */
import { recordBytesMax } from './kafka-batch-encoder.ts';
import { send, type KafkaCluster } from './kafka-cluster.ts';
import { createErrorFromCode } from './kafka-internals.ts';
import type { ProtocolCall } from './kafka-internals.ts';
import { MAX_SLICE_BYTES, ProduceRequest } from './kafka-produce-request.ts';
import { partitionName, type NewRecord, type TopicPartition } from './log.ts';
import { indexesByPartition } from './partition-runs.ts';

const MAX_SLICE_RECORDS = 5_000;
/** A broker keeps the numbers of the last five batches of a producer in a partition. */
const MAX_UNDER_WAY = 4;
const MAX_SEQUENCE = 2 ** 31;

export interface ProducerIdentity {
  readonly producerId: string;
  readonly producerEpoch: number;
  /** Null: idempotent only. */
  readonly transactionalId: string | null;
}

interface Slice {
  readonly at: TopicPartition;
  /** Of its records, in what was handed over. */
  readonly indexes: readonly number[];
  readonly request: ProduceRequest;
}

export class KafkaProducer {
  readonly #cluster: KafkaCluster;
  readonly #identity: ProducerIdentity;
  /** Number of the next record, by partition. */
  readonly #sequences = new Map<string, number>();
  /** Partitions whose leader has taken a batch of this producer. */
  readonly #known = new Set<string>();

  constructor(cluster: KafkaCluster, identity: ProducerIdentity) {
    this.#cluster = cluster;
    this.#identity = identity;
  }

  /** Returns each record's offset. After an error this producer must not be used again: its numbers are uncertain. */
  async produce(records: readonly NewRecord[]): Promise<number[]> {
    const offsets = new Array<number>(records.length);
    const sent = ({ at, indexes }: Slice, baseOffset: number): void => {
      this.#known.add(partitionName(at));
      for (let delta = 0; delta < indexes.length; delta += 1) offsets[indexes[delta]!] = baseOffset + delta;
    };
    /** Resolved with the slice itself if that was not taken. */
    let underWay: Promise<Slice | undefined>[] = [];
    const settle = async (): Promise<void> => {
      const failed = await Promise.all(underWay);
      underWay = [];
      // One after the other: what stands behind a batch that was not taken was refused with it.
      for (const slice of failed) if (slice !== undefined) sent(slice, await this.#sendAgain(slice));
    };
    for (const slice of this.#slices(records)) {
      if (underWay.length === MAX_UNDER_WAY) {
        if ((await underWay[0]) === undefined) void underWay.shift();
        else await settle();
      }
      underWay.push(
        this.#send(slice).then(
          (baseOffset) => {
            slice.request.release();
            sent(slice, baseOffset);
            return undefined;
          },
          () => slice,
        ),
      );
      // A broker takes any number from a producer that it has not seen yet: if it refused the first batch for a passing
      // reason and took the second, it would never take the first.
      if (!this.#known.has(partitionName(slice.at))) await settle();
    }
    await settle();
    return offsets;
  }

  async #sendAgain(slice: Slice): Promise<number> {
    return this.#cluster.retrying('records cannot be written', slice.at, () => this.#send(slice));
  }

  async #send({ at, request }: Slice): Promise<number> {
    const leader = await this.#cluster.leader(at);
    return send(leader, {
      request: { apiKey: 0, apiVersion: 7, apiName: 'Produce', encode: async () => request.encode() },
      response: RESPONSE,
    });
  }

  /** By partition, in order; each is encoded when its turn comes. */
  *#slices(records: readonly NewRecord[]): Generator<Slice> {
    for (const indexes of indexesByPartition(records)) {
      for (let start = 0; start < indexes.length;) {
        let bytes = 0;
        let end = start;
        for (; end < indexes.length && end - start < MAX_SLICE_RECORDS; end += 1) {
          bytes += recordBytesMax(records[indexes[end]!]!);
          if (bytes > MAX_SLICE_BYTES && end > start) break;
        }
        yield this.#slice(records, indexes.slice(start, end));
        start = end;
      }
    }
  }

  #slice(all: readonly NewRecord[], indexes: readonly number[]): Slice {
    const records = indexes.map((index) => all[index]!);
    const { topic, partition } = records[0]!;
    const name = partitionName(records[0]!);
    const firstSequence = this.#sequences.get(name) ?? 0;
    this.#sequences.set(name, (firstSequence + records.length) % MAX_SEQUENCE);
    const { producerId, producerEpoch, transactionalId } = this.#identity;
    const isTransactional = transactionalId !== null;
    const { requestTimeoutMs: timeoutMs } = this.#cluster;
    const target = { transactionalId, timeoutMs, topic: this.#cluster.topicName(topic), partition };
    const request = new ProduceRequest(target, records, { producerId, producerEpoch, firstSequence, isTransactional });
    return { at: { topic, partition }, indexes, request };
  }
}

/** topics · throttle time; here one topic with one partition: partition i32 · error i16 · base offset i64 · … */
const RESPONSE: ProtocolCall<number>['response'] = {
  decode: async (payload) => {
    const at = 4 + 2 + payload.readInt16BE(4) + 4 + 4;
    const errorCode = payload.readInt16BE(at);
    if (errorCode !== 0) throw createErrorFromCode(errorCode);
    return Number(payload.readBigInt64BE(at + 2));
  },
  parse: async (baseOffset) => baseOffset,
};
