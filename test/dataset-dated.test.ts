/** What a request is answered with: the features as they were servable just before it, and nothing that came later. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, describe, expect, it } from 'vitest';
import { partitionOf } from '../src/base/murmur2.ts';
import type { Request } from '../src/dataset/request.ts';
import { PartitionReplay } from '../src/replay/partition-replay.ts';
import type { SequenceFeaturesRecord } from '../topics/records.ts';
import { answersOf, NO_LAG, request } from './support/dataset.ts';
import { inputs, Logs, nextPlace, type Input, type Lane } from './support/lanes.ts';
import { FC_OPTIONS } from './support/seed.ts';
import { actionRecord, Stream } from './support/stream.ts';

const LOGS = new Logs({});
/** Each opens three stores. */
const RUNS = 40;
const SILENT = pino({ level: 'silent' });

afterAll(() => LOGS.close());

/** For each input offset up to the end, the features of each user before the record there: one record a step. */
async function featuresBefore({ stream, partition }: Lane, users: readonly string[]): Promise<Map<string, string>[]> {
  const { log, codec, scorer, itemVersions, config } = stream;
  const folder = mkdtempSync(join(stream.folder, 'replay-'));
  const replay = await PartitionReplay.open({
    ...{ log, codec, scorer, itemVersions, config, partition, folder, logger: SILENT },
  });
  const before: Map<string, string>[] = [];
  const end = await log.endOffset({ topic: 'user-actions', partition });
  await replay.begin(0);
  for (let offset = 0; offset <= end; offset += 1) {
    const featured = await replay.features(users);
    before.push(new Map([...featured].map(([userId, { features }]) => [userId, features!.toString('hex')])));
    if (offset < end) await replay.step({ to: offset + 1, emit: () => false });
  }
  await replay.close();
  rmSync(folder, { recursive: true });
  return before;
}

/** Users of a partition: those of the records, and one who never acts. */
async function usersOf({ stream, partition }: Lane): Promise<string[]> {
  const users = new Set((await stream.read('user-actions', partition)).flatMap(({ key }) => key?.toString() ?? []));
  const isHere = (id: string): boolean => partitionOf(Buffer.from(id), stream.config.partitions) === partition;
  for (let next = 0; ; next += 1) if (isHere(`idle-${next}`)) return [...users, `idle-${next}`];
}

interface Place {
  readonly user: number;
  readonly position: number | null;
  readonly timeMs: number | null;
}

const place: fc.Arbitrary<Place> = fc
  .record({
    user: fc.nat(4),
    position: fc.option(fc.nat(35)),
    timeMs: fc.option(fc.integer({ min: 0, max: 1_100 })),
  })
  .map((each) => (each.position === null && each.timeMs === null ? { ...each, timeMs: 1_000 } : each));

/** Where a request stands, found by going through the log for it alone. */
function placeOf(arrivalsMs: readonly number[], { position, timeMs }: Request, lagMs: number): number {
  const end = arrivalsMs.length;
  const byPosition = position === null ? end : Math.min(position, end);
  if (timeMs === null || (position !== null && lagMs === 0)) return byPosition;
  let newestMs = -Infinity;
  const at = arrivalsMs.findIndex((arrivalMs) => (newestMs = Math.max(newestMs, arrivalMs)) >= timeMs - lagMs);
  return Math.min(byPosition, at < 0 ? end : at);
}

describe('requests of one partition', () => {
  it('are answered as a replay of the log up to each of them alone would', async () => {
    const timed = fc.tuple(inputs, fc.array(fc.integer({ min: 900, max: 1_100 }), { minLength: 30, maxLength: 30 }));
    const places = fc.array(place, { minLength: 1, maxLength: 60, size: 'max' });
    const limits = fc.record({ maxRecords: fc.constantFrom(1, 7, 100), maxRequests: fc.constantFrom(1, 7, 100) });
    const lags = fc.constantFrom(0, 0, 40);
    await fc.assert(
      fc.asyncProperty(timed, places, lags, limits, async ([records, arrivals], asked, lagMs, atOnce) => {
        const dated = records.map(({ user, make }, at): Input => ({
          user,
          make: (id) => ({ ...make(id), timestampMs: arrivals[at]! }),
        }));
        const lane = await LOGS.lane(nextPlace(), dated);
        const users = await usersOf(lane);
        const requests = asked
          .filter(({ timeMs }) => lagMs === 0 || timeMs !== null)
          .map(({ user, ...where }, index) => request(index + 1, users[user % users.length]!, where));
        const lag = { featuresMs: lagMs, vectorsMs: lagMs };
        const { answers } = await answersOf(lane.stream, lane.partition, requests, lag, atOnce);
        const expected = await featuresBefore(lane, users);
        const arrivalsMs = arrivals.slice(0, records.length);
        expect(answers.map(({ position }) => position)).toEqual(
          requests.map((each) => placeOf(arrivalsMs, each, lagMs)).sort((a, b) => a - b),
        );
        const found = new Map(answers.map((answer) => [answer.request.number, answer]));
        expect(found.size).toBe(requests.length);
        for (const each of requests) {
          const { position, features } = found.get(each.number)!;
          expect(position).toBe(placeOf(arrivalsMs, each, lagMs));
          expect(features?.features?.toString('hex')).toBe(expected[position]!.get(each.userId));
        }
      }),
      { ...FC_OPTIONS, numRuns: RUNS },
    );
  });
});

