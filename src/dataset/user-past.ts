/** Everything that the log holds of some users, in its order: what views of them as of any moment are made of. */
import { FreshetError } from '../base/errors.ts';
import { partitionOf } from '../base/murmur2.ts';
import type { Config } from '../base/config.ts';
import type { Log, LogRecord } from '../log/log.ts';
import { Passage, type Gap } from '../replay/passage.ts';
import { asRecorded, type ActionReader } from '../replay/recorded-rejections.ts';
import type { Codec } from '../serde/codec.ts';
import { isTime, judge, type JudgeOptions } from '../task/judge.ts';
import { readOn } from '../task/read-on.ts';
import type { UserRecord } from '../../state/reducer.ts';

/** A record of the user, and the log at its place. */
export interface PastRecord {
  readonly record: UserRecord;
  /** The newest arrival in the partition up to it: the log's clock. */
  readonly clockMs: number;
  /** Item vectors in force at it. */
  readonly itemVersion: string | null;
}

export interface UserPast {
  readonly userId: string;
  readonly partition: number;
  /** In order of their offsets. */
  readonly records: readonly PastRecord[];
}

export interface PastOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly config: Config;
}

/** A place in a partition, and the log's clock there. */
export interface LogMoment {
  readonly offset: number;
  readonly clockMs: number;
}

export interface Pasts {
  readonly users: ReadonlyMap<string, UserPast>;
  /** For each partition that was read: behind its last record before the offset asked for. */
  readonly moments: ReadonlyMap<number, LogMoment>;
  readonly gaps: readonly Gap[];
}

/** Records of the users asked about that are held at once. */
const MAX_RECORDS = 2_000_000;
const READ = { maxRecords: 2_048, maxBytes: 8 * 1024 * 1024 };

/**
 * Reads each partition of the users once, whole. Who is unknown has no records.
 *
 * @param before - the offset, in each partition, whose moment is asked for.
 */
export async function readPasts(options: PastOptions, userIds: Iterable<string>, before = Infinity): Promise<Pasts> {
  const { config } = options;
  const users = new Map<string, { userId: string; partition: number; records: PastRecord[] }>();
  const moments = new Map<number, LogMoment>();
  const gaps: Gap[] = [];
  for (const userId of userIds) {
    users.set(userId, { userId, partition: partitionOf(Buffer.from(userId), config.partitions), records: [] });
  }
  let held = 0;
  for (const partition of new Set([...users.values()].map((user) => user.partition))) {
    const reader = await asRecorded(options, { topic: 'user-actions', partition });
    const { codec } = reader;
    const judging: JudgeOptions = { ...config, codec, partition, actionTypes: new Set(config.actionTypes) };
    let clockMs = -Infinity;
    let moment: LogMoment = { offset: 0, clockMs };
    let itemVersion: string | null = null;
    for await (const record of partitionRecords(reader, partition, gaps)) {
      if (isTime(record.timestampMs)) clockMs = Math.max(clockMs, record.timestampMs);
      if (record.offset < before) moment = { offset: record.offset + 1, clockMs };
      const key = record.key?.toString();
      const user = key === undefined ? undefined : users.get(key);
      if (key !== undefined && user === undefined) continue;
      const judged = judge(record, judging);
      if (judged.kind === 'activation') itemVersion = judged.activation.version;
      if (judged.kind !== 'user' || user === undefined) continue;
      user.records.push({ record: judged.record, clockMs, itemVersion });
      held += 1;
      if (held > MAX_RECORDS) {
        const detail = `the users have more than ${MAX_RECORDS} records`;
        throw new FreshetError('USAGE', detail, { remedy: 'Ask about fewer users at once.' });
      }
    }
    moments.set(partition, moment);
  }
  return { users, moments, gaps };
}

async function* partitionRecords(
  { log, codec }: ActionReader,
  partition: number,
  gaps: Gap[],
): AsyncGenerator<LogRecord> {
  const at = { topic: 'user-actions', partition };
  const passage = new Passage(log, at);
  passage.end = await log.endOffset(at);
  for (let offset = await log.startOffset(at); offset < passage.end;) {
    const { records, next } = await readOn(passage.log, at, offset, READ);
    await codec.learn(records);
    yield* records;
    offset = next;
  }
  gaps.push(...passage.takeGaps());
}
