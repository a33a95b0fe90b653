/** The actions of all partitions of `user-actions` as one stream, for what has to see users side by side. */
import { CONTROL_HEADER } from '../../topics/index.ts';
import type { UserActionRecord } from '../../topics/records.ts';
import { FreshetError } from '../base/errors.ts';
import type { Log } from '../log/log.ts';
import { records } from '../log/newest.ts';
import type { Codec } from '../serde/codec.ts';

const TOPIC = 'user-actions';

/**
 * Merges the partitions by event time: in order where each partition is, as with a log loaded from a sorted file. Reads
 * each partition in bounded pieces up to its end as of the call. Records that cannot be decoded are left out: the task
 * rejects them. Throws UNKNOWN_TOPIC and what the log throws.
 */
export async function* actionsByEventTime(log: Log, codec: Codec): AsyncGenerator<UserActionRecord> {
  const partitions = (await log.topics()).get(TOPIC);
  if (partitions === undefined) throw new FreshetError('UNKNOWN_TOPIC', TOPIC);
  const heads: { action: UserActionRecord; rest: AsyncGenerator<UserActionRecord> }[] = [];
  for (let partition = 0; partition < partitions; partition += 1) {
    const rest = actionsOf(log, codec, partition);
    const first = await rest.next();
    if (first.done !== true) heads.push({ action: first.value, rest });
  }
  while (heads.length > 0) {
    let earliest = 0;
    for (let at = 1; at < heads.length; at += 1) {
      if (heads[at]!.action.eventTimeMs < heads[earliest]!.action.eventTimeMs) earliest = at;
    }
    const head = heads[earliest]!;
    yield head.action;
    const next = await head.rest.next();
    if (next.done === true) heads.splice(earliest, 1);
    else head.action = next.value;
  }
}

async function* actionsOf(log: Log, codec: Codec, partition: number): AsyncGenerator<UserActionRecord> {
  const at = { topic: TOPIC, partition };
  for await (const record of records(log, at, await log.startOffset(at), await log.endOffset(at))) {
    if (record.value === null || record.headers[CONTROL_HEADER] !== undefined) continue;
    await codec.learn([record]);
    let action: UserActionRecord;
    try {
      action = codec.decode<UserActionRecord>('user-actions-value', record.value, record.headers);
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error;
      continue;
    }
    yield action;
  }
}
