/** Which item vectors are in force at the end of the log. */
import type { Log } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT } from '../../topics/index.ts';
import type { ControlRecord } from '../../topics/records.ts';

const CHUNK = 512;

/** The last activation in partition 0 (each stands in all partitions); null if there is none. Reads backwards. */
export async function newestActivation(log: Log, codec: Codec): Promise<ControlRecord['activation']> {
  const at = { topic: 'user-actions', partition: 0 };
  const start = await log.startOffset(at);
  for (let end = await log.endOffset(at); end > start; end -= CHUNK) {
    const from = Math.max(start, end - CHUNK);
    const read = await log.read(at, from, { maxRecords: end - from, maxBytes: Number.MAX_SAFE_INTEGER });
    for (const { value, headers } of read.reverse()) {
      if (value === null || headers[CONTROL_HEADER] === undefined) continue;
      await codec.learn([{ value, headers }]);
      const { activation } = codec.decode<ControlRecord>(CONTROL_SUBJECT, value, headers);
      if (activation !== null) return activation;
    }
  }
  return null;
}
