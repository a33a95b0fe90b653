/** `freshet/testing`: its log keeps the port's promises, its stream does what the feature task does, to the byte. */
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  action,
  featuresOf,
  FakeClock,
  itemVectors,
  MemoryLog,
  MemoryStorage,
  TestStream,
  userLog,
} from '../src/testing/index.ts';
import type { TestAction, TestConfig } from '../src/testing/index.ts';
import type { SequenceFeaturesRecord } from '../topics/records.ts';
import { describeLogConformance, record } from './log-conformance.ts';
import { codeOf } from './support/error-code.ts';
import { fakeScorer } from './support/fake-scorer.ts';
import { actionRecord, Stream } from './support/stream.ts';

describeLogConformance('in memory', async () => {
  const storage = new MemoryStorage();
  return { open: async () => new MemoryLog(storage), dispose: async () => undefined };
});

it('the log in memory keeps what was written, whatever becomes of the buffer', async () => {
  const log = new MemoryLog();
  await log.createTopics([{ ...(await import('../topics/index.ts')).declareTopics(1)[0]! }]);
  const value = Buffer.from('before');
  const at = { topic: 'user-actions', partition: 0 };
  await log.append([record(at, value)]);
  value.write('after!');
  expect((await log.read(at, 0, { maxRecords: 1, maxBytes: 1 }))[0]!.value?.toString()).toBe('before');
  await log.close();
  await expect(log.append([record(at, value)])).rejects.toMatchObject({ code: 'INTERNAL' });
});

const CONFIG: TestConfig = {
  sequences: [
    { name: 'engagement', windowSize: 3, sealSize: 2, maxAgeMs: 20_000 },
    { name: 'likes', actionTypes: ['like', 'unlike'], windowSize: 2, sealSize: 1 },
  ],
  maxIdBytes: 8,
};

describe('the stream', () => {
  it('makes of any actions what the feature task makes of them: features, counts by outcome, history', async () => {
    const arbitrary: fc.Arbitrary<TestAction> = fc.record({
      userId: fc.constantFrom('ann', 'bob', 'much-too-long'),
      itemId: fc.constantFrom('i1', 'i2', 'i3', ''),
      actionType: fc.constantFrom('view', 'like', 'unlike', 'no-type'),
      eventTimeMs: fc.integer({ min: 0, max: 60 }).map((step) => 1_000_000 + step * 1_000),
      surface: fc.constantFrom(null, 'web', 'ios'),
      arrivalTimeMs: fc.constantFrom(1_000_000, 1_060_000),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(arbitrary, { maxLength: 30, size: 'max' }), fc.nat(30), async (actions, erasedAt) => {
        const task = await Stream.open({ ...CONFIG, maxFutureMs: 30_000 });
        const testing = new TestStream({ config: { ...CONFIG, maxFutureMs: 30_000 }, scorer: fakeScorer() });
        try {
          const outcomes = new Map<string, number>();
          for (const [index, each] of actions.entries()) {
            await task.append(
              actionRecord({ ...each, eventTimeMs: each.eventTimeMs!, arrivalTimeMs: each.arrivalTimeMs! }),
            );
            const sent = testing.send(each);
            if (index === erasedAt) {
              await task.append({ key: Buffer.from('ann'), value: null, timestampMs: 1 });
              sent.push(testing.erase('ann'));
            }
            for (const { outcome } of sent) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
          }
          expect(await task.run()).toEqual(Object.fromEntries(outcomes));
          const newest = new Map<string, SequenceFeaturesRecord | null>();
          for (const { key, value } of await task.read('sequence-features')) {
            newest.set(key!.toString(), value === null ? null : task.codec.decode('sequence-features-value', value));
          }
          for (const user of ['ann', 'bob']) {
            const features = await testing.features(user);
            expect(features?.record ?? null).toEqual(newest.get(user) ?? null);
            const sealed = (features?.sealed('engagement') ?? 0) + (features?.sealed('likes') ?? 0);
            expect(testing.history(user).length + testing.history(user, 'likes').length).toBe(sealed);
          }
        } finally {
          await task.close();
        }
      }),
      { numRuns: 60 },
    );
  });

  it('folds a user under the item vectors in force at its last record', async () => {
    const stream = new TestStream({ scorer: fakeScorer() });
    stream.activate(itemVectors('v1', { a: [1, 2, 3, 4] }));
    stream.send(action('view', 'a'));
    stream.activate(itemVectors('v2', { a: [4, 3, 2, 1] }));
    expect((await stream.features('user'))?.record).toMatchObject({ itemVersion: 'v1', itemsWithVector: 1 });
    stream.send(action('view', 'b'));
    expect((await stream.features('user'))?.record).toMatchObject({ itemVersion: 'v2', itemsWithVector: 1 });
  });

  it('lets a user expire who has not acted since, and no other', async () => {
    const stream = new TestStream();
    const [seen] = stream.send(action('view', 'a'));
    stream.send(action('view', 'b'));
    expect(stream.expire('user', seen!.offset).outcome).toBe('kept');
    expect(stream.expire('user').outcome).toBe('removed');
    expect(await stream.features('user')).toBeNull();
  });

  it('says that nothing was scored where no model was asked', async () => {
    const features = await featuresOf([action('view', 'a')]);
    expect(features).toMatchObject({ isScored: false, intent: { click: [0], save: [0] } });
    expect((await featuresOf([action('view', 'a')], { scorer: fakeScorer() })).isScored).toBe(true);
  });
});

describe('builders', () => {
  it('place actions in time: by the clock, by the log of a user, or where they are told', async () => {
    const clock = new FakeClock('2026-01-01T00:00:00Z');
    const stream = new TestStream({ clock });
    onTestFinished(() => stream.clock.set(0));
    stream.send(
      action('view', 'a'),
      userLog('user', clock.nowMs).after('90s').did('like', 'b'),
      action('view', 'c', { at: new Date(clock.nowMs) }),
    );
    const window = (await stream.features('user'))!.window();
    expect(window.map(({ itemId, eventTimeMs }) => [itemId, eventTimeMs - Date.UTC(2026, 0, 1)])).toEqual([
      ['b', 90_000],
      ['a', 60_000],
      ['c', 0],
    ]);
  });

  it.each([
    ['a time that is none', () => action('view', 'a', { at: 'soon' }), 'USAGE'],
    ['an age that is none', () => userLog('ann').after('soon'), 'USAGE'],
    ['vectors of two lengths', () => itemVectors('v', { a: [1], b: [1, 2] }), 'VECTOR_INVALID'],
    ['a vector with a hole', () => itemVectors('v', { a: [1, NaN] }), 'VECTOR_INVALID'],
    [
      'a configuration with a slip',
      () => new TestStream({ config: { windowSize: 3 } as TestConfig }),
      'CONFIG_INVALID',
    ],
  ])('refuse %s', async (_name, make, code) => {
    await expect(codeOf((async (): Promise<unknown> => make())())).resolves.toBe(code);
  });

  it('say why nothing was taken, and which names there are', async () => {
    await expect(featuresOf([action('vieww', 'a')])).rejects.toThrow(/unknown_action_type \(action type "vieww"\)/);
    const features = await featuresOf([action('view', 'a')]);
    expect(() => features.window('saves')).toThrow(/there are engagement/);
    expect(() => features.count('view', '3d')).toThrow(/86400000/);
    await expect(featuresOf([action('view', 'a'), action('view', 'a', { userId: 'bob' })])).rejects.toThrow(
      /more than one/,
    );
  });
});
