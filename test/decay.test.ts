import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Counters } from '../state/counters.ts';
import { decay } from '../state/decay.ts';
import { action, ACTION_TYPES, arbitraryAction, DAY_MS, HOUR_MS } from './support/actions.ts';
import { FC_OPTIONS } from './support/seed.ts';

/** Failures are shrunk. */
const OPTIONS = { ...FC_OPTIONS, endOnFailure: false, numRuns: 20_000 };
const halfLife = fc.oneof(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: HOUR_MS, max: 3650 * DAY_MS }));
const EMPTY = { counterTypes: [], counters: [], atMs: null };

test('decay is 2^(−age / halfLife), to 1e-13', () => {
  fc.assert(
    fc.property(halfLife, fc.double({ min: 0, max: 1021.9, noNaN: true }), (halfLifeMs, halvings) => {
      const ageMs = Math.floor(halvings * halfLifeMs);
      const expected = Math.pow(2, -ageMs / halfLifeMs);
      expect(Math.abs(decay(ageMs, halfLifeMs) - expected)).toBeLessThanOrEqual(1e-13 * expected);
    }),
    OPTIONS,
  );
});

test('it is exact at whole halvings', () => {
  for (let halvings = 0; halvings < 1022; halvings += 1) {
    expect(decay(halvings * DAY_MS, DAY_MS)).toBe(2 ** -halvings);
  }
});

test('it never grows with age, whatever the distance', () => {
  const distance = fc.oneof(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 100 * DAY_MS }));
  fc.assert(
    fc.property(halfLife, fc.double({ min: 0, max: 1100, noNaN: true }), distance, (halfLifeMs, halvings, laterMs) => {
      const ageMs = Math.round(halvings * halfLifeMs);
      expect(decay(ageMs + laterMs, halfLifeMs)).toBeLessThanOrEqual(decay(ageMs, halfLifeMs));
    }),
    OPTIONS,
  );
});

test('it falls across the seams of its table and of its halvings', () => {
  for (let step = 1; step <= 128; step += 1) {
    const seamMs = (step * DAY_MS) / 64;
    for (let offMs = -3; offMs < 3; offMs += 1) {
      expect(decay(seamMs + offMs + 1, DAY_MS)).toBeLessThan(decay(seamMs + offMs, DAY_MS));
    }
  }
});

test('what is too small to keep its precision is 0', () => {
  expect(decay(1021.5 * DAY_MS, DAY_MS)).toBeGreaterThan(0);
  expect(decay(1022 * DAY_MS, DAY_MS)).toBe(0);
  expect(decay(Number.MAX_SAFE_INTEGER, 1)).toBe(0);
});

test('its bits do not change: a replay must give the same counters', () => {
  const bits = (value: number): string => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    return bytes.toString('hex');
  };
  expect([1, HOUR_MS, DAY_MS / 2, 12_345_678, 100 * DAY_MS].map((ageMs) => bits(decay(ageMs, DAY_MS)))).toEqual([
    '3feffffffbb16415',
    '3fef16ca2748c5b4',
    '3fe6a09e667f3bcc',
    '3fecfb8535946a8d',
    '39b0000000000000',
  ]);
});

test('counters decay between actions, one count for each type and half-life', () => {
  const counters = new Counters([HOUR_MS, 2 * HOUR_MS], EMPTY);
  counters.add([action(0, 'a', 'view'), action(2 * HOUR_MS, 'b', 'like'), action(2 * HOUR_MS, 'c', 'view')]);
  expect(counters.counterTypes).toEqual(['like', 'view']);
  expect(counters.counters).toEqual([1, 1, 1.25, 1.5]);
});

test('counters keep types in order of their bytes', () => {
  const counters = new Counters([HOUR_MS], EMPTY);
  counters.add(['\u{10000}', '\uffee', 'b', 'a'].map((type) => action(0, 'x', type)));
  expect(counters.counterTypes).toEqual(['a', 'b', '\uffee', '\u{10000}']);
  expect(counters.counters).toEqual([1, 1, 1, 1]);
});

test('counting as of a later time equals counting and decaying, and both the sum of powers', () => {
  const actions = fc.array(arbitraryAction(30 * DAY_MS), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(actions, fc.nat(DAY_MS), (unsorted, laterMs) => {
      const sorted = unsorted.sort((a, b) => a.eventTimeMs - b.eventTimeMs);
      const asOfMs = sorted.at(-1)!.eventTimeMs + laterMs;
      const stepwise = new Counters([DAY_MS, 7 * DAY_MS], EMPTY);
      stepwise.add(sorted);
      stepwise.addAsOf([], asOfMs);
      const direct = new Counters([DAY_MS, 7 * DAY_MS], EMPTY);
      direct.addAsOf(sorted, asOfMs);
      expect(direct.counterTypes).toEqual(stepwise.counterTypes);
      expect(direct.counterTypes).toEqual(ACTION_TYPES.filter((type) => direct.counterTypes.includes(type)).sort());
      const expected = direct.counterTypes.flatMap((type) =>
        [DAY_MS, 7 * DAY_MS].map((halfLifeMs) =>
          sorted
            .filter(({ actionType }) => actionType === type)
            .reduce((sum, { eventTimeMs }) => sum + Math.pow(2, -(asOfMs - eventTimeMs) / halfLifeMs), 0),
        ),
      );
      expected.forEach((value, at) => {
        expect(Math.abs(direct.counters[at]! - value)).toBeLessThanOrEqual(1e-12 * value);
        expect(Math.abs(stepwise.counters[at]! - value)).toBeLessThanOrEqual(1e-12 * value);
      });
    }),
    { ...OPTIONS, numRuns: 1000 },
  );
});

test('counts of many types, met in any order, stand by type', () => {
  const types = Array.from({ length: 300 }, (_, index) => `type-${(index * 7) % 300}`);
  const counters = new Counters([DAY_MS, HOUR_MS], { counterTypes: [], counters: [], atMs: null });
  counters.addAsOf(
    [...types, ...types].map((type, index) => action(index, 'item', type)),
    1_000,
  );
  expect(counters.counterTypes).toEqual([...types].sort());
  counters.counterTypes.forEach((type, index) => {
    const ages = [types.indexOf(type), types.indexOf(type) + 300].map((eventTimeMs) => 1_000 - eventTimeMs);
    const sum = (halfLifeMs: number): number => ages.reduce((total, ageMs) => total + decay(ageMs, halfLifeMs), 0);
    expect(counters.counters.slice(index * 2, index * 2 + 2)).toEqual([sum(DAY_MS), sum(HOUR_MS)]);
  });
});
