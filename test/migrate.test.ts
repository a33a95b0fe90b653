/**
 * A new application seeded from an old one: on the same topics with another layout, or in another data folder with
 * another number of partitions. It goes on as one that had run from the beginning.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig, type Config } from '../src/base/config.ts';
import { partitionOf } from '../src/base/murmur2.ts';
import type { Log, TaskWriter } from '../src/log/log.ts';
import { wrapLog } from '../src/log/wrapped-log.ts';
import { migrateToFolder } from '../src/migrate/migrate-folder.ts';
import { migrateInPlace, type PartitionMigration } from '../src/migrate/migrate.ts';
import { resetApplication } from '../src/migrate/reset.ts';
import { createSnapshot } from '../src/snapshot/create.ts';
import type { ResetOwner } from '../src/migrate/reset-plan.ts';
import { historyKey } from '../state/history.ts';
import { layoutOf } from '../state/layout.ts';
import { StateCodec } from '../state/state-codec.ts';
import type { RankingFeaturesRecord } from '../topics/records.ts';
import { Application, type Outcome } from './support/application.ts';
import { codeOf } from './support/error-code.ts';
import { ACTIVATE_TEST_VERSION, publishTestVersion } from './support/item-version.ts';
import { actionRecord, type RawRecord } from './support/stream.ts';

const USERS = ['a', 'b', 'c', 'd', 'e', 'f'];
const COUNT = 160;
/** Where the old application ends. */
const MIGRATED = 120;

const sequencesOf = (windowSize: number, sealSize: number, ...others: object[]): object[] => [
  { name: 'engagement', windowSize, sealSize },
  ...others,
];
const SAVES = { name: 'saves', actionTypes: ['bookmark', 'unbookmark'], windowSize: 2, sealSize: 1 };
const OLD = { appId: 'old', sequences: sequencesOf(4, 3, SAVES) };

const each = (partitions: number, record: RawRecord): RawRecord[] =>
  Array.from({ length: partitions }, (_, partition) => ({ ...record, partition }));

/** At each place what arrives then, in order of event time: actions, two versions of item vectors, an erase. */
const recordsAt = (at: number, partitions: number): RawRecord[] => {
  if (at === 20) return each(partitions, ACTIVATE_TEST_VERSION['v1']!);
  if (at === 60) return each(partitions, ACTIVATE_TEST_VERSION['v2']!);
  if (at === 70) return [{ key: Buffer.from('b'), value: null, timestampMs: 1_070 }];
  const actionType = at % 3 === 0 ? 'bookmark' : 'view';
  const userId = USERS[(at * 5) % (at < 40 ? 4 : 6)]!;
  return [actionRecord({ userId, actionType, itemId: `i${(at % 3) + 1}`, eventTimeMs: 1_000 + at })];
};
const append = (app: Application, from: number, to: number): Promise<void> =>
  app.append(Array.from({ length: to - from }, (_, index) => recordsAt(from + index, app.config.partitions)).flat());

async function open(flags: Record<string, unknown>): Promise<Application> {
  const app = await Application.open(flags);
  await publishTestVersion(app.stream);
  return app;
}

/** Another application on the same log. */
function beside(app: Application, flags: Record<string, unknown>): Application {
  const { dataDir, partitions } = app.config;
  const given = { partitions, commitMaxRecords: 7, appId: 'new', ...flags, dataDir };
  return new Application(app.stream, loadConfig({ env: {}, flags: given, cwd: dataDir }));
}

const owner = (app: Application, log: Log = app.stream.log): ResetOwner => ({
  ...app.deployment,
  log,
  storeFolder: (kind, partition) => app.deployment.storeFolder(kind, partition),
  loadScorer: () => Promise.resolve(app.scorer),
});

interface Given {
  readonly log?: Log;
  readonly isDryRun?: boolean;
}
const migrate = (
  old: Application,
  next: Application,
  { log, isDryRun = false }: Given = {},
): Promise<PartitionMigration[]> =>
  migrateInPlace({ from: owner(old, log), to: owner(next, log), isDryRun, onProgress: () => undefined });
