/**
 * What Freshet is compared with: a bare consume-transform-produce loop on kafkajs. It reads the same input and writes as
 * many records, bytes and transactions as the job did, but decodes, keeps and computes nothing. One transactional
 * producer a partition, so that the broker's answers to one are awaited while another is filled.
 */
import kafkajs, { type Consumer, type EachBatchPayload, type Kafka, type Producer, type Transaction } from 'kafkajs';
import { printResult } from './report.ts';

/** Given as JSON, the first argument. */
export interface BareJob {
  readonly brokers: readonly string[];
  readonly input: string;
  readonly output: string;
  readonly groupId: string;
  /** Of the job compared with: what it wrote for an input record, and how many of them a transaction took. */
  readonly outputsPerInput: number;
  readonly bytesPerOutput: number;
  readonly inputsPerTransaction: number;
}

interface Output {
  readonly key: Buffer | null;
  readonly value: Buffer;
  readonly partition: number;
}

/** As Freshet sends: kafkajs makes one record batch of a partition's records in a send, and brokers take 1 MB. */
const SLICE_RECORDS = 500;
const SLICE_BYTES = 512 * 1024;
/** About when the job's first line of progress comes. */
const WARM_UP_MS = 7_000;

const job = JSON.parse(process.argv[2]!) as BareJob;
const kafka = new kafkajs.Kafka({
  clientId: job.groupId,
  brokers: [...job.brokers],
  logLevel: kafkajs.logLevel.NOTHING,
});
const template = Buffer.alloc(Math.round(job.bytesPerOutput), 'features');

/** One partition of the input: its producer, and the transaction that is being filled. */
class Partition {
  private readonly partition: number;
  private readonly endOffset: number;
  private readonly producer: Producer;
  private transaction: Transaction | undefined;
  private inputs = 0;
  private owedOutputs = 0;
  offset = 0;
  outputs = 0;
  transactions = 0;

  constructor(partition: number, endOffset: number) {
    this.partition = partition;
    this.endOffset = endOffset;
    const transactionalId = `${job.groupId}-${partition}`;
    this.producer = kafka.producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 });
  }

  get isDone(): boolean {
    return this.offset >= this.endOffset;
  }

  connect(): Promise<void> {
    return this.producer.connect();
  }

  disconnect(): Promise<void> {
    return this.producer.disconnect();
  }

  async take(payload: EachBatchPayload): Promise<void> {
    const { messages } = payload.batch;
    let slice: Output[] = [];
    for (const { key, offset } of messages) {
      this.inputs += 1;
      this.offset = Number(offset) + 1;
      for (this.owedOutputs += job.outputsPerInput; this.owedOutputs >= 1; this.owedOutputs -= 1) {
        slice.push({ key, value: transformed(this.offset), partition: this.partition });
      }
      if (slice.length >= SLICE_RECORDS || slice.length * template.length >= SLICE_BYTES) {
        await this.send(slice);
        slice = [];
        await payload.heartbeat();
      }
      if (this.inputs < job.inputsPerTransaction) continue;
      await this.send(slice);
      slice = [];
      await this.commit();
    }
    await this.send(slice);
    if (this.isDone) await this.commit();
    // Where the next fetch starts; the committed offset is the transaction's.
    payload.resolveOffset(messages.at(-1)!.offset);
  }

  private async send(messages: Output[]): Promise<void> {
    if (messages.length === 0) return;
    this.transaction ??= await this.producer.transaction();
    await this.transaction.send({ topic: job.output, messages, acks: -1 });
    this.outputs += messages.length;
  }

  private async commit(): Promise<void> {
    if (this.transaction === undefined) return;
    const offsets = [{ partition: this.partition, offset: String(this.offset) }];
    await this.transaction.sendOffsets({
      consumerGroupId: job.groupId,
      topics: [{ topic: job.input, partitions: offsets }],
    });
    await this.transaction.commit();
    this.transaction = undefined;
    this.inputs = 0;
    this.transactions += 1;
  }
}

/** The transformation: a copy with something of the input in it. */
function transformed(offset: number): Buffer {
  const value = Buffer.from(template);
  value.writeDoubleBE(offset, 0);
  return value;
}

async function endOffsets(client: Kafka): Promise<number[]> {
  const admin = client.admin();
  await admin.connect();
  const offsets = await admin.fetchTopicOffsets(job.input);
  await admin.disconnect();
  return offsets.sort((a, b) => a.partition - b.partition).map(({ high }) => Number(high));
}

async function consume(consumer: Consumer, partitions: readonly Partition[]): Promise<void> {
  const { promise: done, resolve, reject } = Promise.withResolvers<void>();
  consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    partitionsConsumedConcurrently: partitions.length,
    eachBatch: async (payload) => {
      await partitions[payload.batch.partition]!.take(payload);
      if (partitions.every((each) => each.isDone)) resolve();
    },
  });
  await done;
}

const partitions = (await endOffsets(kafka)).map((endOffset, partition) => new Partition(partition, endOffset));
const total = (field: 'offset' | 'outputs' | 'transactions'): number =>
  partitions.reduce((sum, each) => sum + each[field], 0);
const consumer = kafka.consumer({ groupId: job.groupId, readUncommitted: false });
await Promise.all([consumer.connect(), ...partitions.map((each) => each.connect())]);
await consumer.subscribe({ topic: job.input, fromBeginning: true });
let warm = { fromMs: Number.NaN, afterActions: 0 };
const warmUp = setTimeout(() => (warm = { fromMs: performance.now(), afterActions: total('offset') }), WARM_UP_MS);
await consume(consumer, partitions);
clearTimeout(warmUp);
await Promise.all([consumer.disconnect(), ...partitions.map((each) => each.disconnect())]);

// As of the job: since the process started.
const endMs = performance.now();
const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
printResult({
  name: 'kafka-bare',
  actionsPerSecond: Math.round((total('offset') * 1000) / endMs),
  warmActionsPerSecond: Math.round(((total('offset') - warm.afterActions) * 1000) / (endMs - warm.fromMs)),
  seconds: Math.round(endMs / 10) / 100,
  cpuSeconds: Math.round((userCPUTime + systemCPUTime) / 1e4) / 100,
  rssMb: Math.round(maxRSS / 1024),
  actions: total('offset'),
  outputs: total('outputs'),
  bytesPerOutput: template.length,
  transactions: total('transactions'),
});
