/** The feature task: what it writes for which input, how its commits are bounded, and who may commit. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { EMPTY_TABLE } from '../src/intent/item-table.ts';
import type { FeatureTask, StepPoint } from '../src/task/feature-task.ts';
import type { CommitReport, TaskRef } from '../src/task/observer.ts';
import { Featurizer } from '../src/task/features.ts';
import type { Action } from '../state/action.ts';
import { describe as describeUser } from '../state/describe.ts';
import { historyKey } from '../state/history.ts';
import { layoutOf } from '../state/layout.ts';
import { reduce } from '../state/reducer.ts';
import { StateCodec } from '../state/state-codec.ts';
import type { UserState } from '../state/user-state.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT } from '../topics/index.ts';
import type { ControlRecord, HistoryChunkRecord, SequenceFeaturesRecord } from '../topics/records.ts';
import { fakeScorer } from './support/fake-scorer.ts';
import { ACTIVATE_TEST_VERSION, publishTestVersion } from './support/item-version.ts';
import { actionRecord, Stream, type RawRecord, type TestAction } from './support/stream.ts';
import { wrapLog } from '../src/log/wrapped-log.ts';

const [V1, V2] = [ACTIVATE_TEST_VERSION['v1']!, ACTIVATE_TEST_VERSION['v2']!];

const act = (userId: string, eventTimeMs: number, fields: Partial<TestAction> = {}): RawRecord =>
  actionRecord({ userId, eventTimeMs, ...fields });
const erase = (userId: string): RawRecord => ({ key: Buffer.from(userId), value: null, timestampMs: 100 });

const window = (windowSize: number, sealSize: number): Record<string, unknown> => ({
  sequences: [{ name: 'engagement', actionTypes: 'all', windowSize, sealSize, maxAgeMs: null }],
});

const streams: Stream[] = [];

async function openStream(...options: Parameters<typeof Stream.open>): Promise<Stream> {
  const stream = await Stream.open(...options);
  streams.push(stream);
  return stream;
}

afterEach(async () => {
  for (const stream of streams.splice(0)) await stream.close();
});

async function features(stream: Stream): Promise<SequenceFeaturesRecord[]> {
  const written = await stream.read('sequence-features');
  return written.flatMap(({ value }) =>
    value === null ? [] : [stream.codec.decode<SequenceFeaturesRecord>('sequence-features-value', value)],
  );
}

/** Everything that a task keeps and emits, newest by user. */
async function outcome(stream: Stream): Promise<object> {
  return { newest: await stream.newestFeatures(), states: await stream.states() };
}

describe('the life of a task', () => {
  it('is created, runs once started, and is closed for good', async () => {
    const stream = await openStream();
    const task = unstarted(stream);
    expect(task.state).toBe('CREATED');
    await expect(task.step()).rejects.toMatchObject({ code: 'INTERNAL' });
    await task.start();
    expect(task.state).toBe('RUNNING');
    await expect(task.start()).rejects.toMatchObject({ code: 'INTERNAL' });
    await task.close();
    expect(task.state).toBe('CLOSED');
    await expect(task.step()).rejects.toMatchObject({ code: 'INTERNAL' });
  });

  it('may end before it has begun', async () => {
    const task = unstarted(await openStream());
    await task.close();
    expect(task.state).toBe('CLOSED');
  });

  it('commits to the log before the store, in steps that are told', async () => {
    const stream = await openStream();
    await stream.append(act('a', 1));
    const points: StepPoint[] = [];
    const task = await stream.task(0, (point) => void points.push(point));
    await task.step();
    expect(points).toEqual(['read', 'reduced', 'folded', 'log-committed', 'store-committed']);
    await task.step();
    expect(points).toHaveLength(5);
    await task.close();
  });

  it('tells how much input is left', async () => {
    const stream = await openStream({ commitMaxRecords: 2 });
    await stream.append(act('a', 1), act('a', 2), act('a', 3));
    const task = await stream.task();
    expect(await task.lag()).toBe(3);
    expect(await task.step()).toEqual({ records: 2, features: 1, waitingFor: null });
    expect(await task.lag()).toBe(1);
    await task.step();
    expect(await task.step()).toEqual({ records: 0, features: 0, waitingFor: null });
    await task.close();
  });
});

const unstarted = (stream: Stream): FeatureTask => stream.newTask();