const migrateAway = (old: Application, next: Application, { log, isDryRun = false }: Given = {}) =>
  migrateToFolder({ from: owner(old), to: owner(next, log), isDryRun, onProgress: () => undefined });

async function fromTheBeginning(flags: Record<string, unknown>, count = COUNT): Promise<Outcome> {
  const app = await open({ appId: 'new', ...flags });
  await append(app, 0, count);
  await app.run();
  const outcome = await app.outcome();
  await app.close();
  return outcome;
}

let old: Application;

beforeEach(async () => {
  old = await open(OLD);
  await append(old, 0, MIGRATED);
  await old.run();
});

afterEach(() => old.close());

describe('on the same topics', () => {
  it.each([
    ['a smaller window', { sequences: sequencesOf(2, 3, SAVES) }],
    ['a larger window', { sequences: sequencesOf(9, 3, SAVES) }],
    ['chunks of another size', { sequences: sequencesOf(4, 2, SAVES) }],
    ['a sequence less', { sequences: sequencesOf(4, 3) }],
    [
      'a sequence more, of actions that another one has',
      {
        sequences: sequencesOf(4, 3, SAVES, { name: 'views', actionTypes: ['view'], windowSize: 3, sealSize: 2 }),
      },
    ],
    [
      'other names',
      {
        sequences: [
          { ...SAVES, name: 'kept' },
          { name: 'all', windowSize: 4, sealSize: 3 },
        ],
        scoredSequence: 'all',
      },
    ],
    ['other half-lives', { sequences: sequencesOf(4, 3, SAVES), counterHalfLivesMs: [50, 500, 5_000] }],
    ['nothing new', { sequences: sequencesOf(4, 3, SAVES) }],
  ])('%s: as if it had run from the beginning, byte for byte', async (_, flags) => {
    const next = beside(old, flags);
    const moved = await migrate(old, next);
    expect(moved.map(({ users }) => users).reduce((sum, users) => sum + users)).toBe(USERS.length);
    expect(await next.outcome()).toEqual(await fromTheBeginning(flags, MIGRATED));
    await append(old, MIGRATED, COUNT);
    await next.run();
    const expected = await fromTheBeginning(flags);
    expect(await next.outcome()).toEqual(expected);
    next.deleteStores();
    expect(await next.outcome()).toEqual(expected);
    await expectJoined(next);
  });

  it('closes the old application for good', async () => {
    const next = beside(old, { sequences: sequencesOf(2, 3) });
    await migrate(old, next);
    expect(await codeOf(startOf(old.task(0)))).toBe('APP_MOVED');
    expect(await codeOf(startOf(old.join(0)))).toBe('APP_MOVED');
    expect(await codeOf(migrate(old, beside(old, { appId: 'third' })))).toBe('APP_MOVED');
    expect(await migrate(old, next)).toMatchObject([{ isNew: false }, { isNew: false }]);
    await next.run();
  });

  it('only says what it would do in a dry run', async () => {
    const next = beside(old, { sequences: sequencesOf(2, 3) });
    const moved = await migrate(old, next, { isDryRun: true });
    expect(moved.map(({ isNew, usersWithLate }) => [isNew, usersWithLate])).toEqual([
      [true, 0],
      [true, 0],
    ]);
    await append(old, MIGRATED, COUNT);
    await old.run();
    expect(await migrate(old, next)).not.toEqual(moved);
  });

  it('cut short anywhere is finished by the same call, and nothing runs before', async () => {
    const flags = { sequences: sequencesOf(9, 2, SAVES) };
    await old.close();
    const expected = await fromTheBeginning(flags, MIGRATED);
    // A partition: the old task and its join closed, the join taken over, begun, written, finished.
    for (let commit = 1; commit <= 12; commit += 1) {
      old = await open(OLD);
      await append(old, 0, MIGRATED);
      await old.run();
      const next = beside(old, flags);
      await expect(migrate(old, next, { log: failingAfter(old.stream.log, commit) })).rejects.toThrow('killed');
      expect(await codeOf(startOf(old.task(0)))).toBe('APP_MOVED');
      // Until it is begun the features are nobody's.
      const codes = commit === 12 ? ['fine'] : ['STATE_MOVE_UNFINISHED', 'FEATURES_ORPHANED'];
      expect(codes).toContain(await codeOf(startOf(next.task(1))));
      await migrate(old, next);
      expect([commit, await next.outcome()]).toEqual([commit, expected]);
      await next.run();
      await expectJoined(next);
      if (commit < 12) await old.close();
    }
  });
});

