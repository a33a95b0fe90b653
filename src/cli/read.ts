import type { Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { partitionOf } from '../base/murmur2.ts';
import { isErased, type LogRecord } from '../log/log.ts';
import { records } from '../log/newest.ts';
import type { Deployment } from '../run/deployment.ts';
import {
  CONTROL_HEADER,
  CONTROL_SUBJECT,
  declareTopics,
  type Subject,
  type TopicDeclaration,
} from '../../topics/index.ts';
import { command, contextOf, print, withDeployment } from './command.ts';
import { integerOption } from './options.ts';

/** `freshet read TOPIC`: the records of a topic, decoded. */
export function readCommand(): Command {
  return command('read <topic>', 'Print the records of a topic, decoded.', [
    'freshet read user-actions --limit=3',
    'freshet read sequence-features --user=-1032019229384696495 --json',
    'freshet read rejected-actions --json | jq .value.cause',
  ])
    .option('--from <offset>', 'Offset to start from, in each partition.', integerOption(0), 0)
    .option('--limit <n>', 'Records to print at most.', integerOption(1), 10)
    .option('--user <id>', 'Only the records of this user.')
    .option('--partition <p>', 'Only this partition.', integerOption(0))
    .option('--json', 'One JSON object a line.')
    .action(async (topic: string, options: ReadOptions) => {
      await withDeployment(contextOf(options), (deployment) => read(deployment, topic, options));
    });
}

interface ReadOptions extends Record<string, unknown> {
  readonly from: number;
  readonly limit: number;
  readonly user?: string;
  readonly partition?: number;
  readonly json?: boolean;
}

async function read(deployment: Deployment, topic: string, options: ReadOptions): Promise<void> {
  const { log, config } = deployment;
  const declared = declareTopics(config.partitions).find((each) => each.name === topic);
  if (declared === undefined) throw new FreshetError('UNKNOWN_TOPIC', topic);
  const key = options.user === undefined ? null : Buffer.from(options.user);
  let left = options.limit;
  for (const partition of partitionsToRead(declared, key, options.partition)) {
    const at = { topic, partition };
    const start = Math.max(options.from, await log.startOffset(at));
    for await (const record of records(log, at, start, await log.endOffset(at), { erased: true })) {
      if (left === 0) return;
      if (key !== null && !keyMatches(declared, record, key)) continue;
      left -= 1;
      const decoded = { topic, partition, ...(await decode(deployment, declared, record)) };
      print(options.json === true ? toJson(decoded) : toText(decoded));
    }
  }
}

function partitionsToRead(topic: TopicDeclaration, key: Buffer | null, partition: number | undefined): number[] {
  if (partition !== undefined) return partition < topic.partitions ? [partition] : [];
  const byUser = topic.name !== 'item-embeddings';
  if (key !== null && byUser) return [partitionOf(key, topic.partitions)];
  return Array.from({ length: topic.partitions }, (_, index) => index);
}

/** Keys of action-history begin with the length-prefixed user id; elsewhere the key is the id. */
function keyMatches(topic: TopicDeclaration, record: LogRecord, user: Buffer): boolean {
  if (record.key === null) return false;
  if (topic.name !== 'action-history') return record.key.equals(user);
  return record.key.readUInt32BE(0) === user.length && record.key.subarray(4, 4 + user.length).equals(user);
}

async function decode({ codec }: Deployment, topic: TopicDeclaration, record: LogRecord): Promise<DecodedRecord> {
  const isControl = record.headers[CONTROL_HEADER] !== undefined;
  const subject: Subject = isControl ? CONTROL_SUBJECT : `${topic.name}-value`;
  const { offset, timestampMs, headers } = record;
  const key =
    topic.name === 'action-history' ? (record.key?.toString('base64') ?? null) : (record.key?.toString() ?? null);
  const at = {
    offset,
    timestampMs,
    key,
    headers: Object.fromEntries(Object.entries(headers).map(([name, bytes]) => [name, bytes.toString()])),
  };
  if (isErased(record)) return { ...at, headers: {}, value: null, erased: true };
  if (record.value === null) return { ...at, value: null };
  await codec.learn([record]);
  try {
    return { ...at, value: codec.decode<object>(subject, record.value, headers) };
  } catch (error) {
    // What a task would reject is shown as it is.
    if (!(error instanceof FreshetError)) throw error;
    return { ...at, value: null, undecodable: { code: error.code, bytes: record.value } };
  }
}

interface DecodedRecord {
  readonly offset: number;
  readonly timestampMs: number;
  readonly key: string | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly value: object | null;
  readonly undecodable?: { code: string; bytes: Buffer };
  /** What an erase has left of a record. */
  readonly erased?: true;
}

const toJson = (value: unknown): string => JSON.stringify(value, plainBytes);

/** Bytes as base64, but item vectors as the 8-bit integers that they are. */
function plainBytes(name: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('type' in value) || value.type !== 'Buffer') return value;
  const bytes = Buffer.from((value as unknown as { data: number[] }).data);
  return name === 'vector' ? [...new Int8Array(bytes)] : bytes.toString('base64');
}

function toText(record: DecodedRecord & { topic: string; partition: number }): string {
  const time = new Date(record.timestampMs).toISOString();
  const head = `${record.topic}-${record.partition} @${record.offset} ${time} key ${record.key ?? '(none)'}`;
  return `${head}\n  ${record.erased === true ? 'erased' : toJson(record.value ?? record.undecodable ?? null)}`;
}
