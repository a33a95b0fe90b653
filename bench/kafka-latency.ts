/**
 * How long after an action was produced its user's features can be read: a producer at a constant rate and a
 * read_committed consumer in one process, so that one clock measures. An action is in the features when its user's
 * record has at least its offset as version.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import avsc from 'avsc';
import kafkajs from 'kafkajs';
import { partitionOf } from '../src/base/murmur2.ts';
import { PREFIX_BYTES, writePrefix } from '../src/serde/frame.ts';
import { shippedSchema } from '../topics/index.ts';
import { LatencyMatcher } from './latency-matcher.ts';
import { printResult } from './report.ts';
import { take } from './take.ts';
import { workload, WORKLOAD } from './workload.ts';

/** Given as JSON, the first argument. */
export interface LatencyJob {
  readonly brokers: readonly string[];
  readonly registry: string;
  readonly partitions: number;
  readonly actionsPerSecond: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
}

/** A producer's linger. */
const SEND_EVERY_MS = 10;
/** How long the last actions are waited for. */
const GRACE_MS = 5_000;

const job = JSON.parse(process.argv[2]!) as LatencyJob;
const kafka = new kafkajs.Kafka({
  clientId: 'freshet-bench-latency',
  brokers: [...job.brokers],
  logLevel: kafkajs.logLevel.NOTHING,
});
const actionType = avsc.Type.forSchema(shippedSchema('user-actions-value'));
const features = shippedSchema('sequence-features-value');
/** The first two fields: the user and its version. */
const versionType = avsc.Type.forSchema({ ...features, name: 'Version', fields: features.fields.slice(0, 2) });
const schemaId = await newestSchemaId('user-actions-value');
const matcher = new LatencyMatcher();

const consumer = kafka.consumer({ groupId: `freshet-bench-latency-${Date.now()}`, readUncommitted: false });
const producer = kafka.producer({ idempotent: true });
await Promise.all([consumer.connect(), producer.connect()]);
await consumer.subscribe({ topic: 'sequence-features', fromBeginning: false });
const joined = new Promise((resolve) => consumer.on(consumer.events.FETCH, resolve));
await consumer.run({
  autoCommit: false,
  eachBatch: async ({ batch }) => {
    const seenMs = performance.now();
    for (const { value } of batch.messages) {
      if (value === null) continue;
      const { userId, version } = versionType.decode(value, PREFIX_BYTES).value as { userId: string; version: number };
      matcher.seen(userId, version, seenMs);
    }
  },
});
await joined;

const sends: Promise<void>[] = [];
const startMs = performance.now();
const measureFromMs = startMs + job.warmUpSeconds * 1000;
const endMs = measureFromMs + job.seconds * 1000;
const total = (job.warmUpSeconds + job.seconds) * job.actionsPerSecond;
const actions = workload({ ...WORKLOAD, actions: total, seed: WORKLOAD.seed + 1 });
let produced = 0;
for (let nowMs = startMs; nowMs < endMs; nowMs = performance.now()) {
  const due = Math.min(total, Math.floor(((nowMs - startMs) / 1000) * job.actionsPerSecond));
  const batch = [...take(actions, due - produced)];
  produced = due;
  if (batch.length > 0) sends.push(send(batch.map(({ userId, action }) => ({ userId, ...action }))));
  await sleep(SEND_EVERY_MS);
}
await Promise.all(sends);
for (const untilMs = performance.now() + GRACE_MS; matcher.pending > 0 && performance.now() < untilMs;) await sleep(50);
await Promise.all([consumer.disconnect(), producer.disconnect()]);
printResult({ name: 'kafka-latency', ...matcher.result(measureFromMs), actionsPerSecond: job.actionsPerSecond });

async function send(batch: readonly { userId: string; itemId: string; actionType: string; surface: string }[]) {
  const sentMs = performance.now();
  const nowMs = Date.now();
  const byPartition = new Map<number, string[]>();
  const messages = batch.map((action) => {
    const key = Buffer.from(action.userId);
    const partition = partitionOf(key, job.partitions);
    const users = byPartition.get(partition);
    if (users === undefined) byPartition.set(partition, [action.userId]);
    else users.push(action.userId);
    return { key, partition, value: framed({ ...action, eventTimeMs: nowMs, surface: action.surface || null }) };
  });
  for (const { partition, baseOffset } of await producer.send({ topic: 'user-actions', messages, acks: -1 })) {
    for (const [index, userId] of byPartition.get(partition)!.entries()) {
      matcher.sent(userId, Number(baseOffset) + index, sentMs);
    }
  }
}

function framed(action: object): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  writePrefix(prefix, schemaId);
  return Buffer.concat([prefix, actionType.toBuffer(action)]);
}

async function newestSchemaId(subject: string): Promise<number> {
  const answer = await fetch(`${job.registry}/subjects/${subject}/versions/latest`);
  if (!answer.ok) throw new Error(`subject ${subject}: the registry answers ${answer.status}`);
  return ((await answer.json()) as { id: number }).id;
}
