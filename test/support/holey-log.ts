/**
 * A log whose offsets are as Kafka's: before each record, and behind the last, there is an offset of no record, as of a
 * transaction's marker. The dense log behind it holds record n, here at offset 2n + 1; an empty partition ends at 1.
 */
import { FreshetError } from '../../src/base/errors.ts';
import type { CommitRequest, Log, TopicPartition } from '../../src/log/log.ts';
import { wrapLog } from '../../src/log/wrapped-log.ts';

const holey = (dense: number): number => 2 * dense + 1;
/** The first record at or after an offset. */
const denseFrom = (offset: number): number => Math.max(0, Math.ceil((offset - 1) / 2));

export function holeyLog(dense: Log): Log {
  const endOffset = async (at: TopicPartition): Promise<number> => holey(await dense.endOffset(at));
  const log = wrapLog(dense, {
    endOffset,
    knownEnd: (at) => {
      const end = dense.knownEnd(at);
      return end === undefined ? undefined : holey(end);
    },
    read: async (at, offset, limits) => {
      const end = await endOffset(at);
      if (offset < 0 || offset > end) throw new FreshetError('OFFSET_OUT_OF_RANGE', `${offset} of ${end}`);
      const records = await dense.read(at, denseFrom(offset), limits);
      return records.map((record) => ({ ...record, offset: holey(record.offset) }));
    },
    append: async (records) => (await dense.append(records)).map(holey),
    openWriter: async (taskId) => {
      const writer = await dense.openWriter(taskId);
      return {
        committed: (input) => writer.committed(input),
        commit: (request: CommitRequest) =>
          writer.commit({
            ...request,
            metadata: (ends) => request.metadata(new Map([...ends].map(([name, end]) => [name, holey(end - 1) + 1]))),
          }),
        close: () => writer.close(),
      };
    },
  });
  return log;
}
