/** A log for the tasks of a partition that asks before it fences: whoever slept past its session finds that it was replaced, and fences nobody. */
import type { Log } from '../log/log.ts';
import type { Membership } from './membership.ts';

export function confirmedLog(log: Log, membership: Pick<Membership, 'confirm'>, partition: number): Log {
  return {
    createTopics: (topics) => log.createTopics(topics),
    topics: () => log.topics(),
    startOffset: (at) => log.startOffset(at),
    endOffset: (at) => log.endOffset(at),
    read: (at, offset, limits) => log.read(at, offset, limits),
    append: (records) => log.append(records),
    openWriter: async (taskId) => {
      await membership.confirm(partition);
      return log.openWriter(taskId);
    },
    committed: (appId, input) => log.committed(appId, input),
    waitForRecords: (positions, timeoutMs, signal) => log.waitForRecords(positions, timeoutMs, signal),
    close: () => log.close(),
  };
}
