/** A replay makes, of the same records, the features that the task has written: wherever its steps are cut. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, describe, expect, it } from 'vitest';
import { courseOf } from '../src/replay/course.ts';
import { PartitionReplay } from '../src/replay/partition-replay.ts';
import { seedBefore } from '../src/replay/seed.ts';
import type { SequenceFeaturesRecord } from '../topics/records.ts';
import { inputs, Logs, nextPlace, run, type Lane } from './support/lanes.ts';
import { FC_OPTIONS } from './support/seed.ts';

const EACH = new Logs({ emit: 'action', commitMaxRecords: 5 });
const SOME = new Logs({ commitMaxRecords: 3 });
const SILENT = pino({ level: 'silent' });
/** Each opens a store. */
const RUNS = 30;

afterAll(async () => {
  await EACH.close();
  await SOME.close();
});

interface Emitted {
  readonly userId: string;
  readonly version: number;
  readonly body: string;
}

async function emitted({ stream, partition }: Lane): Promise<Emitted[]> {
  return (await stream.read('sequence-features', partition)).flatMap(({ value }) => {
    if (value === null) return [];
    const { userId, version } = stream.codec.decode<SequenceFeaturesRecord>('sequence-features-value', value);
    return { userId, version, body: stream.codec.body(value).toString('hex') };
  });
}

async function withReplay<T>({ stream, partition }: Lane, use: (replay: PartitionReplay) => Promise<T>): Promise<T> {
  const { log, codec, scorer, itemVersions, config } = stream;
  const folder = mkdtempSync(join(stream.folder, 'replay-'));
  const replay = await PartitionReplay.open({
    ...{ log, codec, scorer, itemVersions, config, partition, folder, logger: SILENT, cacheUsers: 2 },
  });
  try {
    return await use(replay);
  } finally {
    await replay.close();
    rmSync(folder, { recursive: true });
  }
}

const end = (lane: Lane): Promise<number> =>
  lane.stream.log.endOffset({ topic: 'user-actions', partition: lane.partition });

describe('a replay of a partition', () => {
  it('gives every record that was emitted, and no other, wherever its steps are cut', async () => {
    await fc.assert(
      fc.asyncProperty(inputs, fc.integer({ min: 1, max: 9 }), async (records, maxRecords) => {
        const lane = await EACH.lane(nextPlace(), records);
        await run(lane);
        const expected = await emitted(lane);
        const replayed = await withReplay(lane, async (replay) => {
          await replay.begin(0);
          const made: Emitted[] = [];
          for (const to = await end(lane); ;) {
            const step = await replay.step({ to, maxRecords, emit: () => true });
            if (step.records === 0) return made;
            for (const { state, features } of step.featured) {
              made.push({ ...state, body: lane.stream.codec.body(features!).toString('hex') });
            }
          }
        });
        const sorted = (all: Emitted[]) =>
          all.map(({ userId, version, body }) => `${version} ${userId} ${body}`).sort();
        expect(sorted(replayed)).toEqual(sorted(expected));
      }),
      { ...FC_OPTIONS, numRuns: RUNS },
    );
  });

  it('begun in the middle from the features before, gives what was emitted from there on', async () => {
    await fc.assert(
      fc.asyncProperty(inputs, fc.nat(29), fc.integer({ min: 1, max: 9 }), async (records, from, maxRecords) => {
        const lane = await SOME.lane(nextPlace(), records);
        await run(lane);
        const start = Math.min(from, records.length);
        const expected = (await emitted(lane)).filter(({ version }) => version >= start);
        const wanted = new Set(expected.map(({ userId, version }) => `${userId} ${version}`));
        const newest = new Map<string, number>();
        const replayed = await withReplay(lane, async (replay) => {
          const { log, codec, config } = lane.stream;
          const course = await courseOf(log, config.appId, replay.input);
          const begun = await seedBefore(replay, start, {
            ...{ log, codec, config, course, partition: lane.partition, commitSpan: 3 },
          });
          expect(begun).toBeGreaterThanOrEqual(Math.max(0, start - 3));
          const made = new Map<string, string>();
          for (const to = await end(lane); ;) {
            const step = await replay.step({ to, maxRecords, emit: () => true });
            for (const { state, features } of step.featured) {
              const body = lane.stream.codec.body(features!).toString('hex');
              made.set(`${state.userId} ${state.version}`, body);
            }
            if (step.records > 0) continue;
            for (const { userId, version } of expected) newest.set(userId, version);
            const last = await replay.features(newest.keys());
            for (const [userId, { features }] of last) {
              const known = made.get(`${userId} ${newest.get(userId)}`);
              if (known !== undefined) expect(lane.stream.codec.body(features!).toString('hex')).toBe(known);
            }
            return made;
          }
        });
        const compared = [...replayed].filter(([at]) => wanted.has(at)).map(([at, body]) => `${at} ${body}`);
        expect(compared.sort()).toEqual(expected.map((each) => `${each.userId} ${each.version} ${each.body}`).sort());
      }),
      { ...FC_OPTIONS, numRuns: RUNS },
    );
  });
});
