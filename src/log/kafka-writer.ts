/**
 * The writer of one task: a transactional producer whose id is the task's. Opening it fences earlier ones and settles
 * the transaction that one of them left open. The steps of a transaction are sent here, over kafkajs's connections:
 *
 * - its own producer does not try again while the markers of the last transaction are on their way, or waits 300 ms;
 * - after an EndTxn that failed it can do nothing any more.
 *
 * Whatever fails here ends the writer: each later call fails in the same way, and a new writer finds out what is true.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { FreshetError, invariant } from '../base/errors.ts';
import type { Coordinated, KafkaCluster } from './kafka-cluster.ts';
import { fetchCommitted } from './kafka-committed.ts';
import { kafkaError, kafkaErrorClass, kafkaErrorCode, protocolCode } from './kafka-errors.ts';
import type { Broker, TxnIdentity } from './kafka-internals.ts';
import { KafkaProducer } from './kafka-producer.ts';
import { partitionName, type CommitRequest, type Committed, type TaskWriter, type TopicPartition } from './log.ts';
import { lastOfRuns } from './partition-runs.ts';

/** Kafka's default of `offset.metadata.max.bytes`. */
const MAX_METADATA_BYTES = 4_096;
/** Who waits for an abort has a new writer to open, which does the same. */
const ABORT_PATIENCE_MS = 1_000;

export interface KafkaWriterOptions {
  /** Connections of its own, which the writer closes. */
  readonly cluster: KafkaCluster;
  readonly taskId: string;
  /** The consumer group that keeps the offsets: the application id. */
  readonly groupId: string;
  readonly transactionTimeoutMs: number;
  /** Told the ends of the partitions that a commit has written. */
  readonly onCommitted: (outputEnds: ReadonlyMap<string, number>) => void;
  readonly onClosed: () => void;
}

export class KafkaWriter implements TaskWriter {
  readonly #options: KafkaWriterOptions;
  readonly #identity: TxnIdentity;
  readonly #producer: KafkaProducer;
  readonly #coordinators = new Map<Coordinated, Broker>();
  #failure: FreshetError | undefined;
  #isCommitting = false;
  #isOpen = true;

  private constructor(options: KafkaWriterOptions, identity: TxnIdentity) {
    this.#options = options;
    this.#identity = identity;
    this.#producer = new KafkaProducer(options.cluster, identity);
  }

  static async open(options: KafkaWriterOptions): Promise<KafkaWriter> {
    const { cluster, taskId: transactionalId, transactionTimeoutMs: transactionTimeout } = options;
    // While the open transaction of an earlier writer is being settled the coordinator says CONCURRENT_TRANSACTIONS.
    const { producerId, producerEpoch } = await cluster.retrying(
      `task ${transactionalId} cannot be fenced`,
      {},
      async () => {
        const coordinator = await cluster.coordinator('transaction', transactionalId);
        return coordinator.initProducerId({ transactionalId, transactionTimeout });
      },
    );
    return new KafkaWriter(options, { transactionalId, producerId, producerEpoch });
  }

