/**
 * Input that the stream rejected because the registry did not know its schema. What a registry knows is no function of the
 * log: it may know it by now, or know it no more. So what was recorded decides: these records are rejected again, and
 * their schema is not asked for.
 */
import { FreshetError } from '../base/errors.ts';
import type { Log, TopicPartition } from '../log/log.ts';
import { records } from '../log/newest.ts';
import { wrapLog } from '../log/wrapped-log.ts';
import type { Codec } from '../serde/codec.ts';
import { readFrame } from '../serde/frame.ts';
import type { Cause } from '../task/judge.ts';
import type { RejectedActionRecord } from '../../topics/records.ts';

/** What reads input: the log, and who makes actions of its bytes. */
export interface ActionReader {
  readonly log: Log;
  readonly codec: Pick<Codec, 'learn' | 'decode'>;
}

const UNKNOWN_SCHEMA: Cause = 'unknown_schema';
/** Of one partition; more are judged by what the registry knows now. */
const MAX_REJECTIONS = 1_000_000;

/** The same reader, to which the records of the input partition that were rejected for their schema are unreadable. */
export async function asRecorded({ log, codec }: ActionReader, input: TopicPartition): Promise<ActionReader> {
  const offsets = await offsetsOf(log, codec, input.partition);
  if (offsets.size === 0) return { log, codec };
  const values = new WeakSet<Buffer>();
  const isRejected = (value: Buffer | null): boolean => value !== null && values.has(value);
  return {
    log: wrapLog(log, {
      read: async (at, offset, limits) => {
        const read = await log.read(at, offset, limits);
        if (at.topic !== input.topic || at.partition !== input.partition) return read;
        for (const record of read) if (record.value !== null && offsets.has(record.offset)) values.add(record.value);
        return read;
      },
    }),
    codec: {
      learn: (read) => codec.learn(read.filter(({ value }) => !isRejected(value))),
      decode: (subject, value, headers, position) => {
        if (!isRejected(value)) return codec.decode(subject, value, headers, position);
        throw new FreshetError('SCHEMA_UNKNOWN', `${subject}: schema ${readFrame(value, headers).schema}`);
      },
    },
  };
}

async function offsetsOf(log: Log, codec: ActionReader['codec'], partition: number): Promise<Set<number>> {
  const at = { topic: 'rejected-actions', partition };
  const offsets = new Set<number>();
  for await (const record of records(log, at, await log.startOffset(at), await log.endOffset(at))) {
    if (record.value === null || offsets.size === MAX_REJECTIONS) continue;
    await codec.learn([record]);
    const { cause, offset } = codec.decode<RejectedActionRecord>(
      'rejected-actions-value',
      record.value,
      record.headers,
    );
    if (cause === UNKNOWN_SCHEMA) offsets.add(offset);
  }
  return offsets;
}
