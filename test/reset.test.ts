/**
 * A reset: the application as it was at an earlier offset, and from there on once more. A run that follows ends in the
 * bytes of one that was never disturbed, and so does each record on the way.
 */
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Application as App, type Outcome } from './support/application.ts';
import { resetApplication } from '../src/migrate/reset.ts';
import type { ResetOwner, ResetTarget } from '../src/migrate/reset-plan.ts';
import type { Log } from '../src/log/log.ts';
import { wrapLog } from '../src/log/wrapped-log.ts';
import { createSnapshot } from '../src/snapshot/create.ts';
import { listSeeds } from '../src/snapshot/seed.ts';
import { decodeMetadata, type CommitMetadata } from '../src/task/commit-metadata.ts';
import type { SequenceFeaturesRecord } from '../topics/records.ts';
import { codeOf } from './support/error-code.ts';
import { ACTIVATE_TEST_VERSION, publishTestVersion } from './support/item-version.ts';
import { FC_OPTIONS } from './support/seed.ts';
import { actionRecord, type RawRecord } from './support/stream.ts';

const FLAGS = { sequences: [{ name: 'engagement', windowSize: 3, sealSize: 2 }], cacheUsers: 2 };
const USERS = ['a', 'b', 'c', 'd', 'e', 'f'];
const COUNT = 100;

const both = (record: RawRecord): RawRecord[] => [0, 1].map((partition) => ({ ...record, partition }));

/** At each place what arrives then: actions of six users, two versions of item vectors, an erase. */
const RECORDS: readonly (readonly RawRecord[])[] = Array.from({ length: COUNT }, (_, at) => {
  if (at === 20) return both(ACTIVATE_TEST_VERSION['v1']!);
  if (at === 60) return both(ACTIVATE_TEST_VERSION['v2']!);
  if (at === 70) return [{ key: Buffer.from('b'), value: null, timestampMs: 1_070 }];
  const userId = USERS[(at * 5) % (at < 40 ? 4 : 6)]!;
  return [
    actionRecord({ userId, itemId: `i${(at % 3) + 1}`, eventTimeMs: 1_000 + at, surface: at % 4 === 0 ? 'web' : null }),
  ];
});

async function open(): Promise<App> {
  const app = await App.open(FLAGS);
  await publishTestVersion(app.stream);
  return app;
}

const owner = (app: App, log: Log = app.stream.log): ResetOwner => ({
  ...app.deployment,
  log,
  storeFolder: (kind, partition) => app.deployment.storeFolder(kind, partition),
  loadScorer: () => Promise.resolve(app.scorer),
});
const reset = (app: App, target: ResetTarget, log?: Log) =>
  resetApplication(owner(app, log), { target, onProgress: () => undefined });
const snapshot = (app: App) => createSnapshot(app.deployment, { onProgress: () => undefined });
const appendAll = (app: App, from = 0, to = COUNT) => app.append(RECORDS.slice(from, to).flat());

async function metadataOf(app: App, partition: number): Promise<CommitMetadata & { offset: number }> {
  const input = { topic: 'user-actions', partition };
  const { offset, metadata } = (await app.stream.log.committed('freshet', input))!;
  return { offset, ...decodeMetadata(metadata, input) };
}

interface Emitted {
  readonly userId: string;
  readonly version: number;
  readonly body: string;
}

/** Null: a tombstone. */
async function emissions(app: App): Promise<(Emitted | { userId: string; version: null })[]> {
  const { codec } = app.stream;
  const read = [...(await app.stream.read('sequence-features', 0)), ...(await app.stream.read('sequence-features', 1))];
  return read.map(({ key, value, headers }) => {
    const userId = key!.toString();
    if (value === null) return { userId, version: null };
    const { version } = codec.decode<SequenceFeaturesRecord>('sequence-features-value', value, headers);
    return { userId, version, body: codec.body(value).toString('hex') };
  });
}