describe('in another data folder', () => {
  const flags = { sequences: sequencesOf(6, 2, SAVES), partitions: 3 };
  let next: Application;

  beforeEach(async () => {
    next = await open({ appId: 'new', ...flags });
  });

  afterEach(() => next.close());

  it('users move with their state, and go on as if they had always been there', async () => {
    await migrateAway(old, next);
    await append(next, MIGRATED, COUNT);
    await next.run();
    const [moved, expected] = [await next.outcome(), await fromTheBeginning(flags)];
    expect(withoutPositions(moved, next.config)).toEqual(withoutPositions(expected, next.config));
    expect(moved.history).toEqual(expected.history);
    await expectJoined(next);
    // The old one is what it was.
    await append(old, MIGRATED, COUNT);
    await old.run();
  });

  it('cut short anywhere is finished by the same call', async () => {
    const expected = withoutPositions(await fromTheBeginning(flags, MIGRATED), next.config);
    // Of three partitions: all begun, all written, all finished.
    for (const commit of [1, 3, 4, 6, 7, 9]) {
      const target = await open({ appId: 'new', ...flags });
      await expect(migrateAway(old, target, { log: failingAfter(target.stream.log, commit) })).rejects.toThrow(
        'killed',
      );
      const isNew = commit < 9;
      expect(await migrateAway(old, target)).toMatchObject([{ isNew }, { isNew }]);
      expect(withoutPositions(await target.outcome(), target.config)).toEqual(expected);
      await target.close();
    }
  });

  it('begins with that state: a reset goes back to no state before it', async () => {
    await migrateAway(old, next);
    await createSnapshot(next.deployment, { onProgress: () => undefined });
    const seeded = await next.outcome();
    await append(next, MIGRATED, COUNT);
    await next.run();
    const reset = () => resetApplication(owner(next), { target: { offset: 0 }, onProgress: () => undefined });
    await reset();
    expect(await next.outcome()).toEqual(seeded);
    await next.run();
    rmSync(join(next.config.dataDir, 'snapshots'), { recursive: true });
    await expect(reset()).rejects.toThrow('it began with the state of old');
  });

  it('that is not empty is refused', async () => {
    await append(next, 0, 1);
    expect(await codeOf(migrateAway(old, next))).toBe('MIGRATION_REFUSED');
  });

  it('is refused while the old application has input that it has not taken', async () => {
    await append(old, MIGRATED, COUNT);
    expect(await codeOf(migrateAway(old, next))).toBe('MIGRATION_REFUSED');
  });
});

