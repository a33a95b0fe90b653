/** `freshet erase` on the embedded log: what goes, what stays as it was, and what the proof finds. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadConfig, type Config } from '../src/base/config.ts';
import { partitionOf } from '../src/base/murmur2.ts';
import { packagePath } from '../src/base/package-root.ts';
import { userHash } from '../src/base/user-hash.ts';
import { isErased, type LogRecord, type NewRecord } from '../src/log/log.ts';
import { records } from '../src/log/newest.ts';
import { eraseEmbedded } from '../src/privacy/erase-embedded.ts';
import type { EraseResult } from '../src/privacy/erase.ts';
import { USER_TOPICS } from '../src/privacy/user-records.ts';
import { Deployment } from '../src/run/deployment.ts';
import { hashDeployment } from '../src/run/inspect.ts';
import { Worker, type RunResult } from '../src/run/worker.ts';
import { KeyedStore } from '../state/store.ts';
import { rewriteStore } from '../state/store-rewrite.ts';
import type { TopicName } from '../topics/index.ts';
import { findTraces } from '../src/privacy/traces.ts';
import { logLines, jsonLines } from './support/cli.ts';
import { fakeScorer } from './support/fake-scorer.ts';
import { actionRecord } from './support/stream.ts';
import { tempDir } from './support/temp-dir.ts';

const PARTITIONS = 2;
const logger = pino({ level: 'silent' });
/** Their names hold each other, and so do those of items: bytes alone do not tell whose a record is. */
const USER = 'user-1';
const OTHERS = ['user-11', 'my-user-1'];
const SPACE = { space: 'test-space', version: '2026-01-01', asOfMs: 1 };

let config: Config;

beforeEach(() => {
  vi.spyOn(Deployment.prototype, 'loadScorer').mockResolvedValue(fakeScorer());
  const dataDir = tempDir();
  const sequences = [{ name: 'engagement', actionTypes: 'all', windowSize: 2, sealSize: 2, maxAgeMs: null }];
  config = loadConfig({ env: {}, flags: { dataDir, partitions: PARTITIONS, sequences }, cwd: dataDir });
});
afterEach(() => vi.restoreAllMocks());

async function withDeployment<T>(use: (deployment: Deployment) => Promise<T>): Promise<T> {
  const deployment = await Deployment.open(config, logger);
  try {
    return await use(deployment);
  } finally {
    await deployment.close();
  }
}

async function runToEnd(deployment: Deployment): Promise<RunResult> {
  const worker = new Worker({ deployment, scorer: await deployment.loadScorer() });
  await worker.start();
  const result = await worker.run(true);
  await worker.close();
  return result;
}

const placed = (topic: TopicName, key: string): Pick<NewRecord, 'topic' | 'partition' | 'key'> => ({
  ...{ topic, partition: partitionOf(Buffer.from(key), PARTITIONS), key: Buffer.from(key) },
});

/** Windows that have been sealed, vectors, and records of each way to be rejected. */
async function fill(deployment: Deployment, users: readonly string[]): Promise<void> {
  const { log, codec } = deployment;
  const action = (userId: string, at: number, more: object = {}): NewRecord => {
    const { key, value, timestampMs } = actionRecord({ userId, itemId: `i${at}`, eventTimeMs: at * 1_000, ...more });
    return { ...placed('user-actions', userId), key, value, timestampMs };
  };
  for (const userId of users) {
    const vector = codec.encode('user-embeddings-value', { userId, ...SPACE, vector: [1, 2, 3, 4] });
    const wrong = action(userId, 20);
    await log.append([
      ...Array.from({ length: 9 }, (_, index) => action(userId, index + 1)),
      { ...placed('user-embeddings', userId), timestampMs: 1, value: vector },
      action(userId, 1),
      action(userId, 10, { actionType: 'no-type' }),
      action(userId, 11, { itemId: users[0]! }),
      { ...wrong, partition: 1 - wrong.partition },
      { ...wrong, key: Buffer.from('another'), partition: partitionOf(Buffer.from('another'), PARTITIONS) },
      { ...wrong, value: Buffer.from('?') },
    ]);
  }
  await runToEnd(deployment);
}

const erase = (userId: string, prove = true): Promise<EraseResult> =>
  eraseEmbedded({ config, logger, userId, prove, waitMs: 0 });

/** Every record of every topic, as text; what is erased as `erased`. */
const contents = (): Promise<Map<string, string[]>> =>
  withDeployment(async ({ log }) => {
    const all = new Map<string, string[]>();
    for (const topic of USER_TOPICS) {
      for (let partition = 0; partition < PARTITIONS; partition += 1) {
        const at = { topic, partition };
        const read = await Array.fromAsync(records(log, at, 0, await log.endOffset(at), { erased: true }));
        all.set(`${topic}-${partition}`, read.map(asText));
      }
    }
    return all;
  });

