/**
 * `emit=action` writes a features record for each input record of a user, in order, each as a commit of exactly that
 * record would have written it. So it does not matter where commits are cut, and the newest record is that of
 * `emit=commit`.
 */
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { OnnxScorer } from '../src/intent/onnx-scorer.ts';
import { packagePath } from '../src/base/package-root.ts';
import { randomFrom } from './support/random.ts';
import { fakeScorer } from './support/fake-scorer.ts';
import { inputs, Logs, nextPlace, run, type Lane } from './support/lanes.ts';
import { FC_OPTIONS } from './support/seed.ts';
import { actionRecord, Stream, type RawRecord } from './support/stream.ts';

const ONE_BY_ONE = new Logs({ commitMaxRecords: 1 });
const WHOLE = new Logs({ commitMaxRecords: 1_000 });
const EMITTING = [1, 2, 3, 7, 1_000].map((commitMaxRecords) => new Logs({ commitMaxRecords, emit: 'action' }));

afterAll(async () => {
  for (const logs of [ONE_BY_ONE, WHOLE, ...EMITTING]) await logs.close();
});

interface Emitted {
  readonly userId: string;
  readonly timestampMs: number;
  /** The Avro body, hex; null for a tombstone. */
  readonly body: string | null;
}

async function emitted({ stream, partition }: Lane): Promise<Emitted[]> {
  const records = await stream.read('sequence-features', partition);
  return records.map(({ key, value, timestampMs }) => ({
    userId: key!.toString(),
    timestampMs,
    body: value === null ? null : stream.codec.body(value).toString('hex'),
  }));
}

describe('emit=action', () => {
  it('writes what commits of one record each write, in their order, wherever its own commits are cut', async () => {
    await fc.assert(
      fc.asyncProperty(inputs, fc.constantFrom(...EMITTING), async (records, logs) => {
        const place = nextPlace();
        const expected = await ONE_BY_ONE.lane(place, records);
        const { counts } = await run(expected);
        const lane = await logs.lane(place, records);
        expect((await run(lane)).counts).toEqual(counts);
        expect(await emitted(lane)).toEqual(await emitted(expected));
      }),
      { ...FC_OPTIONS, numRuns: 300 },
    );
  });

  it('ends with the features, states and history of emit=commit', async () => {
    await fc.assert(
      fc.asyncProperty(inputs, fc.constantFrom(...EMITTING), async (records, logs) => {
        const place = nextPlace();
        const whole = await run(await WHOLE.lane(place, records));
        expect(await run(await logs.lane(place, records))).toEqual(whole);
      }),
      { ...FC_OPTIONS, numRuns: 200 },
    );
  });

  const act = (userId: string, eventTimeMs: number, itemId = 'i'): RawRecord =>
    actionRecord({ userId, eventTimeMs, itemId });

  it('tells a user that comes and goes within a commit', async () => {
    const stream = await Stream.open({ emit: 'action' });
    const erase = { key: Buffer.from('a'), value: null, timestampMs: 5 };
    await stream.append(act('a', 1), erase, erase, act('a', 7));
    await stream.run();
    const records = await emitted({ stream, partition: 0 });
    expect(records.map(({ timestampMs, body }) => [timestampMs, body === null])).toEqual([
      [1, false],
      [5, true],
      [7, false],
    ]);
    expect((await stream.states()).size).toBe(1);
    await stream.close();
  });

  it('folds one step an action in order, and few times however busy a user is', async () => {
    const scorer = fakeScorer();
    let calls = 0;
    const counted = { ...scorer, fold: (rows: Parameters<typeof scorer.fold>[0]) => ((calls += 1), scorer.fold(rows)) };
    const sequences = [{ name: 'engagement', actionTypes: 'all', windowSize: 8, sealSize: 4, maxAgeMs: null }];
    const stream = await Stream.open({ emit: 'action', sequences }, { scorer: counted });
    await stream.append(...Array.from({ length: 400 }, (_, at) => act('busy', at)));
    await stream.run();
    expect(await stream.read('sequence-features')).toHaveLength(400);
    // A seal after every four actions folds the eight of the window anew; what lies between two seals is one run.
    expect(calls).toBeLessThanOrEqual(12);
    await stream.close();
  });

  it('closes a commit by the bytes of all its records', async () => {
    const stream = await Stream.open({ emit: 'action', commitMaxOutputBytes: 65_536 });
    await stream.append(...Array.from({ length: 400 }, (_, at) => act('busy', at)));
    const task = await stream.task();
    const sizes: number[] = [];
    for (let step = await task.step(); step.records > 0; step = await task.step()) sizes.push(step.records);
    await task.close();
    expect(Math.max(...sizes)).toBeLessThan(70);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(400);
    await stream.close();
  });

  it('has the same bytes with the shipped model', { timeout: 120_000 }, async () => {
    const scorer = await OnnxScorer.load(packagePath('models', 'intent'));
    const random = randomFrom(11);
    const records = Array.from({ length: 600 }, (_, at) =>
      actionRecord({
        userId: `user-${Math.floor(random() ** 2 * 6)}`,
        itemId: `item-${Math.floor(random() * 40)}`,
        actionType: ['view', 'like', 'unlike'][Math.floor(random() * 3)]!,
        eventTimeMs: at * 60_000 - (random() < 0.1 ? 300_000 : 0) + 300_000,
        arrivalTimeMs: at * 60_000 + 300_000,
      }),
    );
    const sequences = [{ name: 'engagement', actionTypes: 'all', windowSize: 20, sealSize: 8, maxAgeMs: null }];
    const results: Emitted[][] = [];
    for (const flags of [
      { commitMaxRecords: 1 },
      { emit: 'action', commitMaxRecords: 17 },
      { emit: 'action', commitMaxRecords: 1_000 },
    ]) {
      const stream = await Stream.open({ ...flags, sequences }, { scorer });
      await stream.append(...records);
      await stream.run();
      results.push(await emitted({ stream, partition: 0 }));
      await stream.close();
    }
    expect(results[0]).toHaveLength(600);
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });
});
