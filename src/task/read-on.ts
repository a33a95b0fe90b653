/**
 * Reading a partition whose offsets have holes: in Kafka the markers of transactions, aborted records and records that
 * were compacted away take offsets that no reader sees. So the end of a partition may lie behind its last record.
 */
import type { Log, LogRecord, ReadLimits, TopicPartition } from '../log/log.ts';

export interface Read {
  readonly records: readonly LogRecord[];
  /** The offset to go on from; behind the end's hole if there was nothing else. */
  readonly next: number;
}

export async function readOn(log: Log, at: TopicPartition, offset: number, limits: ReadLimits): Promise<Read> {
  const read = await log.read(at, offset, limits);
  if (read.length > 0) return behind(read);
  const end = await log.endOffset(at);
  if (end <= offset) return { records: [], next: offset };
  // Again, as a record may have come before the end was asked for; only a read after it proves the hole.
  const more = await log.read(at, offset, limits);
  return more.length > 0 ? behind(more) : { records: [], next: end };
}

/** Whether a partition holds any record. Ends alone do not tell. */
export async function hasRecords(log: Log, at: TopicPartition): Promise<boolean> {
  const start = await log.startOffset(at);
  return (await log.read(at, start, { maxRecords: 1, maxBytes: 1 })).length > 0;
}

const behind = (records: readonly LogRecord[]): Read => ({ records, next: records.at(-1)!.offset + 1 });