describe('a features record', () => {
  it('is the state that the reducer makes of the records, and its description', async () => {
    const stream = await openStream(window(4, 3));
    const actions: Action[] = Array.from({ length: 12 }, (_, index) => ({
      eventTimeMs: (index * 7) % 20,
      itemId: `i${index % 4}`,
      actionType: ['view', 'like', 'unlike'][index % 3]!,
      surface: ['', 'web'][index % 2]!,
    }));
    await stream.append(...actions.map((each) => actionRecord({ ...each, userId: 'a', arrivalTimeMs: 50 })));
    await stream.run();

    const layout = layoutOf(stream.config);
    let state: UserState | null = null;
    for (const [offset, action] of actions.entries()) {
      const record = { kind: 'action', offset, arrivalTimeMs: 50, action } as const;
      state = reduce(state, record, { userId: 'a', partition: 0 }, layout).state;
    }
    const stateCodec = new StateCodec(layout);
    const { scorer, codec } = stream;
    const [score] = await scorer.fold([
      { hidden: null, previousEventTimeMs: null, actions: state!.sequences[0]!.window, table: EMPTY_TABLE },
    ]);
    const { scorerHash } = new Featurizer({ layout, scorer, stateCodec, codec });
    const { outcomes, actionTypes } = scorer;
    const scored = { ...score!, itemVersion: null, itemsWithVector: 0, outcomes, actionTypes, scorerHash };
    const [written] = await stream.read('sequence-features');
    const body = codec.body(written!.value!);
    const stateBody = stateCodec.encode(state!);
    expect(body.subarray(0, stateBody.length)).toEqual(stateBody);
    const described = { ...(await features(stream))[0]!, ...describeUser(state!, scored, layout) };
    expect(codec.type('sequence-features-value').toBuffer(described)).toEqual(body);
    expect(written).toMatchObject({ key: Buffer.from('a'), timestampMs: 50 });
  });

  it('has zeros for a user whose actions are all of other sequences than the scored one', async () => {
    const sequence = { windowSize: 4, sealSize: 3, maxAgeMs: null };
    const stream = await openStream({
      sequences: [
        { ...sequence, name: 'engagement', actionTypes: 'all' },
        { ...sequence, name: 'saves', actionTypes: ['bookmark'] },
      ],
      scoredSequence: 'saves',
    });
    await stream.append(act('a', 1));
    await stream.run();
    const zeros = [0, 0, 0, 0];
    expect((await features(stream))[0]).toMatchObject({
      scoredSequence: 'saves',
      intent: [
        { outcome: 'click', vector: zeros },
        { outcome: 'save', vector: zeros },
      ],
      itemsWithVector: 0,
      finite: true,
    });
  });

  it('counts a duplicate, and merges what it knows better', async () => {
    const stream = await openStream();
    await stream.append(act('a', 1), act('a', 1, { surface: 'web' }), act('a', 1));
    expect(await stream.run()).toEqual({ accepted: 1, duplicate: 2 });
    const [record] = await features(stream);
    expect(record).toMatchObject({ version: 2, envelope: { accepted: 1, duplicate: 2 } });
    expect(record!.sequences[0]).toMatchObject({ itemIds: ['i'], surfaces: ['web'] });
    expect(await stream.read('rejected-actions')).toEqual([]);
  });
});

describe('an activation in the middle of a commit', () => {
  const RECORDS = [
    act('before', 1, { itemId: 'i1' }),
    act('across', 1, { itemId: 'i1' }),
    V1,
    act('across', 2, { itemId: 'i2' }),
    act('across', 3, { itemId: 'i3' }),
    act('both', 4, { itemId: 'i3' }),
    V2,
    act('both', 5, { itemId: 'i1' }),
  ];

  it('scores each user under the vectors in force at its last record', async () => {
    const stream = await openStream();
    await publishTestVersion(stream);
    await stream.append(...RECORDS);
    expect(await stream.run()).toEqual({ accepted: 6, activation: 2 });
    const records = await features(stream);
    expect(records.map((each) => [each.userId, each.itemVersion, each.itemsWithVector])).toEqual([
      ['before', null, 0],
      ['across', 'v1', 2],
      ['both', 'v2', 2],
    ]);
  });

  it('is in force after a restart, without being read again', async () => {
    const stream = await openStream({ commitMaxRecords: 1 });
    await publishTestVersion(stream);
    await stream.append(...RECORDS.slice(0, 3));
    await stream.run();
    await stream.append(...RECORDS.slice(3));
    await stream.run();
    const whole = await openStream();
    await publishTestVersion(whole);
    await whole.append(...RECORDS);
    await whole.run();
    expect(await outcome(stream)).toEqual(await outcome(whole));
  });
});

