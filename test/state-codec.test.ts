/** The bytes of a state: the beginning of the features record, the whole of the recovery, versioned in the store. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import type { Schema } from 'avsc';
import { describe, expect, test } from 'vitest';
import { FreshetError, type ErrorCode } from '../src/base/errors.ts';
import { packagePath } from '../src/base/package-root.ts';
import type { Action } from '../state/action.ts';
import { fromColumns, toColumns } from '../state/columns.ts';
import { describe as describeUser } from '../state/describe.ts';
import { STATE_BYTES_VERSION, StateCodec } from '../state/state-codec.ts';
import type { UserState } from '../state/user-state.ts';
import type { SequenceFeaturesRecord } from '../topics/records.ts';
import {
  action,
  arbitraryAction,
  arbitraryLayout,
  arbitraryManyLayout,
  arbitraryState,
  DAY_MS,
  descriptionType,
  featuresType,
  records,
  replay,
  SCORE,
  testLayout,
} from './support/actions.ts';
import { FC_OPTIONS } from './support/seed.ts';

/** Failures are shrunk. */
const OPTIONS = { ...FC_OPTIONS, endOnFailure: false };
const arbitraryUser = arbitraryState(fc.oneof(arbitraryLayout, arbitraryManyLayout));
const layout = testLayout();
const codec = new StateCodec(layout);
const someState = replay(records(Array.from({ length: 9 }, (_, at) => action(at * 1000, `item-${at}`))), layout).state!;

