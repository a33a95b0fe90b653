import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_TIME_MS, parseTimeMs } from '../src/ingest/event-time.ts';

describe('a time', () => {
  it('is an integer in the unit, rounded down to milliseconds', () => {
    expect(parseTimeMs('1457963676', 's')).toBe(1_457_963_676_000);
    expect(parseTimeMs(1457963676123, 'ms')).toBe(1_457_963_676_123);
    expect(parseTimeMs('1457963676123999', 'us')).toBe(1_457_963_676_123);
    expect(parseTimeMs(1457963676123n, 'ms')).toBe(1_457_963_676_123);
    expect(parseTimeMs(' 0 ', 'ms')).toBe(0);
  });

  it('is ISO-8601 text, in UTC unless it says otherwise, whatever the zone of the machine', () => {
    const timeMs = Date.UTC(2016, 2, 14, 13, 54, 36);
    for (const text of [
      '2016-03-14T13:54:36Z',
      '2016-03-14 13:54:36',
      '2016-03-14T10:54:36-03:00',
      '2016-03-14T19:24:36+0530',
    ]) {
      expect(parseTimeMs(text, 's')).toBe(timeMs);
    }
    expect(parseTimeMs('2016-03-14', 'ms')).toBe(Date.UTC(2016, 2, 14));
    expect(parseTimeMs('2016-03-14T13:54', 'ms')).toBe(timeMs - 36_000);
    expect(parseTimeMs('2016-03-14T13:54:36.5799Z', 'ms')).toBe(timeMs + 579);
    expect(parseTimeMs('2016-02-29', 'ms')).toBe(Date.UTC(2016, 1, 29));
  });

  it('reads back what Date writes', () => {
    const anyTimeMs = fc.integer({ min: 0, max: MAX_TIME_MS });
    const property = fc.property(anyTimeMs, (timeMs) => parseTimeMs(new Date(timeMs).toISOString(), 's') === timeMs);
    fc.assert(property, { numRuns: 1_000 });
  });

  it.each([
    '',
    'yesterday',
    '1.5',
    '1e9',
    '0x10',
    '-1',
    '99999999999999999999',
    '2015-02-29',
    '2016-13-01',
    '2016-03-14T24:00:00Z',
    '2016-03-14T13:60:00Z',
    '2016-03-14T13:54:60Z',
    '0070-01-01',
    '1969-12-31',
    'Mon, 14 Mar 2016 13:54:36 GMT',
    1.5,
    Number.NaN,
    true,
    null,
  ])('is not %j', (value) => {
    expect(parseTimeMs(value, 'ms')).toBeUndefined();
  });

  it('is not after the year 9999: the unit is wrong', () => {
    expect(parseTimeMs(MAX_TIME_MS, 'ms')).toBe(MAX_TIME_MS);
    expect(parseTimeMs('1457963676123', 's')).toBeUndefined();
    expect(parseTimeMs(MAX_TIME_MS + 1, 'ms')).toBeUndefined();
  });
});
