/** Which item vectors are in force at the end of the log. */
import type { Log } from '../log/log.ts';
import { records } from '../log/newest.ts';
import type { Codec } from '../serde/codec.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT } from '../../topics/index.ts';
import type { ControlRecord } from '../../topics/records.ts';

const CHUNK = 512;

/** The last activation in partition 0 (each stands in all partitions); null if there is none. Reads backwards. */
export async function newestActivation(log: Log, codec: Codec): Promise<ControlRecord['activation']> {
  const at = { topic: 'user-actions', partition: 0 };
  const start = await log.startOffset(at);
  for (let end = await log.endOffset(at); end > start; end -= CHUNK) {
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
