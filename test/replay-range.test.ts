/** Places in the log as people name them: offsets, times, and what stands there. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FreshetError } from '../src/base/errors.ts';
import { wrapLog } from '../src/log/wrapped-log.ts';
import { parsePlace, resolveStretches, type Place } from '../src/replay/range.ts';
import { codeOf } from './support/error-code.ts';
import { FC_OPTIONS } from './support/seed.ts';
import { actionRecord, Stream } from './support/stream.ts';

describe('a place', () => {
  it.each<[string, Place]>([
    ['0', { kind: 'offset', offset: 0 }],
    ['120', { kind: 'offset', offset: 120 }],
    [
      '0:120,3:88',
      {
        kind: 'offsets',
        offsets: new Map([
          [0, 120],
          [3, 88],
        ]),
      },
    ],
    ['2026-01-31T12:00:00Z', { kind: 'time', timeMs: Date.UTC(2026, 0, 31, 12) }],
    ['2026-01-31', { kind: 'time', timeMs: Date.UTC(2026, 0, 31) }],
  ])('%s is understood', (text, place) => {
    expect(parsePlace(text, '--from')).toEqual(place);
  });

  it.each(['', '-1', '1.5', 'yesterday', '2026-13-41', '0:1,0:2', '0:'])('%j is refused, with the option', (text) => {
    expect(() => parsePlace(text, '--to')).toThrow(FreshetError);
    expect(() => parsePlace(text, '--to')).toThrow('--to');
  });
});

describe('a stretch', () => {
  const arrivals = [50, 10, 60, 60, 20, 90, 5];
  let stream: Stream;

  beforeAll(async () => {
    stream = await Stream.open();
    await stream.append(...arrivals.map((timeMs) => actionRecord({ userId: 'u', eventTimeMs: timeMs })));
  });
  afterAll(() => stream.close());

  const stretch = async (from?: Place, to?: Place) =>
    (await resolveStretches({ log: stream.log, partitions: [0], from, to }))[0];

  it('is all of the log, unless something else is said', async () => {
    expect(await stretch()).toEqual({ partition: 0, from: 0, to: 7, isFromStart: true });
    const elsewhere = { kind: 'offsets', offsets: new Map([[5, 3]]) } as const;
    expect(await stretch(elsewhere, elsewhere)).toEqual({ partition: 0, from: 0, to: 7, isFromStart: true });
  });

  it('is within the log, and never backwards', async () => {
    const offset = (at: number): Place => ({ kind: 'offset', offset: at });
    expect(await stretch(offset(2), offset(5))).toEqual({ partition: 0, from: 2, to: 5, isFromStart: false });
    expect(await stretch(offset(5), offset(2))).toMatchObject({ from: 5, to: 5 });
    expect(await stretch(offset(99), offset(999))).toMatchObject({ from: 7, to: 7 });
  });

  it('begins and ends at the first record that arrived at or after a time', async () => {
    const time = fc.integer({ min: 0, max: 100 });
    await fc.assert(
      fc.asyncProperty(time, time, async (fromMs, toMs) => {
        const first = (timeMs: number, start: number): number => {
          const at = arrivals.findIndex((arrival, index) => index >= start && arrival >= timeMs);
          return at < 0 ? arrivals.length : at;
        };
        const from = first(fromMs, 0);
        expect(await stretch({ kind: 'time', timeMs: fromMs }, { kind: 'time', timeMs: toMs })).toMatchObject({
          from,
          to: first(toMs, from),
        });
      }),
      { ...FC_OPTIONS, numRuns: 200 },
    );
  });

  it('cannot begin where retention has been', async () => {
    const log = wrapLog(stream.log, { startOffset: () => Promise.resolve(3) });
    const from = (offset: number) =>
      resolveStretches({ log, partitions: [0], from: { kind: 'offset', offset }, to: undefined });
    expect(await codeOf(from(2))).toBe('OFFSET_OUT_OF_RANGE');
    expect(await from(3)).toEqual([{ partition: 0, from: 3, to: 7, isFromStart: true }]);
  });
});
