/**
 * The next records of a partition, in memory before a replay takes them: who asks by a time stands before the first
 * record that arrived at or after it, and that must be known before the record is taken. The log is read once.
 */
import type { Log, LogRecord, ReadLimits, TopicPartition } from '../log/log.ts';
import { wrapLog } from '../log/wrapped-log.ts';
import { Passage, type Gap } from '../replay/passage.ts';
import type { Codec } from '../serde/codec.ts';
import { isTime } from '../task/judge.ts';
import { readOn } from '../task/read-on.ts';

export interface InputAheadOptions {
  readonly log: Log;
  readonly at: TopicPartition;
  readonly codec: Pick<Codec, 'learn'>;
  /** In memory at once. */
  readonly maxRecords: number;
}

const MAX_BYTES = 8 * 1024 * 1024;

export class InputAhead {
  /** For the replay: what is ahead comes from memory. */
  readonly log: Log;
  /** Exclusive; `from` if the log ends there. */
  to: number;
  /** In order; all at or after `from`. */
  records: readonly LogRecord[] = [];
  /** The offset of the next record to be taken, or one that no record has. */
  from: number;
  private readonly options: InputAheadOptions;
  private readonly end: number;
  private readonly passage: Passage;
  /** For each of `records` the newest arrival up to it. */
  private arrivalsMs: number[] = [];
  private arrivalBeforeMs = -Infinity;

  private constructor(options: InputAheadOptions, start: number, end: number) {
    const { log, at } = options;
    this.options = options;
    this.from = start;
    this.to = start;
    this.end = end;
    this.passage = new Passage(log, at);
    this.passage.end = end;
    this.log = wrapLog(log, {
      read: (from, offset, limits) =>
        from.topic === at.topic && from.partition === at.partition && offset >= this.from
          ? Promise.resolve(this.held(offset, limits))
          : log.read(from, offset, limits),
    });
  }

  /** Of what the partition holds now. */
  static async open(options: InputAheadOptions): Promise<InputAhead> {
    const { log, at } = options;
    return new InputAhead(options, await log.startOffset(at), await log.endOffset(at));
  }

  /** Whether nothing comes after what is in memory. */
  get isLast(): boolean {
    return this.to >= this.end;
  }

  /** Forgets what is before `from`; reads on where nothing is left. */
  async advance(from: number): Promise<void> {
    const taken = this.place(from);
    if (taken > 0) this.arrivalBeforeMs = this.arrivalsMs[taken - 1]!;
    this.records = this.records.slice(taken);
    this.arrivalsMs = this.arrivalsMs.slice(taken);
    this.from = from;
    if (this.records.length > 0 || from < this.to || this.isLast) return;
    const { at, codec, maxRecords } = this.options;
    const { records, next } = await readOn(this.passage.log, at, from, { maxRecords, maxBytes: MAX_BYTES });
    await codec.learn(records);
    this.records = records;
    this.to = records.length === 0 ? Math.max(next, this.to) : next;
    let newestMs = this.arrivalBeforeMs;
    this.arrivalsMs = records.map(({ timestampMs }) => {
      if (isTime(timestampMs)) newestMs = Math.max(newestMs, timestampMs);
      return newestMs;
    });
  }

  /** The newest arrival before an offset from `from` to `to`; -Infinity where nothing arrived. */
  arrivalBefore(offset: number): number {
    const place = this.place(offset);
    return place === 0 ? this.arrivalBeforeMs : this.arrivalsMs[place - 1]!;
  }

  /** The offset of the first record at whose arrival it was `timeMs` or later; undefined: it is none of these. */
  firstAt(timeMs: number): number | undefined {
    return this.records[lowest(this.arrivalsMs, (arrivalMs) => arrivalMs >= timeMs)]?.offset;
  }

  /** The gaps met since the last call. */
  takeGaps(): Gap[] {
    return this.passage.takeGaps();
  }

  private place(offset: number): number {
    return lowest(this.records, (record) => record.offset >= offset);
  }

  private held(offset: number, { maxRecords, maxBytes }: ReadLimits): LogRecord[] {
    const first = this.place(offset);
    let [last, bytes] = [first, 0];
    for (; last < this.records.length && last - first < maxRecords && (last === first || bytes < maxBytes); last += 1) {
      const { key, value } = this.records[last]!;
      bytes += (key?.length ?? 0) + (value?.length ?? 0);
    }
    return this.records.slice(first, last);
  }
}

/** Index of the first value that holds, where all behind it do; the length if none does. */
function lowest<T>(values: readonly T[], holds: (value: T) => boolean): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(values[middle]!)) high = middle;
    else low = middle + 1;
  }
  return low;
}