let undisturbed: Outcome;
let app: App;

beforeEach(async () => {
  app = await open();
  if (undisturbed !== undefined) return;
  const other = await open();
  await appendAll(other);
  await other.run();
  undisturbed = await other.outcome();
  await other.close();
});

afterEach(() => app.close());

describe('a reset', () => {
  it('to anywhere leads to what a run without it leads to, and writes nothing else on the way', async () => {
    const target = fc.oneof(
      fc.record({ offset: fc.nat(60) }),
      fc.record({ timeMs: fc.integer({ min: 990, max: 1_110 }) }),
    );
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: COUNT - 1 }), { minLength: 0, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(cuts, fc.array(target, { minLength: 1, maxLength: 3 }), async (snapshots, targets) => {
        const one = await open();
        try {
          let from = 0;
          for (const cut of snapshots.sort((a, b) => a - b)) {
            await appendAll(one, from, cut);
            from = cut;
            await one.run();
            await snapshot(one);
          }
          await appendAll(one, from);
          await one.run();
          for (const each of targets) {
            await reset(one, each);
            await one.run(2);
            await snapshot(one);
          }
          await one.run();
          expect(await one.outcome()).toEqual(undisturbed);
          one.deleteStores();
          expect(await one.outcome()).toEqual(undisturbed);
          expectLawful(await emissions(one));
        } finally {
          await one.close();
        }
      }),
      { ...FC_OPTIONS, numRuns: 8 },
    );
  });

  it('takes the newest snapshot at or before the target, and the beginning where there is none', async () => {
    await appendAll(app, 0, 30);
    await app.run();
    const { manifest } = await snapshot(app);
    await appendAll(app, 30);
    await app.run();
    const [at = 0] = manifest.features.map(({ offset }) => offset);
    const end = (await metadataOf(app, 0)).offset;
    expect(await reset(app, { offset: at + 1 })).toMatchObject([
      { partition: 0, from: end, to: at, snapshot: manifest.name, generation: 1 },
      { partition: 1, snapshot: manifest.name },
    ]);
    expect(await metadataOf(app, 0)).toMatchObject({ offset: at, activation: { version: 'v1' } });
    expect(await reset(app, { offset: at })).toEqual([]);
    const [again] = await reset(app, { offset: at - 1 });
    expect(again).toMatchObject({ partition: 0, to: 0, snapshot: null, generation: 2 });
    expect(await metadataOf(app, 0)).toMatchObject({ offset: 0, activation: null, counts: {} });
    await app.run();
    expect(await app.outcome()).toEqual(undisturbed);
    expect((await metadataOf(app, 0)).generation?.number).toBe(2);
  });

  it('to a time goes before the first record that arrived then or later', async () => {
    await appendAll(app);
    await app.run();
    const read = await app.stream.read('user-actions', 0);
    const { offset } = read.find(({ timestampMs }) => timestampMs >= 1_050)!;
    await reset(app, { offset });
    await app.run(1);
    const later = await open();
    await appendAll(later);
    await later.run();
    await reset(later, { timeMs: 1_050 });
    await later.run(1);
    expect((await metadataOf(later, 0)).offset).toBe((await metadataOf(app, 0)).offset);
    expect(await reset(later, { timeMs: 10_000 })).toEqual([]);
    await later.close();
  });

  it('leaves out the snapshots of a course that an earlier reset has left', async () => {
    await appendAll(app);
    await app.run(4);
    await snapshot(app);
    await app.run();
    await snapshot(app);
    const committed = async (): Promise<number[]> => {
      const seeds = await listSeeds(app.config, 0, { committed: await metadataOf(app, 0) });
      return seeds.map(({ offset }) => offset);
    };
    const [first = 0, second = 0] = await committed();
    expect(first).toBeLessThan(second);
    await reset(app, { offset: first });
    expect(await committed()).toEqual([first]);
    await app.run();
    await snapshot(app);
    expect(await committed()).toEqual([first, second]);
    expect((await listSeeds(app.config, 0)).length).toBe(3);
  });

  it('tells the counts of what was taken once', async () => {
    await appendAll(app);
    await app.run();
    const before = await metadataOf(app, 0);
    await reset(app, { offset: 10 });
    await app.run();
    expect((await metadataOf(app, 0)).counts).toEqual(before.counts);
  });
});