const asText = (record: LogRecord): string =>
  isErased(record)
    ? 'erased'
    : `${record.timestampMs} ${record.key?.toString('latin1')} ${record.value?.toString('latin1')}`;

describe('an erase', () => {
  it('leaves nothing of the user in topics, stores and files, and the others as they were, record by record', async () => {
    await withDeployment((deployment) => fill(deployment, [USER, ...OTHERS]));
    const before = await contents();
    const result = await erase(USER);
    expect(result).toMatchObject({
      user: userHash(USER),
      appended: ['user-actions', 'user-embeddings'],
      proof: { proved: true, consumed: true, files: [], retained: [] },
    });
    const after = await contents();
    const blanked: Record<string, number> = {};
    for (const [place, records] of after) {
      const earlier = before.get(place)!;
      for (const [offset, text] of records.entries()) {
        const topic = place.replace(/-\d+$/, '');
        if (text === 'erased') blanked[topic] = (blanked[topic] ?? 0) + 1;
        else expect(text).toBe(earlier[offset]);
      }
    }
    expect(blanked).toEqual(result.blanked);
    expect(Object.keys(blanked).sort()).toEqual([...USER_TOPICS].sort());
    // 9 actions and 6 of the other kinds, one of which nobody can tell it from; and the erase.
    expect(blanked['user-actions']).toBe(9 + 6 + 1);
    expect(JSON.stringify(result)).not.toContain(USER);
  });

  it('leaves what a store is restored from: the others, as they were', async () => {
    await withDeployment((deployment) => fill(deployment, [USER, ...OTHERS]));
    await erase(USER, false);
    const kept = await withDeployment((deployment) => hashDeployment(deployment));
    expect(kept.users).toBe(OTHERS.length);
    rmSync(join(config.dataDir, 'state'), { recursive: true });
    await withDeployment(async (deployment) => {
      expect(await runToEnd(deployment)).toMatchObject({ records: 0, features: 0, ranked: 0 });
      expect(await hashDeployment(deployment)).toEqual(kept);
    });
  });

  it('is known to a store from before it, put back later', async () => {
    await withDeployment((deployment) => fill(deployment, [USER, 'bob']));
    const [state, copy] = [join(config.dataDir, 'state'), join(tempDir(), 'state')];
    cpSync(state, copy, { recursive: true });
    await erase(USER, false);
    const kept = await withDeployment((deployment) => hashDeployment(deployment));
    rmSync(state, { recursive: true });
    cpSync(copy, state, { recursive: true });
    await withDeployment(runToEnd);
    expect(await withDeployment((deployment) => hashDeployment(deployment))).toEqual(kept);
    expect(await erase(USER)).toMatchObject({ proof: { proved: true } });
  });

  it('done again has nothing to do; a user who comes back can be erased again', async () => {
    await withDeployment((deployment) => fill(deployment, [USER]));
    await erase(USER, false);
    expect(await erase(USER)).toMatchObject({ appended: [], blanked: {}, proof: { proved: true } });
    await withDeployment((deployment) => fill(deployment, [USER]));
    expect(await erase(USER)).toMatchObject({ appended: ['user-actions', 'user-embeddings'], proof: { proved: true } });
  });

  it('cut off before the tasks have run, is finished by the next one', async () => {
    await withDeployment((deployment) => fill(deployment, [USER, 'bob']));
    vi.spyOn(Worker.prototype, 'start').mockRejectedValueOnce(new Error('killed'));
    await expect(erase(USER)).rejects.toThrow('killed');
    expect(await erase(USER)).toMatchObject({ appended: [], proof: { proved: true } });
  });
});

describe('the proof', () => {
  it('finds what an erase does not reach: a row that was set aside, a copy of a store', async () => {
    await withDeployment((deployment) => fill(deployment, [USER]));
    const { dataDir } = config;
    const partition = partitionOf(Buffer.from(USER), PARTITIONS);
    const snapshot = join('snapshots', 'monday', `user-actions-${partition}`);
    cpSync(join(dataDir, 'state', `user-actions-${partition}`), join(dataDir, snapshot), { recursive: true });
    mkdirSync(join(dataDir, 'rejected-rows'));
    writeFileSync(join(dataDir, 'rejected-rows', 'a.csv.ndjson'), `{"row":["${USER}",""]}\n{"row":["${USER}1"]}\n`);
    const { proof } = await erase(USER);
    expect(proof).toMatchObject({ proved: false });
    expect(proof!.topics.filter(({ values, tombstones }) => values + tombstones > 0)).toEqual([]);
    expect(proof!.files).toContainEqual({ file: join('rejected-rows', 'a.csv.ndjson'), places: 1 });
    const others = proof!.files.filter(({ file }) => !file.startsWith('rejected-rows'));
    expect(others.length).toBeGreaterThan(0);
    for (const { file } of others) expect(file.startsWith(snapshot)).toBe(true);
  });
});

