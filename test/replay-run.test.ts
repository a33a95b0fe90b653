/** A replay with output: the stream's bytes in a log of its own, wherever it begins, ends and is interrupted. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { activateVersion } from '../src/ingest/activate.ts';
import type { LogRecord } from '../src/log/log.ts';
import { claimFolder, isReplayFolder, type ReplayIdentity } from '../src/replay/replay-identity.ts';
import { translationBetween } from '../src/replay/translation.ts';
import { UserFilter } from '../src/replay/user-filter.ts';
import { Codec } from '../src/serde/codec.ts';
import { Registry } from '../src/serde/registry.ts';
import type { TopicName } from '../topics/index.ts';
import { Application } from './support/application.ts';
import { ChaosInput } from './support/chaos/input.ts';
import { codeOf } from './support/error-code.ts';
import { bodies, newestBodies, openTarget, replayed, type ReplayOptions } from './support/replayed.ts';
import { randomFrom } from './support/random.ts';
import { fastDir, tempDir } from './support/temp-dir.ts';

const ACTIONS = 1_200;
const PARTITIONS = 2;
const OUTPUTS: readonly TopicName[] = ['sequence-features', 'action-history', 'rejected-actions'];
const SMALL_WINDOWS = [{ name: 'engagement', actionTypes: 'all', windowSize: 6, sealSize: 3, maxAgeMs: null }];

let app: Application;

beforeAll(async () => {
  app = await Application.open({ partitions: PARTITIONS, commitMaxRecords: 60, sequences: SMALL_WINDOWS });
  const { log, codec } = app.stream;
  const { space, dimension } = app.scorer;
  const input = new ChaosInput({ codec, partitions: PARTITIONS, seed: 3, dimension, space });
  for (const version of ['v1', 'v2']) {
    await log.append(input.itemVersion(version));
    await activateVersion(log, codec, version, { space, timestampMs: 0 });
    await log.append(input.actions(ACTIONS / 2));
  }
  await app.run();
});

afterAll(() => app.close());

const config = (changes: object) => ({ ...app.config, ...changes });
const newest = (log: Application['stream']['log'], topic: TopicName) =>
  newestBodies(log, app.stream.codec, topic, PARTITIONS);
const all = (log: Application['stream']['log'], topic: TopicName) => bodies(log, app.stream.codec, topic, PARTITIONS);

/** A replay into a new target, with what stands there afterwards. */
async function outcomeOf(options: ReplayOptions = {}) {
  const target = await openTarget(app.deployment);
  const result = await replayed(app.deployment, target, options);
  return { target, result };
}

describe('a replay of all', () => {
  it('has the newest features, the history and the rejections of the stream, whatever the commits', async () => {
    const { commit } = app.config;
    for (const maxRecords of [7, 20_000]) {
      const { target, result } = await outcomeOf({ config: config({ commit: { ...commit, maxRecords } }) });
      expect(result).toMatchObject({ complete: true, records: ACTIONS + 2 * PARTITIONS });
      for (const topic of OUTPUTS) expect(await newest(target, topic)).toEqual(await newest(app.stream.log, topic));
      await target.close();
    }
  });

  it('gives the same records in the same order when it is interrupted after each commit', async () => {
    const { target, result } = await outcomeOf();
    const inParts = await openTarget(app.deployment);
    const folder = mkdtempSync(join(fastDir(), 'parts-'));
    let runs = 0;
    for (let complete = false; !complete; runs += 1) {
      const controller = new AbortController();
      const onProgress = (): void => {
        controller.abort();
      };
      const part = await replayed(app.deployment, inParts, { folder, signal: controller.signal, onProgress });
      ({ complete } = part);
      if (complete) expect(part.counts).toEqual(result.counts);
    }
    expect(runs).toBeGreaterThan(ACTIONS / 60);
    for (const topic of OUTPUTS) expect(await all(inParts, topic)).toEqual(await all(target, topic));
    await target.close();
    await inParts.close();
  });

  it('leaves the log that it replays as it was', async () => {
    const { log } = app.stream;
    const stand = async () => {
      const ends: unknown[] = [];
      for (const [topic, partitions] of await log.topics()) {
        for (let partition = 0; partition < partitions; partition += 1) {
          const at = { topic, partition };
          ends.push([topic, partition, await log.endOffset(at), await log.committed(app.config.appId, at)]);
        }
      }
      return ends;
    };
    const before = await stand();
    const { target } = await outcomeOf();
    expect(await stand()).toEqual(before);
    await target.close();
  });

  it('writes the ids of its target’s registry before the same bodies', async () => {
    const { codec } = app.stream;
    const folder = tempDir();
    // Another schema has taken an id: those of the outputs are others here.
    const taken = { id: 1, subject: 'other', schema: '"string"' };
    writeFileSync(join(folder, 'schemas.json'), JSON.stringify([taken]));
    const other = await Codec.open(await Registry.open({ dataDir: folder }));
    expect(other.encode('action-history-value', SAMPLE_CHUNK)).not.toEqual(
      codec.encode('action-history-value', SAMPLE_CHUNK),
    );
    const controller = new AbortController();
    const target = await openTarget(app.deployment);
    const translation = translationBetween(codec, other);
    // Interrupted, so that features are restored from the target as well.
    const onProgress = (): void => {
      controller.abort();
    };
    await replayed(app.deployment, target, { translation, signal: controller.signal, onProgress });
    await replayed(app.deployment, target, { translation });
    const at = { topic: 'sequence-features', partition: 0 };
    const [record] = (await target.read(at, 0, { maxRecords: 1, maxBytes: 1 })) as [LogRecord];
    expect(other.decode('sequence-features-value', record.value!)).toMatchObject({ partition: 0 });
    for (const topic of OUTPUTS) expect(await newest(target, topic)).toEqual(await newest(app.stream.log, topic));
    await target.close();
  });
});

