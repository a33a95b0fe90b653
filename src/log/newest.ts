/** Looking things up in a log that is made to be read forwards: for tools that ask once, not for tasks. */
import type { Log, LogRecord, ReadLimits, TopicPartition } from './log.ts';

const CHUNK = 512;
const MAX_BYTES = 4 * 1024 * 1024;

/** The newest record of a key, a tombstone included; undefined if the partition holds none. Reads backwards. */
export async function newestRecord(log: Log, at: TopicPartition, key: Buffer): Promise<LogRecord | undefined> {
  const start = await log.startOffset(at);
  for (let end = await log.endOffset(at); end > start;) {
    const from = Math.max(start, end - CHUNK);
    let newest: LogRecord | undefined;
    for await (const record of records(log, at, from, end)) {
      if (record.key?.equals(key) === true) newest = record;
    }
    if (newest !== undefined) return newest;
    end = from;
  }
  return undefined;
}

/** Every record from `from` up to `end` (exclusive), read in bounded pieces. */
export async function* records(
  log: Log,
  at: TopicPartition,
  from: number,
  end: number,
  which: Pick<ReadLimits, 'erased'> = {},
): AsyncGenerator<LogRecord> {
  for (let offset = from; offset < end;) {
    const read = await log.read(at, offset, { maxRecords: CHUNK, maxBytes: MAX_BYTES, ...which });
    if (read.length === 0) return;
    for (const record of read) {
      if (record.offset >= end) return;
      yield record;
    }
    offset = read.at(-1)!.offset + 1;
  }
}
