/**
 * The log that a replay's tasks work on: input from the deployment that is replayed; outputs, offsets and writers at the
 * replay's own target. Nothing is ever written to the former.
 */
import { FreshetError } from '../base/errors.ts';
import type { Log, LogRecord, ReadLimits, TaskWriter, TopicPartition } from '../log/log.ts';
import { wrapLog } from '../log/wrapped-log.ts';
import type { TopicName } from '../../topics/index.ts';
import type { Translation } from './translation.ts';

/** What a feature task writes, and the topic that its input offsets name. */
export const TARGET_TOPICS: ReadonlySet<TopicName> = new Set([
  'user-actions',
  'sequence-features',
  'action-history',
  'rejected-actions',
]);

export interface OverlayOptions {
  /** See `inputLog`. */
  readonly source: Log;
  readonly target: Log;
  /** Between the schema ids of the two. */
  readonly translation: Translation;
}

export function overlayLog({ source, target, translation }: OverlayOptions): Log {
  const isWritten = (topic: string): boolean => topic !== 'user-actions' && TARGET_TOPICS.has(topic as TopicName);
  const logOf = ({ topic }: TopicPartition): Log => (isWritten(topic) ? target : source);

  async function read(at: TopicPartition, offset: number, limits: ReadLimits): Promise<LogRecord[]> {
    const records = await logOf(at).read(at, offset, limits);
    return isWritten(at.topic) ? records.map((record) => translation.fromTarget(at.topic, record)) : records;
  }

  async function openWriter(taskId: string): Promise<TaskWriter> {
    const writer = await target.openWriter(taskId);
    return {
      committed: (at) => writer.committed(at),
      commit: (request) => writer.commit({ ...request, outputs: request.outputs.map(translation.toTarget) }),
      close: () => writer.close(),
    };
  }

  return wrapLog(source, {
    createTopics: (topics) => target.createTopics(topics),
    startOffset: (at) => logOf(at).startOffset(at),
    endOffset: (at) => logOf(at).endOffset(at),
    knownEnd: (at) => logOf(at).knownEnd(at),
    read,
    append: () => Promise.reject(new FreshetError('INTERNAL', 'a replay appends nothing')),
    openWriter,
    committed: (appId, at) => target.committed(appId, at),
    // Both belong to whoever opened them.
    close: () => Promise.resolve(),
  });
}
