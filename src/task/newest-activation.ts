/** Which item vectors are in force at the end of the log, or at an earlier place of a partition. */
import type { Log, TopicPartition } from '../log/log.ts';
import { records } from '../log/newest.ts';
import type { Codec } from '../serde/codec.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT } from '../../topics/index.ts';
import type { ControlRecord } from '../../topics/records.ts';

const CHUNK = 512;

/** The last activation in partition 0 (each stands in all partitions); null if there is none. */
export async function newestActivation(log: Log, codec: Codec): Promise<ControlRecord['activation']> {
  const at = { topic: 'user-actions', partition: 0 };
  return activationBefore(log, codec, at, await log.endOffset(at));
}

/** The last activation before `end` in a partition of `user-actions`; null if there is none. Reads backwards. */
export async function activationBefore(
  log: Log,
  codec: Codec,
  at: TopicPartition,
  before: number,
): Promise<ControlRecord['activation']> {
  const start = await log.startOffset(at);
  for (let end = before; end > start; end -= CHUNK) {
    let newest: ControlRecord['activation'] = null;
    for await (const { value, headers } of records(log, at, Math.max(start, end - CHUNK), end)) {
      if (value === null || headers[CONTROL_HEADER] === undefined) continue;
      await codec.learn([{ value, headers }]);
      newest = codec.decode<ControlRecord>(CONTROL_SUBJECT, value, headers).activation ?? newest;
    }
    if (newest !== null) return newest;
  }
  return null;
}
