import { expect, test } from 'vitest';
import { HISTORY_RING, historyKey, historyKeys, historyRecord } from '../state/history.ts';
import type { UserState } from '../state/user-state.ts';
import { action, records, replay, sequenceOptions, testLayout } from './support/actions.ts';

const layout = testLayout();

test('a key is the user and the sequence behind their lengths in bytes, then the chunk modulo the ring', () => {
  expect(historyKey('ué', 'saves', 5).toString('hex')).toBe(
    ['00000003', '75c3a9', '00000005', '7361766573', '00000005'].join(''),
  );
});

test('lengths keep users and sequences apart whose names run together', () => {
  expect(historyKey('ab', 'c', 0).equals(historyKey('a', 'bc', 0))).toBe(false);
});

test('chunk n takes the place of chunk n − H, and only that', () => {
  const keys = Array.from({ length: HISTORY_RING }, (_, chunk) => historyKey('u', 's', chunk).toString('hex'));
  expect(new Set(keys).size).toBe(HISTORY_RING);
  expect(historyKey('u', 's', HISTORY_RING + 7)).toEqual(historyKey('u', 's', 7));
  expect(historyKey('u', 's', 2 ** 40 * HISTORY_RING + 7)).toEqual(historyKey('u', 's', 7));
});

test('a chunk becomes a record with its number, newest action first', () => {
  const sealed = [action(10, 'a', 'view', 'web'), action(25, 'b', 'like')];
  expect(historyRecord('u', { sequence: 'engagement', chunk: 1030, actions: sealed })).toEqual({
    userId: 'u',
    sequence: 'engagement',
    chunk: 1030,
    itemIds: ['b', 'a'],
    eventTimeMs: 25,
    gapsMs: [0, 15],
    actionTypes: ['like', 'view'],
    actionTypeIndex: [0, 1],
    surfaces: ['', 'web'],
    surfaceIndex: [0, 1],
  });
});

test('an erase has to tombstone the keys of every chunk that was sent', () => {
  const many = testLayout(
    {},
    { sequences: [sequenceOptions(), sequenceOptions({ name: 'all', windowSize: 1, sealSize: 1 })] },
  );
  const { state, chunks } = replay(records(Array.from({ length: 8 }, (_, at) => action(at, 'a'))), many);
  const sent = chunks.map((chunk) => historyKey(state!.userId, chunk.sequence, chunk.chunk).toString('hex'));
  expect(chunks).toHaveLength(2 + 7);
  expect(
    historyKeys(state!, many)
      .map((key) => key.toString('hex'))
      .sort(),
  ).toEqual(sent.sort());
});

test('however long the life, the ring is all there is to erase', () => {
  const { state } = replay(records(Array.from({ length: 5 }, (_, at) => action(at, 'a'))), layout);
  const old: UserState = {
    ...state!,
    sequences: [{ ...state!.sequences[0]!, base: { ...state!.sequences[0]!.base, chunks: 5000 } }],
  };
  const keys = historyKeys(old, layout).map((key) => key.readUInt32BE(key.length - 4));
  expect(keys.sort((a, b) => a - b)).toEqual(Array.from({ length: HISTORY_RING }, (_, at) => at));
  expect(
    historyKeys({ ...state!, sequences: replay(records([action(0, 'a')]), layout).state!.sequences }, layout),
  ).toEqual([]);
});