describe('a reset that is cut short', () => {
  it.each([1, 2, 3].flatMap((commit) => [[commit, 'before'] as const, [commit, 'after'] as const]))(
    'at its commit %i, %s that is in, lets no task start until it is finished',
    async (commit, when) => {
      await appendAll(app, 0, 50);
      await app.run();
      await snapshot(app);
      await appendAll(app, 50);
      await app.run();
      const target = { offset: 40 };
      let left = commit;
      const failing = wrapLog(app.stream.log, {
        openWriter: async (taskId) => {
          const writer = await app.stream.log.openWriter(taskId);
          return {
            committed: (input) => writer.committed(input),
            close: () => writer.close(),
            commit: async (request) => {
              left -= 1;
              if (left === 0 && when === 'before') throw new Error('killed');
              await writer.commit(request);
              if (left === 0) throw new Error('killed');
            },
          };
        },
      });
      await expect(reset(app, target, failing)).rejects.toThrow('killed');
      const isBegun = commit > 1 || when === 'after';
      const isDone = commit === 3 && when === 'after';
      const task = app.task(0);
      expect(await codeOf(task.start())).toBe(isBegun && !isDone ? 'STATE_MOVE_UNFINISHED' : 'fine');
      await task.close();
      await reset(app, target);
      await app.run();
      expect(await app.outcome()).toEqual(undisturbed);
      expectLawful(await emissions(app));
    },
  );
});

describe('a reset is refused', () => {
  it('of an application that has committed nothing', async () => {
    await appendAll(app);
    expect(await codeOf(reset(app, { offset: 0 }))).toBe('APP_UNKNOWN');
  });

  it('of another layout', async () => {
    await appendAll(app);
    await app.run();
    const config = { ...app.config, counterHalfLivesMs: [5] };
    expect(await codeOf(reset(new App(app.stream, config), { offset: 0 }))).toBe('LAYOUT_CHANGED');
  });

  it('where the input begins later and no snapshot is as of what is there, with nothing changed', async () => {
    await appendAll(app);
    await app.run();
    const cut = wrapLog(app.stream.log, {
      startOffset: async ({ topic }) => (topic === 'user-actions' ? 5 : 0),
    });
    expect(await codeOf(reset(app, { offset: 10 }, cut))).toBe('OFFSET_OUT_OF_RANGE');
    expect((await metadataOf(app, 0)).unfinished).toBeUndefined();
    await app.run();
    expect(await app.outcome()).toEqual(undisturbed);
  });

  it('while a task holds the store', async () => {
    await appendAll(app);
    await app.run();
    const live = app.task(0);
    await live.start();
    expect(await codeOf(reset(app, { offset: 10 }))).toBe('DATA_DIR_IN_USE');
    await live.close();
    expect(await app.outcome()).toEqual(undisturbed);
  });
});

/** Versions of a user rise, but behind a tombstone; and a version that is written again has the same bytes. */
function expectLawful(emitted: Awaited<ReturnType<typeof emissions>>): void {
  const newest = new Map<string, number>();
  const bodies = new Map<string, string>();
  for (const each of emitted) {
    if (each.version === null) {
      newest.delete(each.userId);
      continue;
    }
    expect(each.version).toBeGreaterThan(newest.get(each.userId) ?? -1);
    newest.set(each.userId, each.version);
    const name = `${each.userId} ${each.version}`;
    expect(bodies.get(name) ?? each.body).toBe(each.body);
    bodies.set(name, each.body);
  }
}
