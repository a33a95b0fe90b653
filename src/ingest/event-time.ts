/** Times as files give them: integers in a unit, or ISO-8601 text. */

export type TimeUnit = 's' | 'ms' | 'us';

/** 9999-12-31T23:59:59.999Z. Later times, and those before 1970, come from a wrong unit or a wrong column. */
export const MAX_TIME_MS = 253_402_300_799_999;

const INTEGER = /^[+-]?\d{1,20}$/;
const ISO_8601 =
  /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:(Z)|([+-])(\d\d):?(\d\d))?)?$/;

/**
 * Milliseconds since the Unix epoch, rounded down; undefined when the value is no time between 1970 and 9999. ISO-8601
 * text without a zone is UTC: what a file means must not depend on the machine that reads it.
 */
export function parseTimeMs(value: unknown, unit: TimeUnit): number | undefined {
  const timeMs = typeof value === 'string' ? fromText(value.trim(), unit) : fromNumber(value, unit);
  return timeMs !== undefined && timeMs >= 0 && timeMs <= MAX_TIME_MS ? timeMs : undefined;
}

function fromText(text: string, unit: TimeUnit): number | undefined {
  return INTEGER.test(text) ? fromNumber(Number(text), unit) : fromIso(text);
}

function fromNumber(value: unknown, unit: TimeUnit): number | undefined {
  const count = typeof value === 'bigint' ? Number(value) : value;
  if (typeof count !== 'number' || !Number.isSafeInteger(count)) return undefined;
  switch (unit) {
    case 's':
      return count * 1000;
    case 'ms':
      return count;
    case 'us':
      return Math.floor(count / 1000);
  }
}

function fromIso(text: string): number | undefined {
  const match = ISO_8601.exec(text);
  if (match === null) return undefined;
  const part = (index: number): number => Number(match[index] ?? 0);
  const [month, day, hour, minute, second] = [part(2), part(3), part(4), part(5), part(6)];
  const millisecond = Number((match[7] ?? '').padEnd(3, '0').slice(0, 3));
  const offsetMinutes = part(10) * 60 + part(11);
  if (hour > 23 || minute > 59 || second > 59 || part(11) > 59) return undefined;
  const utcMs = Date.UTC(part(1), month - 1, day, hour, minute, second, millisecond);
  // Date.UTC carries 30 February over to March and takes the year 70 for 1970.
  if (!new Date(utcMs).toISOString().startsWith(text.slice(0, 10))) return undefined;
  return utcMs - (match[9] === '-' ? -offsetMinutes : offsetMinutes) * 60_000;
}