test('columns give their actions back', () => {
  fc.assert(
    fc.property(fc.array(arbitraryAction(DAY_MS)), (unsorted) => {
      const actions = unsorted.sort((a, b) => a.eventTimeMs - b.eventTimeMs);
      const columns = toColumns(actions);
      expect(fromColumns(columns)).toEqual(actions);
      for (const values of [columns.actionTypes, columns.surfaces]) {
        expect(values).toEqual([...new Set(values)].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
      }
    }),
    OPTIONS,
  );
});

test('a decoded state equals the state, is described alike and encodes to the same bytes', () => {
  let sealed = 0;
  fc.assert(
    fc.property(arbitraryUser, ({ layout, state }) => {
      const own = new StateCodec(layout);
      const body = own.encode(state);
      const decoded = own.decode(body);
      expect(decoded).toEqual(state);
      expect(describeUser(decoded, SCORE, layout)).toEqual(describeUser(state, SCORE, layout));
      expect(own.encode(decoded).equals(body)).toBe(true);
      expect(own.fromStored(own.toStored(body))).toEqual(state);
      sealed += state.sequences[0]!.base.sealed;
    }),
    OPTIONS,
  );
  expect(sealed).toBeGreaterThan(OPTIONS.numRuns);
});

test('a user restored from the features record equals the user', () => {
  fc.assert(
    fc.property(arbitraryUser, ({ layout, state }) => {
      const own = new StateCodec(layout);
      const description = describeUser(state, SCORE, layout);
      const body = Buffer.concat([own.encode(state), descriptionType.toBuffer(description)]);
      const record = featuresType.fromBuffer(body) as SequenceFeaturesRecord;
      expect(own.fromRecord(record)).toEqual(state);
      expect(own.decode(body)).toEqual(state);
      // The same bytes as encoding the whole record at once; counters of views are 32-bit on the wire.
      expect(featuresType.toBuffer({ ...record, ...description }).equals(body)).toBe(true);
    }),
    OPTIONS,
  );
});

test('a restored user goes on as the user would have', () => {
  const next = Array.from({ length: 6 }, (_, at) => action(9000 + at * 500, 'next', 'like'));
  const restored = codec.decode(codec.encode(someState));
  expect(replay(records(next, 9), layout, restored)).toEqual(replay(records(next, 9), layout, someState));
});

test('a state larger than the scratch buffer is encoded like any other', () => {
  const wide = testLayout({ windowSize: 1000, sealSize: 32 });
  const actions = Array.from({ length: 500 }, (_, at) => action(at, `${at}`.padStart(200, 'x')));
  const { state } = replay(records(actions), wide);
  const body = new StateCodec(wide).encode(state!);
  expect(body.length).toBeGreaterThan(100_000);
  expect(new StateCodec(wide).decode(body)).toEqual(state);
});

describe('the version byte', () => {
  const stored = codec.toStored(codec.encode(someState));

  test('stands before the body', () => {
    expect(stored[0]).toBe(STATE_BYTES_VERSION);
    expect(stored.subarray(1).equals(codec.encode(someState))).toBe(true);
  });

  test('an unknown one is refused, with the version and the remedy', () => {
    const other = Buffer.from(stored);
    other[0] = 77;
    const error = errorOf(() => codec.fromStored(other));
    expect(error).toMatchObject({ code: 'LOG_FORMAT' satisfies ErrorCode, exitCode: 4 });
    expect(error.message).toContain('version 77');
    expect(error.remedy).toContain('CHANGELOG');
    expect(errorOf(() => codec.fromStored(Buffer.alloc(0))).code).toBe('LOG_FORMAT');
  });

  test('bytes cut short or with something behind them are refused', () => {
    for (const end of [1, 2, stored.length >> 1, stored.length - 1]) {
      expect(errorOf(() => codec.fromStored(stored.subarray(0, end))).code).toBe('RECORD_UNDECODABLE');
    }
    const error = errorOf(() => codec.fromStored(Buffer.concat([stored, Buffer.of(0)])));
    expect(error.code).toBe('RECORD_UNDECODABLE');
    expect(error.remedy).toContain('rebuilt');
    expect(error.message).not.toContain(someState.userId);
  });

  /** test/fixtures/state/README.md tells how the fixture differs from version 1. */
  const fixture = (name: string): Buffer => readFileSync(packagePath('test', 'fixtures', 'state', name));
  const olderSchema = JSON.parse(fixture('v0.avsc').toString()) as Schema;

  test('older bytes are read through their schema', () => {
    const upgrading = new StateCodec(layout, new Map([[0, olderSchema]]));
    const expected = JSON.parse(fixture('v0.json').toString()) as UserState;
    const upgraded = upgrading.fromStored(fixture('v0.bin'));
    expect(upgraded).toEqual(expected);
    const rewritten = upgrading.toStored(upgrading.encode(upgraded));
    expect(rewritten[0]).toBe(STATE_BYTES_VERSION);
    expect(codec.fromStored(rewritten)).toEqual(expected);
    expect(replay(records([action(1_480_000_200_000, 'next')], 100), layout, upgraded).outcomes).toEqual(['accepted']);
  });

  test('older bytes that are damaged are refused', () => {
    const upgrading = new StateCodec(layout, new Map([[0, olderSchema]]));
    const bytes = fixture('v0.bin');
    expect(errorOf(() => upgrading.fromStored(bytes.subarray(0, -3))).code).toBe('RECORD_UNDECODABLE');
    expect(errorOf(() => upgrading.fromStored(Buffer.concat([bytes, bytes]))).code).toBe('RECORD_UNDECODABLE');
    expect(errorOf(() => codec.fromStored(bytes)).code).toBe('LOG_FORMAT');
  });
});

test('the features record of a full sequence of 116 actions takes at most 2,560 bytes', () => {
  const types = ['view', 'like', 'bookmark', 'comment', 'follow'];
  const surfaces = ['', 'android', 'ios', 'web'];
  const wide = testLayout({ windowSize: 100, sealSize: 32 });
  // 436 actions of a year: 10 sealed chunks, 116 in the window. Most gaps are minutes, one in eight is days.
  const actions: Action[] = [];
  for (let at = 0, timeMs = 1_480_000_000_000; at < 436; at += 1) {
    timeMs += at % 8 === 7 ? 6.4 * DAY_MS + at * 12_345 : 20_000 + ((at * 7919) % 600_000);
    const itemId = `${10_000_000 + ((at * 48_271) % 89_999_999)}`;
    actions.push(action(timeMs, itemId, types[at % 7] ?? 'view', surfaces[at % 4]));
  }
  const state = replay(records(actions, 5_000_000), wide).state!;
  const vector = (sign: number) => Float32Array.from({ length: 48 }, (_, at) => sign * Math.sin(at));
  const score = { ...SCORE, intent: [vector(1), vector(-1)], actionTypes: types, propensity: new Float32Array(5) };
  const stateBytes = new StateCodec(wide).encode({ ...state, userId: '12345678' }).length;
  const size = stateBytes + descriptionType.toBuffer(describeUser(state, score, wide)).length;
  console.info(`state-codec: the features record of ${state.sequences[0]!.window.length} actions takes ${size} bytes`);
  expect(state.sequences[0]!.window).toHaveLength(116);
  expect(state.sequences[0]!.base.chunks).toBe(10);
  expect(size).toBeLessThanOrEqual(2560);
});

function errorOf(call: () => unknown): FreshetError {
  try {
    call();
  } catch (error) {
    if (error instanceof FreshetError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