describe('a planted leak', () => {
  it('gives nothing: an action that happened before the label and arrived after it is not known', async () => {
    const stream = await Stream.open();
    await stream.append(
      actionRecord({ userId: 'ann', itemId: 'a1', eventTimeMs: 1_000, arrivalTimeMs: 1_000 }),
      // It happened at 2,000, before the label, and is what the label is about.
      actionRecord({ userId: 'ann', itemId: 'target', eventTimeMs: 2_000, arrivalTimeMs: 9_000 }),
    );
    const itemsAt = async (timeMs: number, lagMs = 0): Promise<string[] | undefined> => {
      const lag = { ...NO_LAG, featuresMs: lagMs };
      const { answers } = await answersOf(stream, 0, [request(1, 'ann', { timeMs })], lag);
      const { features } = answers[0]!;
      if (features === null) return undefined;
      const record = stream.codec.decode<SequenceFeaturesRecord>('sequence-features-value', features.features!);
      return record.sequences[0]!.itemIds;
    };
    expect(await itemsAt(1_000)).toBeUndefined();
    expect(await itemsAt(1_001)).toEqual(['a1']);
    expect(await itemsAt(3_000)).toEqual(['a1']);
    // The label at the very arrival stands before it.
    expect(await itemsAt(9_000)).toEqual(['a1']);
    expect(await itemsAt(9_001)).toEqual(['target', 'a1']);
    expect(await itemsAt(9_500, 500)).toEqual(['a1']);
    expect(await itemsAt(9_501, 500)).toEqual(['target', 'a1']);
    await stream.close();
  });
});

describe('long-term vectors', () => {
  const vector = (stream: Stream, userId: string, version: string, timestampMs: number) => ({
    topic: 'user-embeddings',
    partition: 0,
    timestampMs,
    key: Buffer.from(userId),
    value: stream.codec.encode('user-embeddings-value', {
      ...{ userId, version, asOfMs: timestampMs, space: 'test-space', vector: [1, 2] },
    }),
  });

  it('are those that the clock had come to, until they were removed', async () => {
    const stream = await Stream.open();
    for (let at = 1; at <= 9; at += 1) {
      await stream.append(actionRecord({ userId: 'ann', eventTimeMs: at * 1_000, arrivalTimeMs: at * 1_000 }));
    }
    await stream.log.append([
      vector(stream, 'ann', 'v1', 2_000),
      vector(stream, 'bob', 'b1', 2_000),
      { ...vector(stream, 'ann', 'bad', 3_000), value: Buffer.from('?') },
      vector(stream, 'ann', 'v2', 5_000),
      { ...vector(stream, 'ann', 'gone', 8_000), value: null },
    ]);
    const times = [1_999, 2_000, 4_999, 5_000, 7_999, 8_000];
    const requests = times.map((timeMs, index) => request(index + 1, 'ann', { timeMs }));
    const known = async (lag: typeof NO_LAG) =>
      (await answersOf(stream, 0, requests, lag)).answers.map(({ longTerm }) => longTerm?.version ?? null);
    expect(await known(NO_LAG)).toEqual([null, 'v1', 'v1', 'v2', 'v2', null]);
    expect(await known({ featuresMs: 0, vectorsMs: 3_000 })).toEqual([null, null, null, 'v1', 'v1', 'v2']);

    const positioned = [0, 1, 2, 4, 5, 9].map((position, index) => request(index + 1, 'ann', { position }));
    const { answers } = await answersOf(stream, 0, positioned);
    expect(answers.map(({ longTerm }) => longTerm?.version ?? null)).toEqual([null, null, 'v1', 'v1', 'v2', null]);
    expect(answers.at(-1)!.longTerm).toBeNull();
    await stream.close();
  });
});