describe('the history', () => {
  async function chunks(stream: Stream): Promise<[string, string[] | null][]> {
    const written = await stream.read('action-history');
    return written.map(({ key, value }) => [
      key!.toString('hex'),
      value && stream.codec.decode<HistoryChunkRecord>('action-history-value', value).itemIds,
    ]);
  }
  const key = (chunk: number): string => historyKey('a', 'engagement', chunk).toString('hex');

  it('takes the oldest actions of a full window, numbered, newest first', async () => {
    const stream = await openStream(window(2, 2));
    await stream.append(...[1, 2, 3, 4, 5, 6].map((time) => act('a', time, { itemId: `i${time}` })));
    await stream.run();
    expect(await chunks(stream)).toEqual([
      [key(0), ['i2', 'i1']],
      [key(1), ['i4', 'i3']],
    ]);
    expect((await features(stream))[0]!.sequences[0]).toMatchObject({ itemIds: ['i6', 'i5'], sealed: 4, chunks: 2 });
  });

  it('goes with the user at an erase; who comes after it is new', async () => {
    const stream = await openStream(window(2, 2));
    await stream.append(...[1, 2, 3, 4, 5, 6].map((time) => act('a', time)));
    await stream.run();
    await stream.append(erase('a'));
    expect(await stream.run()).toEqual({ accepted: 6, removed: 1 });
    expect((await chunks(stream)).slice(2).sort()).toEqual([
      [key(0), null],
      [key(1), null],
    ]);
    expect(await outcome(stream)).toEqual({ newest: new Map([['a', null]]), states: new Map() });

    await stream.append(act('a', 1));
    await stream.run();
    expect((await features(stream)).at(-1)).toMatchObject({ version: 7, firstOffset: 7, envelope: { accepted: 1 } });
  });

  it('is removed even if it was written in the same commit', async () => {
    const stream = await openStream(window(1, 1));
    await stream.append(act('a', 1), act('a', 2), erase('a'));
    await stream.run();
    expect(await chunks(stream)).toEqual([
      [key(0), ['i']],
      [key(0), null],
    ]);
    expect(await stream.read('sequence-features')).toEqual([]);
  });
});

describe('an expiry', () => {
  function expire(stream: Stream, seenVersion: number): RawRecord {
    const control: ControlRecord = { activation: null, expire: { seenVersion } };
    const headers = { [CONTROL_HEADER]: Buffer.from(CONTROL_SUBJECT) };
    return { key: Buffer.from('a'), value: stream.codec.encode(CONTROL_SUBJECT, control), headers, timestampMs: 9 };
  }

  it('removes a user that has done nothing since the sweep saw it', async () => {
    const stream = await openStream();
    await stream.append(act('a', 1), act('a', 2), expire(stream, 1));
    expect(await stream.run()).toEqual({ accepted: 2, removed: 1 });
    expect((await stream.states()).size).toBe(0);
  });

  it('keeps a user that has acted since, and moves its version', async () => {
    const stream = await openStream();
    await stream.append(act('a', 1), act('a', 2), expire(stream, 0));
    expect(await stream.run()).toEqual({ accepted: 2, kept: 1 });
    expect((await features(stream))[0]).toMatchObject({ version: 2, envelope: { accepted: 2 } });
  });
});

