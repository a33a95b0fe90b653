// What becomes of events that arrive twice, late, or from a clock that is ahead.
import { FakeClock, TestStream, userLog } from 'freshet/testing';
import { expect, test } from 'vitest';

test('a retry counts once, a late event falls into place, and one from the future is refused', async () => {
  const clock = new FakeClock('2026-03-01T12:00:00Z');
  const stream = new TestStream({ clock });
  const session = userLog('ann', clock.nowMs).did('view', 'a1').after('5m').did('bookmark', 'a1', { surface: 'ios' });
  expect(stream.send(session, session).map(({ outcome }) => outcome)).toEqual([
    'accepted',
    'accepted',
    'duplicate',
    'duplicate',
  ]);

  const late = userLog('ann', clock.nowMs)
    .after('2m')
    .did('view', 'a2', { arrivesAt: clock.advance('1h') });
  const ahead = userLog('ann', clock.nowMs).after('1d').did('view', 'a3', { arrivesAt: clock.nowMs });
  expect(stream.send(late, ahead).map(({ outcome }) => outcome)).toEqual(['accepted', 'future']);

  const ann = await stream.features('ann');
  expect(ann?.window().map(({ itemId }) => itemId)).toEqual(['a1', 'a2', 'a1']);
  expect(ann?.counts).toMatchObject({ accepted: 3, duplicate: 2, future: 1 });
  expect(ann?.count('view', '1d')).toBeCloseTo(2, 1);
});
