/**
 * Snapshots: the stores of all tasks as of an offset. What they are put back in place of is a cache of the log, so a run
 * that follows ends in the bytes of one that was never disturbed.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../src/base/config.ts';
import { createSnapshot, type Created } from '../src/snapshot/create.ts';
import { listSnapshots } from '../src/snapshot/list.ts';
import { restoreSnapshot } from '../src/snapshot/restore.ts';
import { listSeeds, openSeed } from '../src/snapshot/seed.ts';
import { layoutOf, stateLayoutHash } from '../state/layout.ts';
import { StateCodec } from '../state/state-codec.ts';
import { pino } from 'pino';
import { Application, type Outcome } from './support/application.ts';
import { codeOf } from './support/error-code.ts';
import { FC_OPTIONS } from './support/seed.ts';
import { actionRecord, type RawRecord } from './support/stream.ts';

const SILENT = pino({ level: 'silent' });
const FLAGS = { sequences: [{ name: 'engagement', windowSize: 3, sealSize: 2 }], cacheUsers: 2 };
const USERS = ['a', 'b', 'c', 'd', 'e'];

/** Actions of five users, an erase among them. */
const RECORDS: readonly RawRecord[] = Array.from({ length: 90 }, (_, at): RawRecord => {
  const userId = USERS[(at * 7) % USERS.length]!;
  if (at === 41) return { key: Buffer.from('b'), value: null, timestampMs: 41 };
  return actionRecord({ userId, itemId: `i${at % 4}`, eventTimeMs: 1_000 + at, surface: at % 3 === 0 ? 'web' : null });
});

const create = (app: Application, keep?: number): Promise<Created> =>
  createSnapshot(app.deployment, { onProgress: () => undefined, ...(keep !== undefined && { keep }) });

const restore = (app: Application, { manifest }: Created) => restoreSnapshot(app.deployment, manifest.name);

let app: Application;
let undisturbed: Outcome;

beforeEach(async () => {
  app = await Application.open(FLAGS);
});

afterEach(() => app.close());

async function outcomeOf(records: readonly RawRecord[]): Promise<Outcome> {
  const other = await Application.open(FLAGS);
  await other.append(records);
  await other.run();
  const outcome = await other.outcome();
  await other.close();
  return outcome;
}

describe('a snapshot that is put back', () => {
  it('anywhere leads to what a run without it leads to', async () => {
    undisturbed = await outcomeOf(RECORDS);
    await fc.assert(
      fc.asyncProperty(fc.nat(RECORDS.length), fc.boolean(), fc.boolean(), async (at, runsOn, storesGone) => {
        const one = await Application.open(FLAGS);
        try {
          await one.append(RECORDS.slice(0, at + 1));
          await one.run();
          if (storesGone) one.deleteStores();
          const created = await create(one);
          await one.append(RECORDS.slice(at + 1));
          if (runsOn) await one.run();
          await restore(one, created);
          await one.run();
          expect(await one.outcome()).toEqual(undisturbed);
        } finally {
          await one.close();
        }
      }),
      { ...FC_OPTIONS, numRuns: 12 },
    );
  });

  it('is brought forward from the log, not made anew', async () => {
    await app.append(RECORDS.slice(0, 50));
    await app.run();
    const created = await create(app);
    await app.append(RECORDS.slice(50));
    await app.run();
    await restore(app, created);
    for (const { partition, offset, metadata } of created.manifest.features) {
      const restored: number[] = [];
      const task = app.stream.newTask(partition, { observer: { restoring: (_, __, total) => restored.push(total) } });
      await task.start();
      await task.close();
      const { length: end } = await app.stream.read('sequence-features', partition);
      expect(offset).toBeGreaterThan(0);
      expect(restored).toEqual([end - metadata.featuresEnd]);
    }
  });

  it('holds what it was made with, whatever the live stores go through', async () => {
    await app.append(RECORDS.slice(0, 50));
    await app.run();
    const created = await create(app);
    const before = filesIn(snapshotFolder(created));
    await app.append(RECORDS.slice(50));
    await app.run();
    app.deleteStores();
    await app.run();
    expect(filesIn(snapshotFolder(created))).toEqual(before);
    await restore(app, created);
    await app.run();
    expect(filesIn(snapshotFolder(created))).toEqual(before);
  });
});

