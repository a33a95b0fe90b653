/** Where outputs end with a commit, and what says that a topic was made again since the last one. */
import { expect, it } from 'vitest';
import type { NewRecord } from '../src/log/log.ts';
import { outputEnds } from '../src/task/output-ends.ts';

const at = { topic: 'sequence-features', partition: 3 };
const records = (count: number): NewRecord[] =>
  Array.from({ length: count }, () => ({ ...at, timestampMs: 1, key: null, value: null }));
const endOf = (count: number, end: number) => outputEnds(records(count), new Map([['sequence-features-3', end]]));

it('a commit ends where its last record does, and one that writes nothing leaves the end as it was', () => {
  expect(endOf(5, 105)(at, 100)).toBe(105);
  // Markers and aborted records take offsets too.
  expect(endOf(5, 120)(at, 100)).toBe(120);
  expect(outputEnds(records(0), new Map())(at, 100)).toBe(100);
  expect(endOf(5, 105)({ topic: 'action-history', partition: 3 }, 7)).toBe(7);
});

it.each([
  ['shorter than before', 5, 5],
  ['already longer than before', 150, 150],
])('records that do not stand behind the last end are in another topic: %s', (_, count, end) => {
  const code = 'OUTPUT_TRUNCATED';
  expect(() => endOf(count, end)(at, 100)).toThrow(expect.objectContaining({ code, position: at, exitCode: 4 }));
});
