/** The input of one user between two of its versions: where the cause of a difference is looked for. */
import type { Log, LogRecord, TopicPartition } from '../log/log.ts';
import { records } from '../log/newest.ts';
import type { Codec } from '../serde/codec.ts';

export interface OwnRecords {
  /** In order, as far as they can be read. */
  readonly own: readonly LogRecord[];
  /** The first offset at which there is no record, not even an erased one. */
  readonly hole: number | undefined;
}

interface Stretch {
  readonly userId: string;
  /** Input offsets, both inclusive. */
  readonly first: number;
  readonly last: number;
}

const OFFSETS_MAX = 100_000;

export async function ownRecords(
  { log, codec, input }: { readonly log: Log; readonly codec: Codec; readonly input: TopicPartition },
  { userId, first, last }: Stretch,
): Promise<OwnRecords> {
  const own: LogRecord[] = [];
  const from = Math.max(first, await log.startOffset(input));
  const end = Math.min(last + 1, from + OFFSETS_MAX);
  const key = Buffer.from(userId);
  let hole: number | undefined;
  let next = from;
  try {
    for await (const record of records(log, input, from, end, { erased: true })) {
      if (record.offset > next) hole ??= next;
      next = record.offset + 1;
      if (record.key?.equals(key) !== true) continue;
      await codec.learn([record]);
      own.push(record);
    }
    if (next < end) hole ??= next;
  } catch {
    // A gap: what stands before it is what there is.
  }
  return { own, hole };
}
