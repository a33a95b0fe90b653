/** A clock that stands still until a test moves it. */
import { parseAgeMs } from '../base/age.ts';
import { FreshetError } from '../base/errors.ts';

/** Milliseconds since the epoch, a date, or ISO 8601. */
export type Time = number | Date | string;
/** Milliseconds, or a text such as `90d`, `12h`, `30m` or `45s`. */
export type Age = number | string;

/** @throws USAGE where it is no time. */
export function timeMs(time: Time): number {
  const ms = time instanceof Date ? time.getTime() : typeof time === 'string' ? Date.parse(time) : time;
  if (!Number.isSafeInteger(ms)) throw new FreshetError('USAGE', `${JSON.stringify(time)} is not a time`);
  return ms;
}

/** @throws USAGE where it is no age. */
export function ageMs(age: Age): number {
  const ms = typeof age === 'string' ? parseAgeMs(age) : age;
  if (ms !== undefined && Number.isSafeInteger(ms) && ms >= 0) return ms;
  throw new FreshetError('USAGE', `${JSON.stringify(age)} is not an age: 90d, 12h, 30m or 45s`);
}

export class FakeClock {
  /** Milliseconds since the epoch. */
  nowMs: number;

  /** By default it begins with the year 2026. */
  constructor(start: Time = Date.UTC(2026, 0, 1)) {
    this.nowMs = timeMs(start);
  }

  /** Goes on; returns the new time. */
  advance(age: Age): number {
    this.nowMs += ageMs(age);
    return this.nowMs;
  }

  /** Forwards or backwards. */
  set(time: Time): void {
    this.nowMs = timeMs(time);
  }
}