describe('a commit', () => {
  const USERS = 200;
  const crowd = Array.from({ length: 2 * USERS }, (_, index) => act(`user-${index % USERS}`, index));

  /** The records of each commit. */
  async function commits(stream: Stream): Promise<number[]> {
    const task = await stream.task();
    const sizes: number[] = [];
    for (let step = await task.step(); step.records > 0; step = await task.step()) sizes.push(step.records);
    await task.close();
    return sizes;
  }

  it.each([
    ['records', { commitMaxRecords: 30 }, 30, 30],
    // A new user is about 824 bytes of output: 80 of them fill 65,536.
    ['bytes of output', { commitMaxOutputBytes: 65_536 }, 60, 120],
  ])('closes after so many %s, and nothing is lost', async (_, flags, least, most) => {
    const unlimited = await openStream();
    await unlimited.append(...crowd);
    expect(await commits(unlimited)).toEqual([crowd.length]);

    const limited = await openStream(flags);
    await limited.append(...crowd);
    const sizes = await commits(limited);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(crowd.length);
    for (const size of sizes.slice(0, -1)) {
      expect(size).toBeGreaterThanOrEqual(least);
      expect(size).toBeLessThanOrEqual(most);
    }
    expect(await outcome(limited)).toEqual(await outcome(unlimited));
  });

  it('is bounded by rejected bytes too', async () => {
    const stream = await openStream({ commitMaxOutputBytes: 65_536 });
    const huge = { key: Buffer.from('a'), value: Buffer.alloc(40_000, '?'), timestampMs: 1 };
    await stream.append(huge, huge, huge, huge);
    // Two of them pass the limit.
    expect(await commits(stream)).toEqual([2, 2]);
    expect(await stream.read('rejected-actions')).toHaveLength(4);
  });

  it('closes when its time is over, though input trickles in without a pause', async () => {
    const stream = await openStream();
    await stream.append(...crowd);
    let reads = 0;
    const log = wrapLog(stream.log, {
      read: async (at, offset, limits) => {
        reads += 1;
        await sleep(5);
        return stream.log.read(at, offset, { ...limits, maxRecords: 1 });
      },
    });
    const task = stream.newTask(0, { log });
    await task.start();
    reads = 0;
    expect(await task.step({ maxMs: 0 })).toMatchObject({ records: 1 });
    expect(reads).toBe(1);
    const { records } = await task.step({ maxMs: 60 });
    // A timer may fire a little early.
    expect(records).toBeGreaterThanOrEqual(2);
    expect(records).toBeLessThanOrEqual(16);
    await task.close();
  });

  it('closes at the limits that a step is given, in place of the configured ones', async () => {
    const stream = await openStream();
    await stream.append(...crowd);
    const task = await stream.task();
    expect(await task.step({ maxRecords: 3 })).toMatchObject({ records: 3 });
    expect((await task.step({ maxOutputBytes: 8_100 })).records).toBe(11);
    expect(await task.step()).toMatchObject({ records: crowd.length - 14 });
    await task.close();
  });

  it('is told to an observer once log and store hold it', async () => {
    const stream = await openStream();
    const told: [TaskRef, CommitReport][] = [];
    const points: StepPoint[] = [];
    const task = stream.newTask(0, {
      observer: { committed: (ref, commit) => void told.push([ref, commit]) },
      onStep: (point) => {
        points.push(point);
        if (point === 'store-committed') expect(told).toEqual([]);
      },
    });
    await task.start();
    await stream.append(act('a', 5, { arrivalTimeMs: 9 }), act('a', 5), act('b', 2), act('b', 1, { actionType: 'no' }));
    await task.step();
    await task.close();
    expect(points.at(-1)).toBe('store-committed');
    expect(told).toHaveLength(1);
    const [ref, commit] = told[0]!;
    const [first, second] = await stream.read('sequence-features');
    const [rejected] = await stream.read('rejected-actions');
    const size = [first!, second!, rejected!].reduce((sum, { key, value }) => sum + key!.length + value!.length, 0);
    expect(ref).toEqual({ kind: 'features', partition: 0 });
    expect(commit).toMatchObject({
      ...{ records: 4, outputs: 3, outputBytes: size, offset: 4, newestEventTimeMs: 5, newestArrivalTimeMs: 9 },
      counts: new Map([
        ['accepted', 2],
        ['duplicate', 1],
        ['unknown_action_type', 1],
      ]),
    });
    expect(commit.commitMs).toBeGreaterThan(0);
    expect(commit.durationMs).toBeGreaterThan(commit.commitMs);
  });

  it('does not depend on how many users are in memory', async () => {
    const outcomes: object[] = [];
    for (const cacheUsers of [1, 20_000]) {
      const stream = await openStream({ cacheUsers, commitMaxRecords: 7, ...window(3, 2) });
      await stream.append(...Array.from({ length: 100 }, (_, index) => act(`user-${(index * index) % 5}`, index)));
      await stream.run();
      outcomes.push({ ...(await outcome(stream)), features: await features(stream) });
    }
    expect(outcomes[0]).toEqual(outcomes[1]);
  });
});