describe('a migration is refused', () => {
  it.each<[string, Record<string, unknown>, string, string]>([
    ['to the same application', { appId: 'old' }, 'MIGRATION_REFUSED', 'appId of its own'],
    [
      'with action types that were not taken',
      { actionTypes: ['view', 'bookmark'] },
      'MIGRATION_REFUSED',
      'actionTypes lacks',
    ],
  ])('%s', async (_, flags, code, detail) => {
    const next = beside(old, flags);
    expect(await codeOf(migrate(old, next))).toBe(code);
    await expect(migrate(old, next)).rejects.toThrow(detail);
  });

  it('from an application that is not there, and with another configuration than it had', async () => {
    const next = beside(old, {});
    expect(await codeOf(migrate(beside(old, { appId: 'other' }), next))).toBe('APP_UNKNOWN');
    expect(await codeOf(migrate(beside(old, { ...OLD, sequences: sequencesOf(5, 3) }), next))).toBe('LAYOUT_CHANGED');
  });

  it('while the join has features to read', async () => {
    await append(old, MIGRATED, COUNT);
    const task = old.task(0);
    await task.start();
    await task.step();
    await task.close();
    await expect(migrate(old, beside(old, {}))).rejects.toThrow('the join of old is at');
  });

  it('where the history has lost what a larger window needs, with nothing changed', async () => {
    const partition = partitionOf(Buffer.from('a'), old.config.partitions);
    const chunk = {
      topic: 'action-history',
      partition,
      timestampMs: 0,
      key: historyKey('a', 'engagement', 0),
      value: null,
    };
    await old.stream.log.append([chunk]);
    await append(old, MIGRATED, COUNT);
    await old.run();
    await expect(migrate(old, beside(old, { sequences: sequencesOf(30, 3) }))).rejects.toThrow(
      '1 users of sequence engagement (K 30, C 3) have sealed actions that the history does not hold',
    );
    await append(old, 0, 1);
    await old.run();
    // What needs no history can still be had.
    await migrate(old, beside(old, { sequences: sequencesOf(2, 3) }));
  });

  it('where a user has sealed more than the ring holds, unless it need not be opened', async () => {
    const app = await open({ appId: 'old', sequences: sequencesOf(2, 1), commitMaxRecords: 500 });
    const busy = Array.from({ length: 1_040 }, (_, at) => actionRecord({ userId: 'a', eventTimeMs: 1_000 + at }));
    await app.append(busy);
    await app.run();
    for (const flags of [{ sequences: sequencesOf(3, 1) }, { sequences: sequencesOf(2, 1), counterHalfLivesMs: [7] }]) {
      await expect(migrate(app, beside(app, flags))).rejects.toThrow('have sealed more than the 1024 chunks');
    }
    const next = beside(app, { sequences: sequencesOf(1, 1) });
    await migrate(app, next);
    const fresh = await open({ appId: 'new', sequences: sequencesOf(1, 1), commitMaxRecords: 500 });
    await fresh.append(busy);
    await fresh.run();
    expect(await next.outcome()).toEqual(await fresh.outcome());
    await fresh.close();
    await app.close();
  });
});

/** Starts a task and closes it again. */
async function startOf(task: { start(): Promise<void>; close(): Promise<void> }): Promise<void> {
  try {
    await task.start();
  } finally {
    await task.close();
  }
}

/** A log that is cut off behind its n-th commit. */
function failingAfter(log: Log, commits: number): Log {
  let left = commits;
  return wrapLog(log, {
    openWriter: async (taskId): Promise<TaskWriter> => {
      const writer = await log.openWriter(taskId);
      return {
        committed: (input) => writer.committed(input),
        close: () => writer.close(),
        commit: async (request) => {
          await writer.commit(request);
          left -= 1;
          if (left === 0) throw new Error('killed');
        },
      };
    },
  });
}

/** The newest joined record of each user names its newest features, and shows as much of them as the layout says. */
async function expectJoined(app: Application): Promise<void> {
  const { codec } = app.stream;
  for (let partition = 0; partition < app.config.partitions; partition += 1) {
    const task = app.join(partition);
    await task.start();
    while ((await task.step()).records > 0);
    await task.close();
    const newest = async (topic: 'sequence-features' | 'ranking-features') =>
      new Map((await app.stream.read(topic, partition)).map((record) => [record.key!.toString(), record]));
    const ranking = await newest('ranking-features');
    for (const [userId, features] of await newest('sequence-features')) {
      const { value, headers } = ranking.get(userId)!;
      if (features.value === null) expect(value).toBeNull();
      else {
        const { realtime } = codec.decode<RankingFeaturesRecord>('ranking-features-value', value!, headers);
        expect(realtime!.offset).toBe(features.offset);
        expect(realtime!.sequences.map(({ name }) => name)).toEqual(app.config.sequences.map(({ name }) => name));
      }
    }
  }
}

/** What is kept of each user but where in the input it was. */
function withoutPositions({ states }: Outcome, config: Config): object {
  const stateCodec = new StateCodec(layoutOf(config));
  return Object.fromEntries(
    Object.entries(states).map(([userId, body]) => {
      const { envelope, sequences, partition } = stateCodec.decode(Buffer.from(body, 'hex'));
      return [userId, { envelope, sequences, partition }];
    }),
  );
}