describe('a snapshot', () => {
  it('says what it is as of', async () => {
    await app.append(RECORDS);
    await app.run();
    const { manifest } = await create(app);
    expect(manifest).toMatchObject({ appId: 'freshet', partitions: 2, stateVersion: 1 });
    for (const { partition, offset, metadata, files } of manifest.features) {
      expect(offset).toBe(await app.stream.log.endOffset({ topic: 'user-actions', partition }));
      expect(metadata.featuresEnd).toBe((await app.stream.read('sequence-features', partition)).length);
      expect(metadata.activation).toBeNull();
      expect(files.map(({ name }) => name)).toContain('CURRENT');
    }
    expect(manifest.join.map(({ partition }) => partition)).toEqual([0, 1]);
    expect((await listSnapshots(app.config.dataDir)).snapshots).toMatchObject([{ name: manifest.name }]);
  });

  it('is refused of an application that has committed nothing, and leaves nothing', async () => {
    await app.append(RECORDS);
    expect(await codeOf(create(app))).toBe('APP_UNKNOWN');
    expect(readdirSync(join(app.config.dataDir, 'snapshots'))).toEqual([]);
  });

  it('is refused of a store that a live task holds, and put back in place of none', async () => {
    await app.append(RECORDS.slice(0, 50));
    await app.run();
    const created = await create(app);
    const live = app.task(1);
    await live.start();
    expect(await codeOf(create(app))).toBe('DATA_DIR_IN_USE');
    expect(await codeOf(restore(app, created))).toBe('DATA_DIR_IN_USE');
    await live.close();
    expect(await listSnapshots(app.config.dataDir)).toMatchObject({ snapshots: [{ name: created.manifest.name }] });
    await app.append(RECORDS.slice(50));
    await app.run();
    expect(await app.outcome()).toEqual(await outcomeOf(RECORDS));
  });

  it('makes older ones give way, those of the application alone', async () => {
    await app.append(RECORDS);
    await app.run();
    const other = new Application(app.stream, { ...app.config, appId: 'other' });
    const first = await create(app);
    const second = await create(app);
    const third = await create(app, 2);
    expect(third.removed).toEqual([first.manifest.name]);
    expect(await codeOf(create(other, 1))).toBe('APP_UNKNOWN');
    const { snapshots } = await listSnapshots(app.config.dataDir);
    expect(snapshots.map(({ name }) => name)).toEqual([second.manifest.name, third.manifest.name]);
  });

  it('cut short by a crash is none, and goes with the next one', async () => {
    await app.append(RECORDS);
    await app.run();
    const folder = join(app.config.dataDir, 'snapshots');
    mkdirSync(join(folder, '.unfinished-2026-01-01T00-00-00.000Z', 'user-actions-0'), { recursive: true });
    expect((await listSnapshots(app.config.dataDir)).snapshots).toEqual([]);
    const { manifest } = await create(app);
    expect(readdirSync(folder)).toEqual([manifest.name]);
  });
});