const SAMPLE_CHUNK = {
  ...{ userId: 'u', sequence: 's', chunk: 0, itemIds: [], eventTimeMs: 0, gapsMs: [] },
  ...{ actionTypes: [], actionTypeIndex: [], surfaces: [], surfaceIndex: [] },
};

describe('a replay of a part', () => {
  it('begun in the middle, stands where the stream stood, whichever the offset', async () => {
    const random = randomFrom(5);
    for (let place = 0; place < 4; place += 1) {
      const offset = 1 + Math.floor((random() * ACTIONS) / PARTITIONS);
      const { target, result } = await outcomeOf({ from: { kind: 'offset', offset } });
      expect(result.partitions.map(({ from, seeded }) => [from, seeded?.unknown])).toEqual([
        [offset, 0],
        [offset, 0],
      ]);
      // Users of the seed are there as of their last version before; who acted since, as of the end.
      expect(await newest(target, 'sequence-features')).toEqual(await newest(app.stream.log, 'sequence-features'));
      const again = await replayed(app.deployment, target, { from: { kind: 'offset', offset } });
      expect(again).toMatchObject({ records: 0, counts: result.counts });
      await target.close();
    }
  });

  it('ended in the middle and taken up again, ends as one that was not', async () => {
    const target = await openTarget(app.deployment);
    const folder = mkdtempSync(join(fastDir(), 'up-to-'));
    for (const to of [0, 250, 251, 400, undefined]) {
      const result = await replayed(app.deployment, target, {
        folder,
        ...(to !== undefined && { to: { kind: 'offset', offset: to } }),
      });
      expect(result.partitions.map(({ next }) => next)).toEqual(result.partitions.map((each) => each.to));
    }
    for (const topic of OUTPUTS) expect(await newest(target, topic)).toEqual(await newest(app.stream.log, topic));
    await target.close();
  });

  it('of some users or partitions has their records and no other', async () => {
    const expected = await newest(app.stream.log, 'sequence-features');
    const chosen = ['user-1', 'user-4', 'user-8'];
    const keys = chosen.map((userId) => Buffer.from(userId).toString('hex'));
    const users = await UserFilter.of(lines(chosen));
    const some = await outcomeOf({ users });
    const found = await newest(some.target, 'sequence-features');
    expect(found).toEqual(expected.filter((record) => keys.includes(record.split(' ')[1]!)));
    expect(found).toHaveLength(chosen.length);
    const second = await outcomeOf({ partitions: [1] });
    expect(await newest(second.target, 'sequence-features')).toEqual(
      expected.filter((record) => record.startsWith('1 ')),
    );
    await some.target.close();
    await second.target.close();
  });
});

async function* lines(texts: readonly string[]): AsyncGenerator<string> {
  yield* texts;
}

describe('the folder of a replay', () => {
  const IDENTITY: ReplayIdentity = {
    ...{ source: '/data', partitions: 2, from: { 0: null }, users: null, config: 'c', model: 'm' },
  };

  it('is taken up by the same replay, maybe of further partitions', async () => {
    const folder = join(tempDir(), 'out');
    await claimFolder(folder, IDENTITY);
    await claimFolder(folder, { ...IDENTITY, from: { 1: 7 } });
    await claimFolder(folder, { ...IDENTITY, from: { 0: null, 1: 7 } });
    expect(isReplayFolder(folder)).toBe(true);
    for (const other of [{ source: '/b' }, { users: 'u' }, { config: 'd' }, { model: 'n' }, { from: { 1: 8 } }]) {
      expect(await codeOf(claimFolder(folder, { ...IDENTITY, ...other }))).toBe('USAGE');
    }
  });

  it('is refused if it holds anything else', async () => {
    const folder = tempDir();
    writeFileSync(join(folder, 'precious'), 'data');
    expect(await codeOf(claimFolder(folder, IDENTITY))).toBe('USAGE');
  });

  it('is not made for a list of no or too many users', async () => {
    expect(await codeOf(UserFilter.of(lines(['', ''])))).toBe('INPUT_MALFORMED');
  });
});
