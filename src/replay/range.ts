/** Which stretch of the log a replay takes: places as people name them, and the offsets that they are. */
import { FreshetError } from '../base/errors.ts';
import type { Log, TopicPartition } from '../log/log.ts';
import { records } from '../log/newest.ts';

/** An offset of every partition, offsets of some, or where the first record arrived at or after a time. */
export type Place =
  | { readonly kind: 'offset'; readonly offset: number }
  | { readonly kind: 'offsets'; readonly offsets: ReadonlyMap<number, number> }
  | { readonly kind: 'time'; readonly timeMs: number };

/** Input offsets of one partition: from `from` up to `to`, exclusive. */
export interface Stretch {
  readonly partition: number;
  readonly from: number;
  readonly to: number;
  /** Nothing before `from` is in the log. */
  readonly isFromStart: boolean;
}

export interface StretchOptions {
  readonly log: Log;
  readonly partitions: readonly number[];
  /** Undefined: the beginning of what the log holds. */
  readonly from: Place | undefined;
  /** Undefined: the present end. */
  readonly to: Place | undefined;
}

const EXAMPLES = 'an offset (120), offsets (0:120,3:88) or a time (2026-01-31T12:00:00Z)';

/** Parses `120`, `0:120,3:88` or a time in ISO 8601. Throws USAGE, naming `option`. */
export function parsePlace(text: string, option: string): Place {
  if (/^\d{1,15}$/.test(text)) return { kind: 'offset', offset: Number(text) };
  if (/^\d{1,4}:\d{1,15}(,\d{1,4}:\d{1,15})*$/.test(text)) {
    const pairs = text.split(',').map((pair) => pair.split(':').map(Number) as [number, number]);
    const offsets = new Map(pairs);
    if (offsets.size === pairs.length) return { kind: 'offsets', offsets };
    throw new FreshetError('USAGE', `${option} names a partition twice`);
  }
  const timeMs = /^\d{4}-\d{2}/.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(timeMs)) throw new FreshetError('USAGE', `${option} must be ${EXAMPLES}`);
  return { kind: 'time', timeMs };
}

/**
 * The offsets of each partition; a partition that a place does not name is taken from its beginning, or to its end.
 * Throws OFFSET_OUT_OF_RANGE if a start is named that the log no longer holds. Times are looked for by reading.
 */
export async function resolveStretches({ log, partitions, from, to }: StretchOptions): Promise<Stretch[]> {
  const stretches: Stretch[] = [];
  for (const partition of partitions) {
    const at = { topic: 'user-actions', partition };
    const start = await log.startOffset(at);
    const end = await log.endOffset(at);
    const first = Math.min(end, await offsetOf(from, log, at, { start, end, otherwise: start }));
    if (first < start) {
      const remedy = `Begin at ${start} or later: what stood before it is gone by retention.`;
      throw new FreshetError('OFFSET_OUT_OF_RANGE', `the partition begins at ${start}`, {
        position: { ...at, offset: first },
        remedy,
      });
    }
    const last = Math.min(end, await offsetOf(to, log, at, { start: first, end, otherwise: end }));
    stretches.push({ partition, from: first, to: Math.max(first, last), isFromStart: first === start });
  }
  return stretches;
}

interface Bounds {
  readonly start: number;
  readonly end: number;
  readonly otherwise: number;
}

async function offsetOf(place: Place | undefined, log: Log, at: TopicPartition, bounds: Bounds): Promise<number> {
  switch (place?.kind) {
    case undefined:
      return bounds.otherwise;
    case 'offset':
      return place.offset;
    case 'offsets':
      return place.offsets.get(at.partition) ?? bounds.otherwise;
    case 'time':
      return firstArrivedAt(log, at, place.timeMs, bounds);
  }
}

/** Records need not stand in order of their timestamps, so nothing is skipped. */
async function firstArrivedAt(log: Log, at: TopicPartition, timeMs: number, { start, end }: Bounds): Promise<number> {
  for await (const { offset, timestampMs } of records(log, at, start, end)) {
    if (timestampMs >= timeMs) return offset;
  }
  return end;
}
