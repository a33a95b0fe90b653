/** Which records are a user's: those under its id, and those that carry an action of it under another key. */
import { FreshetError } from '../base/errors.ts';
import type { Log, LogRecord, TopicPartition } from '../log/log.ts';
import { records } from '../log/newest.ts';
import type { Codec } from '../serde/codec.ts';
import { CONTROL_HEADER, type TopicName } from '../../topics/index.ts';
import type { RejectedActionRecord, UserActionRecord } from '../../topics/records.ts';

/** The topics with records of users. */
export const USER_TOPICS = [
  'user-actions',
  'user-embeddings',
  'sequence-features',
  'action-history',
  'rejected-actions',
  'ranking-features',
] as const satisfies readonly TopicName[];

export class UserRecords {
  private readonly id: Buffer;
  private readonly historyPrefix: Buffer;
  private readonly userId: string;
  private readonly codec: Pick<Codec, 'decode'>;

  constructor(userId: string, codec: Pick<Codec, 'decode'>) {
    this.userId = userId;
    this.id = Buffer.from(userId);
    this.historyPrefix = Buffer.concat([Buffer.alloc(4), this.id]);
    this.historyPrefix.writeUInt32BE(this.id.length, 0);
    this.codec = codec;
  }

  owns({ topic }: Pick<TopicPartition, 'topic'>, record: Pick<LogRecord, 'key' | 'value' | 'headers'>): boolean {
    const { key, value, headers } = record;
    if (topic === 'action-history') {
      return key?.subarray(0, this.historyPrefix.length).equals(this.historyPrefix) === true;
    }
    if (topic === 'item-embeddings') return false;
    if (key?.equals(this.id) === true) return true;
    // A look at the bytes first: to decode every record takes many times as long.
    if (value === null || !value.includes(this.id) || headers[CONTROL_HEADER] !== undefined) return false;
    if (topic === 'user-actions') return this.isAction(value, headers);
    return topic === 'rejected-actions' && this.isRejection(value, headers);
  }

  private isRejection(value: Buffer, headers: LogRecord['headers']): boolean {
    const rejected = this.decoded<RejectedActionRecord>('rejected-actions-value', value, headers);
    if (rejected === undefined) return false;
    return rejected.key?.equals(this.id) === true || (rejected.value !== null && this.isAction(rejected.value, {}));
  }

  private isAction(value: Buffer, headers: LogRecord['headers']): boolean {
    return this.decoded<UserActionRecord>('user-actions-value', value, headers)?.userId === this.userId;
  }

  /** Undefined where the bytes are none of the schema they name: nothing tells whose they are. */
  private decoded<T>(
    subject: `${'user' | 'rejected'}-actions-value`,
    value: Buffer,
    headers: LogRecord['headers'],
  ): T | undefined {
    try {
      return this.codec.decode<T>(subject, value, headers);
    } catch (error) {
      if (error instanceof FreshetError) return undefined;
      throw error;
    }
  }
}

/** What one topic holds of a user. */
export interface UserTopic {
  readonly topic: (typeof USER_TOPICS)[number];
  readonly values: number;
  /** Records without a value: tombstones, and erases in `user-actions`. */
  readonly tombstones: number;
  /** In the partition of the user; null without a record there. */
  readonly newest: { readonly timestampMs: number; readonly isValue: boolean } | null;
}

export interface SurveyOptions {
  readonly log: Log;
  readonly codec: Pick<Codec, 'decode' | 'learn'>;
  readonly userId: string;
  /** Where murmur2 places the user. */
  readonly partition: number;
  /** The partitions to read: producers err, and an action that stands in another one was rejected there. */
  readonly partitionsOf: (topic: UserTopic['topic']) => readonly number[];
  readonly onProgress?: (records: number) => void;
}

/** Reads the partitions whole. */
export async function surveyUser(options: SurveyOptions): Promise<UserTopic[]> {
  const { log, codec, userId, partitionsOf, onProgress } = options;
  const user = new UserRecords(userId, codec);
  const found: UserTopic[] = [];
  let read = 0;
  for (const topic of USER_TOPICS) {
    let [values, tombstones] = [0, 0];
    let newest: UserTopic['newest'] = null;
    for (const partition of partitionsOf(topic)) {
      const at = { topic, partition };
      for await (const record of records(log, at, await log.startOffset(at), await log.endOffset(at))) {
        onProgress?.((read += 1));
        if (topic.endsWith('-actions') && record.value !== null) await codec.learn([record]);
        if (!user.owns(at, record)) continue;
        const isValue = record.value !== null;
        if (isValue) values += 1;
        else tombstones += 1;
        if (partition === options.partition) newest = { timestampMs: record.timestampMs, isValue };
      }
    }
    found.push({ topic, values, tombstones, newest });
  }
  return found;
}
