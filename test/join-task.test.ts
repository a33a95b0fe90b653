/** The join task: what triggers it, what it writes, and what it makes of input that it cannot use. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { userHash } from '../src/base/user-hash.ts';
import { expectedOf, action, codec, JoinStream, writtenOf } from './join-harness.ts';
import { FaultyLog } from './support/faulty-log.ts';

let stream: JoinStream;
beforeEach(async () => {
  stream = await JoinStream.open();
});
afterEach(() => stream.close());

describe('the pair', () => {
  it('is written with one side, then with both, when features come first', async () => {
    const features = await stream.features({ userId: 'u', timestampMs: 2_000 });
    await stream.run();
    const vector = await stream.vector({ userId: 'u', timestampMs: 3_000 });
    await stream.run();

    const written = await stream.read('ranking-features');
    const [features0] = await stream.read('sequence-features');
    const [vector0] = await stream.read('user-embeddings');
    expect(written.map(writtenOf)).toEqual([
      expectedOf('u', features0, undefined),
      expectedOf('u', features0, vector0),
    ]);
    expect(written.map(({ timestampMs }) => timestampMs)).toEqual([2_000, 3_000]);
    expect((await stream.ranking()).get('u')).toMatchObject({
      hasRealtime: true,
      hasLongTerm: true,
      realtime: { partition: 0, offset: features, envelope: { newestArrivalTimeMs: 2_000, late: 2 }, windowLength: 1 },
      longTerm: { partition: 0, offset: vector, timestampMs: 3_000, version: 'day-1', asOfMs: 500, space: 'space' },
    });
  });

  it('is written with one side, then with both, when the vector comes first', async () => {
    await stream.vector({ userId: 'u', timestampMs: 3_000 });
    await stream.run();
    expect((await stream.ranking()).get('u')).toMatchObject({ hasRealtime: false, hasLongTerm: true, realtime: null });
    await stream.features({ userId: 'u', timestampMs: 2_000 });
    await stream.run();

    const [features] = await stream.read('sequence-features');
    const [vector] = await stream.read('user-embeddings');
    const written = (await stream.read('ranking-features')).map(writtenOf);
    expect(written).toEqual([expectedOf('u', undefined, vector), expectedOf('u', features, vector)]);
    expect(written[1]!.timestampMs).toBe(3_000);
  });

  it('is written once a commit, as the newest of both', async () => {
    await stream.features({ userId: 'u', window: [action('old', 1)] });
    await stream.vector({ userId: 'u', vector: [9, 9] });
    await stream.features({ userId: 'u', window: [action('new', 2)] });
    await stream.vector({ userId: 'u', vector: [3, 4] });
    await stream.features({ userId: 'other' });
    const counts = await stream.run();

    expect((await stream.read('ranking-features')).map(({ key }) => key!.toString())).toEqual(['u', 'other']);
    const joined = (await stream.ranking()).get('u')!;
    expect(joined.realtime!.sequences[0]!.itemIds).toEqual(['new']);
    expect(joined.longTerm!.vector).toEqual([3, 4]);
    expect(counts).toEqual({ features: 3, vectors: 2, ranked: 2 });
  });

  it('keeps what the other side has while only one side changes', async () => {
    await stream.vector({ userId: 'u', vector: [3, 4] });
    await stream.run();
    for (const itemId of ['a', 'b', 'c']) {
      await stream.features({ userId: 'u', window: [action(itemId, 1)] });
      await stream.run();
    }
    const joined = (await stream.ranking()).get('u')!;
    expect(joined.realtime).toMatchObject({ offset: 2, sequences: [{ itemIds: ['c'] }] });
    expect(joined.longTerm).toMatchObject({ offset: 0, vector: [3, 4] });
  });
});

describe('what ranking is shown', () => {
  it('leaves out hidden actions, then takes the newest K, packed anew', async () => {
    const window = [
      action('a', 1, 'share', 'tv'),
      action('b', 2, 'view', 'web'),
      action('c', 4, 'like', 'ios'),
      action('d', 7, 'view', ''),
      action('e', 11, 'unlike', 'ios'),
      action('f', 16, 'view', 'web'),
    ];
    await stream.features({ userId: 'u', window, hiddenPositions: [1, 3] });
    await stream.run();
    const { realtime } = (await stream.ranking()).get('u')!;
    expect(realtime!.windowLength).toBe(6);
    expect(realtime!.sequences).toEqual([
      {
        name: 'engagement',
        itemIds: ['f', 'd', 'b', 'a'],
        eventTimeMs: 16,
        gapsMs: [0, 9, 5, 1],
        actionTypes: ['share', 'view'],
        actionTypeIndex: [1, 1, 1, 0],
        surfaces: ['', 'tv', 'web'],
        surfaceIndex: [2, 0, 2, 1],
        sealed: 7,
        counterTypes: ['view'],
        counters: [6.5, 6],
      },
    ]);
  });

  it('shows an empty sequence where every action is hidden', async () => {
    await stream.features({ userId: 'u', window: [action('a', 1), action('b', 2)], hiddenPositions: [0, 1] });
    await stream.run();
    const { realtime } = (await stream.ranking()).get('u')!;
    expect(realtime!.sequences[0]).toMatchObject({ itemIds: [], eventTimeMs: 0, gapsMs: [], actionTypes: [] });
  });
});

describe('tombstones', () => {
  it('of the features leave the long-term side', async () => {
    await stream.features({ userId: 'u' });
    await stream.vector({ userId: 'u' });
    await stream.run();
    await stream.append('sequence-features', 'u', null, 5_000);
    const counts = await stream.run();
    expect((await stream.ranking()).get('u')).toMatchObject({ hasRealtime: false, realtime: null, hasLongTerm: true });
    expect(counts).toEqual({ features: 1, featuresRemoved: 1, vectors: 1, ranked: 2 });
  });

  it('of the vector leave the realtime side', async () => {
    await stream.features({ userId: 'u' });
    await stream.vector({ userId: 'u' });
    await stream.run();
    await stream.append('user-embeddings', 'u', null, 5_000);
    await stream.run();
    expect((await stream.ranking()).get('u')).toMatchObject({ hasRealtime: true, hasLongTerm: false, longTerm: null });
  });

  it('of the last side become a tombstone, in either order', async () => {
    for (const [userId, topics] of [
      ['u', ['sequence-features', 'user-embeddings']],
      ['v', ['user-embeddings', 'sequence-features']],
    ] as const) {
      await stream.features({ userId });
      await stream.vector({ userId });
      await stream.run();
      for (const topic of topics) {
        await stream.append(topic, userId, null, 5_000);
        await stream.run();
      }
      const last = (await stream.read('ranking-features')).at(-1)!;
      expect([last.key!.toString(), last.value, last.timestampMs]).toEqual([userId, null, 5_000]);
    }
  });

  it('of a user that was never written are not written', async () => {
    await stream.append('sequence-features', 'u', null);
    await stream.append('user-embeddings', 'u', null);
    await stream.features({ userId: 'v' });
    await stream.append('sequence-features', 'v', null);
    const counts = await stream.run();
    expect(await stream.read('ranking-features')).toEqual([]);
    expect(counts).toEqual({ features: 1, featuresRemoved: 2, vectorsRemoved: 1 });
  });

  it('are forgotten: what follows is a new pair', async () => {
    await stream.features({ userId: 'u' });
    await stream.append('sequence-features', 'u', null);
    await stream.features({ userId: 'u', window: [action('again', 3)] });
    await stream.run();
    expect((await stream.ranking()).get('u')!.realtime).toMatchObject({
      offset: 2,
      sequences: [{ itemIds: ['again'] }],
    });
  });
});

describe('long-term vectors that cannot be used', () => {
  const good = codec.encode('user-embeddings-value', {
    ...{ userId: 'u', version: 'day-2', asOfMs: 1, space: 'space', vector: [5, 6] },
  });
  const withVector = (vector: number[], userId = 'u'): Buffer =>
    codec.encode('user-embeddings-value', { userId, version: 'day-2', asOfMs: 1, space: 'space', vector });
  const unknownSchema = Buffer.from(good);
  unknownSchema.writeInt32BE(99_999, 1);

  it.each<[string, string | null, Buffer]>([
    ['not_finite', 'u', withVector([1, Number.NaN])],
    ['not_finite', 'u', withVector([Number.POSITIVE_INFINITY, 1])],
    ['empty_vector', 'u', withVector([])],
    ['wrong_key', 'u', withVector([1, 2], 'somebody-else')],
    ['wrong_key', null, good],
    ['empty_id', '', withVector([1, 2], '')],
    ['oversized_id', 'x'.repeat(257), withVector([1, 2], 'x'.repeat(257))],
    ['undecodable', 'u', good.subarray(0, good.length - 1)],
    ['undecodable', 'u', Buffer.from('?')],
    ['unknown_schema', 'u', unknownSchema],
  ])('are counted as %s, told once and leave the user as it is', async (cause, key, value) => {
    await stream.features({ userId: 'u' });
    await stream.vector({ userId: 'u', vector: [3, 4] });
    await stream.run();
    const offset = await stream.append('user-embeddings', key, value);
    const counts = await stream.run();

    expect(counts).toEqual({ features: 1, vectors: 1, ranked: 1, [cause]: 1 });
    expect((await stream.ranking()).get('u')!.longTerm!.vector).toEqual([3, 4]);
    const warnings = stream.lines.filter(({ code }) => code === 'VECTOR_INVALID');
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatchObject({ cause, topic: 'user-embeddings', partition: 0, offset });
    expect(warnings[0]!['userHash']).toBe(key === null ? undefined : userHash(key));
    await stream.vector({ userId: 'u', vector: [7, 8] });
    await stream.run();
    expect((await stream.ranking()).get('u')!.longTerm!.vector).toEqual([7, 8]);
  });

  it('of users of another partition are counted', async () => {
    await JoinStream.use({ partitions: 2 }, async (two) => {
      for (const userId of ['a', 'b', 'c', 'd', 'e', 'f']) await two.vector({ userId });
      const counts = await two.run();
      expect(counts['wrong_partition']).toBeGreaterThan(0);
      expect((counts['vectors'] ?? 0) + counts['wrong_partition']!).toBe(6);
    });
  });

  it('are told for ten of a commit, and counted all', async () => {
    for (let at = 0; at < 25; at += 1) await stream.vector({ userId: 'u', vector: [] });
    expect(await stream.run()).toEqual({ empty_vector: 25 });
    expect(stream.lines.filter(({ code }) => code === 'VECTOR_INVALID')).toHaveLength(10);
  });

  it('never bring a user id into the log lines', async () => {
    await stream.vector({ userId: 'secret-user', vector: [] });
    await stream.vector({ userId: 'other', key: 'secret-user' });
    await stream.run();
    expect(JSON.stringify(stream.lines)).not.toContain('secret-user');
  });
});

describe('a commit', () => {
  it('is told to an observer with what it read and wrote', async () => {
    await JoinStream.use({}, async (stream) => {
      await stream.features({ userId: 'u', timestampMs: 1_234 });
      await stream.vector({ userId: 'v', vector: [] });
      const told: unknown[] = [];
      const task = await stream.task({
        observer: {
          state: (ref, state) => void told.push([ref, state]),
          committed: (ref, commit) => void told.push([ref, commit]),
        },
      });
      await task.step();
      await task.close();
      const [written] = await stream.read('ranking-features');
      const ref = { kind: 'join', partition: 0 };
      const commit = {
        ...{ records: 2, outputs: 1, outputBytes: 1 + written!.value!.length, offset: 1, newestEventTimeMs: null },
        newestArrivalTimeMs: 1_234,
        counts: new Map([
          ['features', 1],
          ['empty_vector', 1],
          ['ranked', 1],
        ]),
      };
      expect(told).toMatchObject([
        ...['FENCING', 'RESTORING', 'RUNNING'].map((state) => [ref, state]),
        [ref, commit],
        ...['CLOSING', 'CLOSED'].map((state) => [ref, state]),
      ]);
    });
  });

  it('that fails is done once, whether or not the log had taken it', async () => {
    for (const fault of [
      'commit fails, nothing written',
      'commit is unknown, nothing written',
      'commit is unknown, all written',
    ] as const) {
      await JoinStream.use({}, async (stream) => {
        for (const userId of ['u', 'v']) await stream.features({ userId });
        const { log } = new FaultyLog(stream.log, [fault], () => Promise.resolve());
        const task = await stream.task({ log });
        expect(await task.step()).toEqual({ records: 2, ranked: 2 });
        expect(await task.step()).toEqual({ records: 0, ranked: 0 });
        expect(task.counts).toEqual({ features: 2, ranked: 2 });
        await task.close();
        expect(await stream.read('ranking-features')).toHaveLength(2);
      });
    }
  });

  it('takes of each side what its limits allow, and the rest later', async () => {
    await JoinStream.use({ commitMaxRecords: 4 }, async (small) => {
      for (const userId of ['a', 'b', 'c']) {
        await small.features({ userId });
        await small.vector({ userId });
      }
      const task = await small.task();
      expect(await task.step()).toEqual({ records: 4, ranked: 2 });
      expect(await task.step()).toEqual({ records: 2, ranked: 1 });
      expect(await task.step()).toEqual({ records: 0, ranked: 0 });
      await task.close();
    });
  });

  it('closes when its output is large enough, though its input is small', async () => {
    await JoinStream.use({ commitMaxOutputBytes: 65_536 }, async (small) => {
      const users = Array.from({ length: 1_100 }, (_, at) => `user-${at}`);
      const window = Array.from({ length: 4 }, (_, at) => action('x'.repeat(60), at));
      for (const userId of users) await small.features({ userId, window });
      await small.run();
      for (const userId of users) await small.vector({ userId });
      const task = await small.task();
      const steps: number[] = [];
      for (let step = await task.step(); step.records > 0; step = await task.step()) steps.push(step.records);
      await task.close();
      expect(steps).toEqual([512, 512, 76]);
      expect([...(await small.ranking()).values()].every((each) => each!.hasRealtime && each!.hasLongTerm)).toBe(true);
    });
  });
});