describe('a second owner of the partition', () => {
  it('fences the first, which writes nothing any more', async () => {
    const stream = await openStream();
    await stream.append(act('a', 1));
    const first = await stream.task();
    await first.step();
    await stream.append(act('a', 2), act('b', 3));
    const second = stream.newTask(0, { storeFolder: join(stream.folder, 'second') });
    await second.start();
    await expect(first.step()).rejects.toMatchObject({ code: 'FENCED', exitCode: 1 });
    expect(await stream.read('sequence-features')).toHaveLength(1);
    await first.close();

    expect(await second.step()).toEqual({ records: 2, features: 2, waitingFor: null });
    await second.close();
    expect(second.counts).toEqual({ accepted: 3 });
    expect(await stream.states()).toEqual(
      new Map((await features(stream)).slice(1).map((each) => [each.userId, expect.any(String) as string])),
    );
  });
});

describe('the fold', () => {
  const WINDOW = [1, 2, 3, 4, 5].map((time) => act('a', time));

  /** Steps that the scorer folds for records that come after five in order, in the same process or after a restart. */
  async function foldedFor(between: (stream: Stream) => void, ...after: RawRecord[]): Promise<number> {
    const scorer = fakeScorer();
    const stream = await openStream({}, { scorer });
    await publishTestVersion(stream);
    await stream.append(...WINDOW);
    await stream.run();
    expect(scorer.foldedSteps).toBe(5);
    between(stream);
    await stream.append(...after);
    await stream.run();
    return scorer.foldedSteps - 5;
  }
  const restart = (): void => undefined;
  const deleteStore = (stream: Stream): void => {
    stream.deleteStore();
  };

  it.each([
    ['one step for an action in order, from the cache in the store', restart, [act('a', 6)], 1],
    ['as many steps as actions in order', restart, [act('a', 6), act('a', 7)], 2],
    ['the window for an action out of order', restart, [act('a', 3, { itemId: 'j' })], 6],
    ['the window where a duplicate changed it', restart, [act('a', 3, { surface: 'web' })], 5],
    ['the window under a new version', restart, [V1, act('a', 6)], 6],
    ['nothing for an activation alone', restart, [V1], 0],
    ['the window where the store was rebuilt', deleteStore, [act('a', 6)], 6],
  ])('takes %s', async (_, between, after, steps) => {
    expect(await foldedFor(between, ...after)).toBe(steps);
  });

  it('takes nothing where the window is as it was', async () => {
    const scorer = fakeScorer();
    const stream = await openStream({}, { scorer });
    await stream.append(...WINDOW);
    const task = await stream.task();
    await task.step();
    await stream.append(WINDOW[0]!);
    expect(await task.step()).toMatchObject({ records: 1, features: 1 });
    await task.close();
    expect(scorer.foldedSteps).toBe(5);
    const [first, second] = await features(stream);
    expect(second!.intent).toEqual(first!.intent);
  });
});

describe('a score that is not finite', () => {
  const RECORDS = [
    act('a', 1),
    act('a', 2, { itemId: 'poison' }),
    act('a', 3),
    act('a', 4), // seals the action of 1 ms
    act('a', 5), // seals the poison
    act('a', 6),
  ];

  it.each([
    ['in one process', false],
    ['over restarts', true],
  ])('becomes zeros and a flag, until a fold from the beginning is finite again, %s', async (_, isRestarted) => {
    const flags = { commitMaxRecords: 1, ...window(3, 1) };
    const stream = await openStream(flags, { scorer: fakeScorer({ poison: 'poison' }) });
    await stream.append(...RECORDS);
    if (isRestarted) {
      for (let step = 0; step < RECORDS.length; step += 1) {
        const task = await stream.task();
        await task.step();
        await task.close();
      }
    } else {
      await stream.run();
    }
    const healthy = await openStream(flags);
    await healthy.append(...RECORDS);
    await healthy.run();

    const records = await features(stream);
    expect(records.map((each) => each.finite)).toEqual([true, false, false, false, true, true]);
    for (const { intent, propensity } of records.slice(1, 4)) {
      expect([...intent.flatMap(({ vector }) => vector), ...propensity]).toEqual(new Array(10).fill(0));
    }
    const sound = await features(healthy);
    expect([records[0], records[4], records[5]]).toEqual([sound[0], sound[4], sound[5]]);
  });
});
