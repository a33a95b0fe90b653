/** A log whose input partition ends where a replay is to end, and holds the records only that it is about. */
import type { Log, LogRecord, ReadLimits, TopicPartition } from '../log/log.ts';
import { wrapLog } from '../log/wrapped-log.ts';

export interface InputLogOptions {
  readonly source: Log;
  readonly input: TopicPartition;
  /** Of the input, exclusive: what stands at or behind it is not there. */
  readonly end: number;
  /** Which records of the input are there; by default all. */
  readonly keeps?: ((record: LogRecord) => boolean) | undefined;
}

export function inputLog({ source, input, end, keeps = () => true }: InputLogOptions): Log {
  const isInput = ({ topic, partition }: TopicPartition): boolean =>
    topic === input.topic && partition === input.partition;

  /** An empty result means that nothing follows before the end, so records that are not kept are read past. */
  async function readInput(from: number, limits: ReadLimits): Promise<LogRecord[]> {
    for (let offset = from; offset < end;) {
      const read = await source.read(input, offset, limits);
      const last = read.at(-1);
      if (last === undefined) return [];
      const kept = read.filter((record) => record.offset < end && keeps(record));
      if (kept.length > 0) return kept;
      offset = last.offset + 1;
    }
    return [];
  }

  return wrapLog(source, {
    endOffset: async (at) => (isInput(at) ? end : source.endOffset(at)),
    knownEnd: (at) => (isInput(at) ? end : source.knownEnd(at)),
    read: (at, offset, limits) => (isInput(at) ? readInput(offset, limits) : source.read(at, offset, limits)),
  });
}
