/**
 * What Freshet is compared with: a bare consume-transform-produce loop on kafkajs. It reads and writes as many records,
 * bytes and transactions as the job did, in the job's two stages (actions to features, features to their join), but
 * decodes, keeps and computes nothing. One transactional producer a stage and partition, so that the broker's answers to
 * one are awaited while another is filled.
 */
import kafkajs, { type Consumer, type EachBatchPayload, type Producer, type Transaction } from 'kafkajs';
import { printResult } from './report.ts';

/** Given as JSON, the first argument. */
export interface BareJob {
  readonly brokers: readonly string[];
  /** Names groups and transactional ids. */
  readonly name: string;
  /** The first reads a topic that is there, each other what the one before it writes. */
  readonly stages: readonly BareStage[];
}

export interface BareStage {
  readonly input: string;
  readonly output: string;
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
  clientId: job.name,
  brokers: [...job.brokers],
  logLevel: kafkajs.logLevel.NOTHING,
});

/** One partition of a stage: its producer, and the transaction that is being filled. */
class Partition {
  private readonly stage: Stage;
  private readonly partition: number;
  private readonly producer: Producer;
  private transaction: Transaction | undefined;
  private inputs = 0;
  private owedOutputs = 0;
  offset = 0;
  consumed = 0;
  outputs = 0;
  transactions = 0;

  constructor(stage: Stage, partition: number) {
    this.stage = stage;
    this.partition = partition;
    const transactionalId = `${stage.groupId}-${partition}`;
    this.producer = kafka.producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 });
  }

  get isDone(): boolean {
    return this.stage.isDone(this.partition);
  }

  connect(): Promise<void> {
    return this.producer.connect();
  }

  disconnect(): Promise<void> {
    return this.producer.disconnect();
  }

  async take(payload: EachBatchPayload): Promise<void> {
    const { messages } = payload.batch;
    const { outputsPerInput, bytesPerOutput, inputsPerTransaction } = this.stage.job;
    let slice: Output[] = [];
    for (const { key, offset } of messages) {
      this.inputs += 1;
      this.consumed += 1;
      this.offset = Number(offset) + 1;
      for (this.owedOutputs += outputsPerInput; this.owedOutputs >= 1; this.owedOutputs -= 1) {
        slice.push({ key, value: this.stage.transformed(this.offset), partition: this.partition });
      }
      if (slice.length >= SLICE_RECORDS || slice.length * bytesPerOutput >= SLICE_BYTES) {
        await this.send(slice);
        slice = [];
        await payload.heartbeat();
      }
      if (this.inputs < inputsPerTransaction) continue;
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
    await this.transaction.send({ topic: this.stage.job.output, messages, acks: -1 });
    this.outputs += messages.length;
  }

  private async commit(): Promise<void> {
    if (this.transaction === undefined) return;
    const offsets = [{ partition: this.partition, offset: String(this.offset) }];
    await this.transaction.sendOffsets({
      consumerGroupId: this.stage.groupId,
      topics: [{ topic: this.stage.job.input, partitions: offsets }],
    });
    await this.transaction.commit();
    this.transaction = undefined;
    this.inputs = 0;
    this.transactions += 1;
  }
}

/** One topic to another, all partitions. */
class Stage {
  readonly job: BareStage;
  readonly groupId: string;
  /** Whether a partition's input is consumed, and nothing will come. */
  readonly isDone: (partition: number) => boolean;
  readonly partitions: readonly Partition[];
  private readonly template: Buffer;
  private readonly consumer: Consumer;

  /** @param isDone - told how many records were consumed, and the offset behind them. */
  constructor(
    stage: BareStage,
    options: {
      readonly place: number;
      readonly partitions: number;
      readonly isDone: (at: { partition: number; consumed: number; offset: number }) => boolean;
    },
  ) {
    this.job = stage;
    this.groupId = `${job.name}-${options.place}`;
    this.template = Buffer.alloc(Math.round(stage.bytesPerOutput), 'features');
    this.partitions = Array.from({ length: options.partitions }, (_, partition) => new Partition(this, partition));
    this.isDone = (partition) => {
      const { consumed, offset } = this.partitions[partition]!;
      return options.isDone({ partition, consumed, offset });
    };
    this.consumer = kafka.consumer({ groupId: this.groupId, readUncommitted: false });
  }

  async connect(): Promise<void> {
    await Promise.all([this.consumer.connect(), ...this.partitions.map((each) => each.connect())]);
    await this.consumer.subscribe({ topic: this.job.input, fromBeginning: true });
  }

  /** Settles when all of the input is consumed. */
  async run(): Promise<void> {
    const { consumer, partitions } = this;
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

  async disconnect(): Promise<void> {
    await Promise.all([this.consumer.disconnect(), ...this.partitions.map((each) => each.disconnect())]);
  }

  total(field: 'consumed' | 'outputs' | 'transactions'): number {
    return this.partitions.reduce((sum, each) => sum + each[field], 0);
  }

  /** The transformation: a copy with something of the input in it. */
  transformed(offset: number): Buffer {
    const value = Buffer.from(this.template);
    value.writeDoubleBE(offset, 0);
    return value;
  }
}

async function endOffsets(topic: string): Promise<number[]> {
  const admin = kafka.admin();
  await admin.connect();
  const offsets = await admin.fetchTopicOffsets(topic);
  await admin.disconnect();
  return offsets.sort((a, b) => a.partition - b.partition).map(({ high }) => Number(high));
}

const ends = await endOffsets(job.stages[0]!.input);
const stages: Stage[] = [];
for (const [place, stage] of job.stages.entries()) {
  const source = stages.at(-1);
  stages.push(
    new Stage(stage, {
      place,
      partitions: ends.length,
      isDone: ({ partition, consumed, offset }) =>
        source === undefined
          ? offset >= ends[partition]!
          : source.isDone(partition) && consumed === source.partitions[partition]!.outputs,
    }),
  );
}
await Promise.all(stages.map((stage) => stage.connect()));
const actions = (): number => stages[0]!.total('consumed');
let warm = { fromMs: Number.NaN, afterActions: 0 };
const warmUp = setTimeout(() => (warm = { fromMs: performance.now(), afterActions: actions() }), WARM_UP_MS);
await Promise.all(stages.map((stage) => stage.run()));
clearTimeout(warmUp);
await Promise.all(stages.map((stage) => stage.disconnect()));

// As of the job: since the process started.
const endMs = performance.now();
const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
printResult({
  name: 'kafka-bare',
  actionsPerSecond: Math.round((actions() * 1000) / endMs),
  warmActionsPerSecond: Math.round(((actions() - warm.afterActions) * 1000) / (endMs - warm.fromMs)),
  seconds: Math.round(endMs / 10) / 100,
  cpuSeconds: Math.round((userCPUTime + systemCPUTime) / 1e4) / 100,
  rssMb: Math.round(maxRSS / 1024),
  actions: actions(),
  stages: stages.map((stage) => ({
    inputs: stage.total('consumed'),
    outputs: stage.total('outputs'),
    bytesPerOutput: Math.round(stage.job.bytesPerOutput),
    transactions: stage.total('transactions'),
  })),
});