describe('a store made anew', () => {
  const gone = Buffer.from('gone-user');
  const isGone = ({ key }: { key: Buffer }): boolean => key.includes(gone);
  const tracesIn = (folder: string) => findTraces(folder, gone.toString(), isGone);

  it('holds what it held, and no bytes of the key', async () => {
    const folder = tempDir();
    const { store } = await KeyedStore.open<number>(folder, { layoutHash: 'l' });
    const stays = Buffer.from('stays');
    for (let at = 0; at < 20; at += 1) {
      const puts = [gone, stays].map((key) => [key, Buffer.from(`${at}`)] as const);
      await store.commit({ puts, deletes: [], position: at });
    }
    await store.commit({ puts: [], deletes: [gone], position: 20 });
    await store.close();
    expect(await tracesIn(folder)).not.toEqual([]);
    await rewriteStore(folder);
    expect(await tracesIn(folder)).toEqual([]);
    const opened = await KeyedStore.open<number>(folder, { layoutHash: 'l' });
    expect(opened.reason).toBeUndefined();
    expect(opened.store.position()).toBe(20);
    expect(await opened.store.getMany([gone, stays])).toEqual([undefined, Buffer.from('19')]);
    await opened.store.close();
  });

  it('leaves behind what tables hide that nothing newer overlaps', async () => {
    const folder = tempDir();
    const level = new ClassicLevel<Buffer, Buffer>(folder, {
      ...{ keyEncoding: 'buffer', valueEncoding: 'buffer', compression: false, writeBufferSize: 1024 * 1024 },
    });
    const key = Buffer.concat([Buffer.from('e'), gone]);
    await level.put(key, Buffer.from('one'));
    await level.put(key, Buffer.from('two'));
    await level.del(key);
    // Until LevelDB writes a table of its own accord: at once to a level that no table is below.
    for (let filler = 100; filler < 140; filler += 1) await level.put(Buffer.from(`f${filler}`), Buffer.alloc(65_536));
    await level.close();
    expect((await tracesIn(folder)).some(({ file }) => file.endsWith('.ldb'))).toBe(true);
    await rewriteStore(folder);
    expect(await tracesIn(folder)).toEqual([]);
  });
});

describe('freshet erase', () => {
  const run = (args: readonly string[], input: string) =>
    spawnSync(process.execPath, [packagePath('bin', 'freshet.js'), 'erase', ...args], {
      input,
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'] },
    });

  it('takes the id from stdin, proves, and names the user nowhere', async () => {
    const { dataDir } = config;
    await withDeployment(async ({ log }) => {
      const records = [USER, 'bob'].map((userId) => ({
        ...actionRecord({ userId, eventTimeMs: 1 }),
        ...placed('user-actions', userId),
      }));
      await log.append(records);
    });
    mkdirSync(join(dataDir, 'rejected-rows'));
    writeFileSync(join(dataDir, 'rejected-rows', 'in.csv.ndjson'), `{"row":"${USER},b,view,x"}\n`);
    const at = [`--data-dir=${dataDir}`, '--partitions=2'];
    const unproven = run(['--user=-', '--prove', '--json', ...at], `${USER}\n`);
    const { proof } = jsonLines<EraseResult>(unproven.stdout).at(-1)!;
    expect(proof!.files).toEqual([{ file: join('rejected-rows', 'in.csv.ndjson'), places: 1 }]);
    expect(unproven.status).toBe(1);
    expect(logLines(unproven).at(-1)).toMatchObject({ code: 'ERASE_UNPROVEN' });
    rmSync(join(dataDir, 'rejected-rows'), { recursive: true });
    const id = join(tempDir(), 'id');
    writeFileSync(id, USER);
    const proven = run([`--user-file=${id}`, '--prove', ...at], '');
    expect([proven.status, proven.stdout]).toEqual([0, expect.stringContaining('proved: nothing else is left')]);
    for (const { stdout, stderr } of [unproven, proven]) expect(stdout + stderr).not.toContain(USER);
  });

  it('refuses two users', () => {
    const result = run(['--user=a', '--user-file=b', `--data-dir=${join(tempDir(), 'none')}`], '');
    expect([result.status, result.stdout]).toEqual([2, '']);
    expect(logLines(result)).toMatchObject([{ code: 'USAGE' }]);
  });
});