describe('putting back', () => {
  let created: Created;

  beforeEach(async () => {
    await app.append(RECORDS.slice(0, 50));
    await app.run();
    created = await create(app);
    await app.append(RECORDS.slice(50));
    await app.run();
  });

  it.each([
    ['a flipped byte', (file: string) => writeFileSync(file, flipped(readFileSync(file)))],
    ['a cut', (file: string) => truncateSync(file, readFileSync(file).length - 1)],
    ['a removal', (file: string) => rmSync(file)],
  ])('meets %s in any file with an error, the stores untouched', async (_, damage) => {
    const folder = snapshotFolder(created);
    // Of the live store, which shares them: a copy is damaged instead.
    const copy = join(app.config.dataDir, 'copy');
    cpSync(folder, copy, { recursive: true });
    const state = filesIn(join(app.config.dataDir, 'state'));
    const files = Object.keys(filesIn(copy)).filter((file) => readFileSync(join(copy, file)).length > 0);
    expect(files.length).toBeGreaterThan(12);
    for (const file of files) {
      rmSync(folder, { recursive: true });
      cpSync(copy, folder, { recursive: true });
      damage(join(folder, file));
      const expected =
        file === 'manifest.json' && !existsSync(join(folder, file)) ? 'SNAPSHOT_UNKNOWN' : 'SNAPSHOT_DAMAGED';
      expect([file, await codeOf(restore(app, created))]).toEqual([file, expected]);
      expect(filesIn(join(app.config.dataDir, 'state'))).toEqual(state);
    }
  });

  it('lists one with a damaged manifest as that', async () => {
    const file = join(snapshotFolder(created), 'manifest.json');
    writeFileSync(file, readFileSync(file, 'utf8').replace('"appId": "freshet"', '"appId": "another"'));
    const { snapshots, damaged } = await listSnapshots(app.config.dataDir);
    expect([snapshots, damaged.map(({ name, error }) => [name, error.code])]).toEqual([
      [],
      [[created.manifest.name, 'SNAPSHOT_DAMAGED']],
    ]);
  });

  it.each([
    ['another application', { appId: 'other' }, 'APP_UNKNOWN'],
    ['another layout', { sequences: [{ name: 'engagement', windowSize: 4, sealSize: 2 }] }, 'LAYOUT_CHANGED'],
    ['another number of partitions', { partitions: 3 }, 'PARTITIONS_CHANGED'],
  ])('refuses %s', async (_, flags, code) => {
    const { dataDir } = app.config;
    const config = loadConfig({ env: {}, flags: { partitions: 2, ...FLAGS, ...flags, dataDir }, cwd: dataDir });
    expect(await codeOf(restore(new Application(app.stream, config), created))).toBe(code);
  });

  it.each(['../x', 'manifest.json', '2026-01-01T00-00-00.000Z'])('knows no snapshot %s', async (name) => {
    expect(await codeOf(restoreSnapshot(app.deployment, name))).toBe('SNAPSHOT_UNKNOWN');
  });

  it('that a crash has stopped between removal and arrival is made good by the log, or by doing it again', async () => {
    const store = app.deployment.storeFolder('user-actions', 0);
    rmSync(store, { recursive: true });
    mkdirSync(`${store}.restoring`);
    writeFileSync(join(`${store}.restoring`, 'CURRENT'), 'half');
    await app.run();
    const expected = await outcomeOf(RECORDS);
    expect(await app.outcome()).toEqual(expected);
    await restore(app, created);
    expect(existsSync(`${store}.restoring`)).toBe(false);
    await app.run();
    expect(await app.outcome()).toEqual(expected);
  });
});

describe('seeds', () => {
  it('are the states as of their offsets, in the order of those, and leave their snapshots alone', async () => {
    const cuts = [20, 45, 90];
    const expected: Outcome[] = [];
    let from = 0;
    for (const cut of cuts) {
      await app.append(RECORDS.slice(from, cut));
      from = cut;
      await app.run();
      await create(app);
      expected.push(await app.outcome());
    }
    const states: Record<string, string>[] = cuts.map(() => ({}));
    const layout = layoutOf(app.config);
    const options = { layoutHash: stateLayoutHash(layout), stateCodec: new StateCodec(layout), logger: SILENT };
    for (const partition of [0, 1]) {
      const seeds = await listSeeds(app.config, partition);
      expect(seeds.map(({ offset }) => offset)).toEqual(seeds.map(({ offset }) => offset).sort((a, b) => a - b));
      expect(seeds.at(-1)!.offset).toBe(await app.stream.log.endOffset({ topic: 'user-actions', partition }));
      for (const [index, each] of seeds.entries()) {
        const before = filesIn(each.folder);
        const scratch = join(app.config.dataDir, 'scratch');
        const store = await openSeed(each, scratch, { ...options, rememberedKeys: 10 });
        for await (const { userId, stateBody } of store.states()) states[index]![userId] = stateBody.toString('hex');
        await store.commit([], { offset: 1_000, featuresEnd: 1_000 });
        await store.close();
        expect(filesIn(each.folder)).toEqual(before);
      }
    }
    expect(states).toEqual(expected.map((outcome) => outcome.states));
  });
});

const snapshotFolder = ({ manifest }: Created): string => join(app.config.dataDir, 'snapshots', manifest.name);

function flipped(bytes: Buffer): Buffer {
  const at = Math.floor(bytes.length / 2);
  bytes[at]! ^= 1;
  return bytes;
}

/** Content by path, hex; without LevelDB's lock and its chatter. */
function filesIn(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/^(LOCK|LOG|LOG\.old)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
  return Object.fromEntries(names.sort().map((name) => [name, readFileSync(join(folder, name)).toString('hex')]));
}
