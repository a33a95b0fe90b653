/** A log with some of its calls replaced. */
import type { Log } from './log.ts';

export const wrapLog = (log: Log, replaced: Partial<Log>): Log => ({
  createTopics: (topics) => log.createTopics(topics),
  topics: () => log.topics(),
  startOffset: (at) => log.startOffset(at),
  endOffset: (at) => log.endOffset(at),
  knownEnd: (at) => log.knownEnd(at),
  read: (at, offset, limits) => log.read(at, offset, limits),
  append: (records) => log.append(records),
  openWriter: (taskId) => log.openWriter(taskId),
  committed: (appId, input) => log.committed(appId, input),
  waitForRecords: (positions, timeoutMs, signal) => log.waitForRecords(positions, timeoutMs, signal),
  close: () => log.close(),
  ...replaced,
});