  async committed(input: TopicPartition): Promise<Committed | undefined> {
    this.#assertUsable();
    return fetchCommitted(this.#options.cluster, { groupId: this.#options.groupId, input, isStable: true });
  }

  async commit({ outputs, offsets, metadata, onSent }: CommitRequest): Promise<void> {
    this.#assertUsable();
    invariant(!this.#isCommitting, `task ${this.#options.taskId} commits twice at a time`);
    this.#isCommitting = true;
    try {
      const outputEnds = await this.#step(() => this.#write(outputs, offsets.length > 0));
      const text = await this.#describe(metadata, outputEnds);
      if (offsets.length > 0) await this.#step(() => this.#addCommitted(offsets, text));
      await onSent?.();
      if (outputs.length > 0 || offsets.length > 0) await this.#step(() => this.#end());
      this.#options.onCommitted(outputEnds);
    } finally {
      this.#isCommitting = false;
    }
  }

  async close(): Promise<void> {
    this.#isOpen = false;
    this.#options.onClosed();
    await this.#options.cluster.close();
  }

  /** A step that fails ends the writer; a transaction that it leaves open is aborted, if that can be done. */
  async #step<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      this.#failure = kafkaError(error, `task ${this.#options.taskId} cannot commit`);
      if (this.#failure.code !== 'FENCED' && this.#failure.code !== 'COMMIT_UNKNOWN') await this.#abort();
      throw this.#failure;
    }
  }

  /** Outputs into the transaction, and room for offsets. Returns the ends of the partitions written. */
  async #write(outputs: CommitRequest['outputs'], withOffsets: boolean): Promise<ReadonlyMap<string, number>> {
    const { groupId, cluster } = this.#options;
    const partitions = new Map<string, Set<number>>();
    for (const { topic, partition } of lastOfRuns(outputs)) {
      const name = cluster.topicName(topic);
      partitions.set(name, (partitions.get(name) ?? new Set()).add(partition));
    }
    const topics = Array.from(partitions, ([topic, of]) => ({ topic, partitions: [...of] }));
    const { transactionalId } = this.#identity;
    if (topics.length > 0) {
      await this.#coordinated('transaction', transactionalId, (coordinator) =>
        coordinator.addPartitionsToTxn({ ...this.#identity, topics }),
      );
    }
    const addOffsets = (): Promise<void> =>
      this.#coordinated('transaction', transactionalId, (coordinator) =>
        coordinator.addOffsetsToTxn({ ...this.#identity, groupId }),
      );
    // Neither depends on the other; both must be over before an error is met, or the abort would overtake them.
    const [written, added] = await Promise.allSettled([this.#producer.produce(outputs), withOffsets && addOffsets()]);
    if (written.status === 'rejected') throw written.reason;
    if (added.status === 'rejected') throw added.reason;
    const offsets = written.value;
    return new Map(Array.from(lastOfRuns(outputs), (record) => [partitionName(record), offsets[record.index]! + 1]));
  }

  /** What the caller makes of the ends. If it cannot, that is no fault of the writer's, which stays usable. */
  async #describe(metadata: CommitRequest['metadata'], outputEnds: ReadonlyMap<string, number>): Promise<string> {
    try {
      const text = metadata(outputEnds);
      const bytes = Buffer.byteLength(text);
      invariant(bytes <= MAX_METADATA_BYTES, `${bytes} bytes of metadata, ${MAX_METADATA_BYTES} allowed`);
      return text;
    } catch (error) {
      if (!(await this.#abort())) this.#failure = kafkaError(error, 'a commit without metadata could not be aborted');
      throw error;
    }
  }

  async #addCommitted(offsets: CommitRequest['offsets'], metadata: string): Promise<void> {
    const { cluster, groupId } = this.#options;
    const topics = offsets.map(({ input, offset }) => ({
      topic: cluster.topicName(input.topic),
      partitions: [{ partition: input.partition, offset: `${offset}`, metadata }],
    }));
    await this.#coordinated('group', groupId, (coordinator) =>
      coordinator.txnOffsetCommit({ ...this.#identity, groupId, topics }),
    );
  }

  /** The decision. What the coordinator answers may be tried again; without an answer nobody here knows what it did. */
  async #end(): Promise<void> {
    const { transactionalId } = this.#identity;
    const unknown = (cause: unknown): FreshetError =>
      new FreshetError('COMMIT_UNKNOWN', `task ${transactionalId}`, { cause });
    let isSent = false;
    try {
      await this.#coordinated('transaction', transactionalId, async (coordinator) => {
        isSent = true;
        try {
          await coordinator.endTxn({ ...this.#identity, transactionResult: true });
        } catch (error) {
          throw protocolCode(error) === undefined && kafkaErrorClass(error) === 'retry' ? unknown(error) : error;
        }
      });
    } catch (error) {
      // An answer that asks for patience may hide a decision that was taken.
      throw isSent && kafkaErrorCode(error) === 'LOG_UNAVAILABLE' ? unknown(error) : error;
    }
  }

  /** Returns whether it is certain. If not, readers wait until the next writer opens or the transaction times out. */
  async #abort(): Promise<boolean> {
    const abort = async (): Promise<boolean> => {
      const coordinator = await this.#coordinator('transaction', this.#identity.transactionalId);
      await coordinator.endTxn({ ...this.#identity, transactionResult: false });
      return true;
    };
    return Promise.race([abort().catch(() => false), sleep(ABORT_PATIENCE_MS, false, { ref: false })]);
  }

  async #coordinated(type: Coordinated, id: string, request: (broker: Broker) => Promise<unknown>): Promise<void> {
    await this.#options.cluster.retrying(`task ${this.#options.taskId} cannot commit`, {}, async () => {
      const coordinator = await this.#coordinator(type, id);
      try {
        await request(coordinator);
      } catch (error) {
        if (protocolCode(error) !== 'CONCURRENT_TRANSACTIONS') this.#coordinators.delete(type);
        throw error;
      }
    });
  }

  async #coordinator(type: Coordinated, id: string): Promise<Broker> {
    const coordinator = this.#coordinators.get(type) ?? (await this.#options.cluster.coordinator(type, id));
    this.#coordinators.set(type, coordinator);
    return coordinator;
  }

  #assertUsable(): void {
    invariant(this.#isOpen, `the writer of task ${this.#options.taskId} is closed`);
    if (this.#failure !== undefined) throw this.#failure;
  }
}
