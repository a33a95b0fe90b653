/**
 * Schema ids differ between registries, and stand before each value. A replay's task works with those of the deployment
 * that it replays; what it writes gets those of its target. The bodies are the same.
 */
import type { LogRecord, NewRecord } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import type { Subject } from '../../topics/index.ts';

export interface Translation {
  readonly toTarget: (record: NewRecord) => NewRecord;
  readonly fromTarget: (topic: string, record: LogRecord) => LogRecord;
}

const SUBJECTS = ['sequence-features-value', 'action-history-value', 'rejected-actions-value'] as const;

export function translationBetween(source: Codec, target: Codec): Translation {
  if (SUBJECTS.every((subject) => prefixOf(source, subject).equals(prefixOf(target, subject)))) {
    return { toTarget: (record) => record, fromTarget: (_, record) => record };
  }
  const subjectOf = (topic: string): Subject => `${topic}-value` as Subject;
  return {
    toTarget: (record) => {
      const { topic, value } = record;
      return value === null ? record : { ...record, value: target.frame(subjectOf(topic), source.body(value)) };
    },
    // Maybe of an earlier version of the schema: a replay may be taken up again years later.
    fromTarget: (topic, record) => {
      const { value, headers } = record;
      if (value === null) return record;
      const subject = subjectOf(topic);
      return { ...record, value: source.encode(subject, target.decode<object>(subject, value, headers)) };
    },
  };
}

const prefixOf = (codec: Codec, subject: Subject): Buffer => codec.frame(subject, Buffer.alloc(0));
