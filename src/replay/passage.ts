/**
 * The input as a replay reads it: up to an end, and past what cannot be read. `run` stops at a gap, since what it would
 * write could not be taken back; a replay tells of it and goes on.
 */
import { FreshetError } from '../base/errors.ts';
import type { Log, LogRecord, ReadLimits, TopicPartition } from '../log/log.ts';
import { wrapLog } from '../log/wrapped-log.ts';

/** Input offsets that could not be read, `from` up to `to`, exclusive. */
export interface Gap {
  readonly from: number;
  readonly to: number;
  readonly code: string;
}

const PASSABLE = new Set(['LOG_GAP', 'LOG_CORRUPT']);

export class Passage {
  /** Exclusive; what stands at or behind it is not there. */
  end = 0;
  readonly log: Log;
  private readonly at: TopicPartition;
  private gaps: Gap[] = [];

  constructor(log: Log, at: TopicPartition) {
    this.at = at;
    this.log = wrapLog(log, {
      read: (from, offset, limits) =>
        this.isInput(from) ? this.read(log, offset, limits) : log.read(from, offset, limits),
      endOffset: async (from) => {
        const end = await log.endOffset(from);
        return this.isInput(from) ? Math.min(end, this.end) : end;
      },
    });
  }

  /** Those met since the last call. */
  takeGaps(): Gap[] {
    const { gaps } = this;
    this.gaps = [];
    return gaps;
  }

  private async read(log: Log, offset: number, limits: ReadLimits): Promise<LogRecord[]> {
    if (offset >= this.end) return [];
    try {
      return this.cut(await log.read(this.at, offset, limits));
    } catch (error) {
      if (!isPassable(error)) throw error;
      return this.readAround(log, offset, limits);
    }
  }

  /** Records one by one up to the one that cannot be read, or from the next that can. */
  private async readAround(log: Log, offset: number, limits: ReadLimits): Promise<LogRecord[]> {
    const read: LogRecord[] = [];
    for (let next = offset; next < this.end && read.length < limits.maxRecords;) {
      try {
        const [record] = await log.read(this.at, next, { maxRecords: 1, maxBytes: 1 });
        if (record === undefined) break;
        read.push(record);
        next = record.offset + 1;
      } catch (error) {
        if (!isPassable(error)) throw error;
        if (read.length > 0) break;
        this.add({ from: next, to: next + 1, code: error.code });
        next += 1;
      }
    }
    return this.cut(read);
  }

  private cut(records: LogRecord[]): LogRecord[] {
    const last = records.at(-1);
    return last === undefined || last.offset < this.end ? records : records.filter(({ offset }) => offset < this.end);
  }

  private add(gap: Gap): void {
    const last = this.gaps.at(-1);
    if (last !== undefined && gap.to <= last.to) return; // met before: what stands at an end is read twice
    if (last?.to === gap.from && last.code === gap.code) this.gaps[this.gaps.length - 1] = { ...last, to: gap.to };
    else this.gaps.push(gap);
  }

  private isInput({ topic, partition }: TopicPartition): boolean {
    return topic === this.at.topic && partition === this.at.partition;
  }
}

const isPassable = (error: unknown): error is FreshetError => error instanceof FreshetError && PASSABLE.has(error.code);
