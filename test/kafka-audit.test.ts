/**
 * The tools that look at a deployment, on a real broker: what any number of workers wrote is verified, seen as of a moment,
 * turned into rows, compared with what was served and replayed beside it, as if it stood in the embedded log.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../src/base/config.ts';
import { packagePath } from '../src/base/package-root.ts';
import { userAsOf, type UserAsOf } from '../src/dataset/as-of.ts';
import type { SkewReport } from '../src/dataset/skew.ts';
import { readPasts } from '../src/dataset/user-past.ts';
import { activateVersion } from '../src/ingest/activate.ts';
import { loadActions } from '../src/ingest/load-actions.ts';
import { loadItemVectors } from '../src/ingest/load-item-vectors.ts';
import { loadUserVectors } from '../src/ingest/load-user-vectors.ts';
import { openKafkaLog } from '../src/log/kafka.ts';
import type { Log } from '../src/log/log.ts';
import { records } from '../src/log/newest.ts';
import { Deployment } from '../src/run/deployment.ts';
import type { RunResult } from '../src/run/worker.ts';
import { layoutOf } from '../state/layout.ts';
import type { SequenceFeaturesRecord } from '../topics/records.ts';
import { inputFile, jsonLines, succeed, USER_MARK } from './support/cli.ts';
import { kafkaForTests, startOwnKafka } from './support/kafka.ts';
import { randomFrom } from './support/random.ts';
import { newestBodies } from './support/replayed.ts';
import { tempDir } from './support/temp-dir.ts';

const PARTITIONS = 4;
const USERS = 40;
const ITEMS = 30;
const PART_ROWS = 400;
const START_MS = Date.parse('2026-01-02');
const SPACE = 'fixture-1';
const LIMIT_MS = 240_000;

const folder = tempDir();
const silent = pino({ level: 'silent' });
const random = randomFrom(5);
const pick = (count: number): number => Math.floor(random() * count);
const users = Array.from({ length: USERS }, (_, at) => `${USER_MARK}${at}`);
const common = {
  FRESHET_PARTITIONS: String(PARTITIONS),
  FRESHET_MODEL: packagePath('test', 'fixtures', 'intent', 'small'),
  FRESHET_COMMIT_MAX_RECORDS: '40',
  FRESHET_SEQUENCES: JSON.stringify([{ name: 'engagement', windowSize: 10, sealSize: 4 }]),
};
let env: Record<string, string>;
/** The same input in both. */
let live: Deployment;
let embedded: Deployment;

const open = (more: Record<string, string>): Promise<Deployment> =>
  Deployment.open(loadConfig({ env: { ...common, ...more }, flags: {}, cwd: folder }), silent);
const run = async <T>(...args: string[]): Promise<T> => jsonLines<T>(await succeed(args, { env })).at(-1)!;

async function load(rows: number): Promise<void> {
  const actions = Array.from({ length: rows }, (_, at) => {
    const time = START_MS + (at + pick(9)) * 60_000;
    return { userId: users[pick(USERS)], itemId: `i${pick(ITEMS)}`, actionType: 'view', eventTime: time };
  });
  const file = inputFile(`actions-${rows}-${pick(2 ** 30)}.ndjson`, actions);
  for (const { log, codec, config } of [live, embedded]) {
    await loadActions({ log, codec, file, dataDir: config.dataDir, format: 'ndjson' });
  }
}

/** Sixteenths, which are exact. */
const vector = (): number[] => Array.from({ length: 4 }, () => pick(32) / 16 - 1);

beforeAll(async () => {
  const broker = await startOwnKafka();
  env = {
    ...{ ...common, FRESHET_BROKERS: broker.brokers.join(','), FRESHET_REGISTRY: kafkaForTests().registry },
    ...{ FRESHET_DATA_DIR: join(folder, 'live'), FRESHET_KAFKA_SESSION_TIMEOUT_MS: '30000' },
    ...{ FRESHET_KAFKA_HEARTBEAT_INTERVAL_MS: '500' },
  };
  await succeed(['topics', 'apply'], { env });
  [live, embedded] = await Promise.all([open(env), open({ FRESHET_DATA_DIR: join(folder, 'embedded') })]);
  const items = Array.from({ length: ITEMS - 5 }, (_, at) => ({ itemId: `i${at}`, vector: vector() }));
  const longTerm = users.slice(0, 30).map((userId) => ({ userId, vector: vector() }));
  const given = { space: SPACE, version: 'v1' };
  const files = { items: inputFile('items.ndjson', items), users: inputFile('users.ndjson', longTerm) };
  for (const { log, codec } of [live, embedded]) {
    await loadItemVectors({ log, codec, file: files.items, ...given });
    await loadUserVectors({ log, codec, file: files.users, asOf: START_MS, ...given });
    await activateVersion(log, codec, 'v1', { space: SPACE, timestampMs: START_MS });
  }
}, LIMIT_MS);

afterAll(async () => {
  await live.close();
  await embedded.close();
});

/** Of the newest features of all users, by partition and key. */
const newestFeatures = (log: Log): Promise<string[]> => newestBodies(log, live.codec, 'sequence-features', PARTITIONS);

/** Each features record that was ever written, by partition and version. */
async function emitted(): Promise<Map<string, { userId: string; body: string }>> {
  const { log, codec } = live;
  const found = new Map<string, { userId: string; body: string }>();
  for (let partition = 0; partition < PARTITIONS; partition += 1) {
    const at = { topic: 'sequence-features', partition };
    for await (const { value } of records(log, at, await log.startOffset(at), await log.endOffset(at))) {
      const { userId, version } = codec.decode<SequenceFeaturesRecord>('sequence-features-value', value!);
      found.set(`${partition} ${version}`, { userId, body: codec.body(value!).toString('hex') });
    }
  }
  return found;
}

describe('verification', () => {
  it.each([1, 2, 4])(
    'finds equal all that was written, by %i workers at the end',
    async (workers) => {
      await load(PART_ROWS);
      const before = await emitted();
      const ran = await run<RunResult>('run', '--until-end', `--workers=${workers}`);
      // Activations stand in the first part.
      expect(ran.records).toBe(PART_ROWS + (workers === 1 ? PARTITIONS : 0));
      const written = (await emitted()).size;
      expect(written).toBe(before.size + ran.features);
      expect(ran.features).toBeGreaterThan(USERS);
      expect(await run('replay', '--verify', '--json')).toMatchObject({
        ...{ compared: written, equal: written, differing: 0, missing: 0, extra: 0, unverifiable: 0 },
        ...{ causes: [], gaps: [] },
      });
    },
    LIMIT_MS,
  );
});

describe('as of', () => {
  it('a moment and an offset, every user is what the embedded log says', async () => {
    const layout = layoutOf(live.config);
    const all: UserAsOf[][] = [];
    for (const deployment of [live, embedded]) {
      const { users: pasts, moments, gaps } = await readPasts(deployment, users, 60);
      expect([pasts.size, gaps]).toEqual([USERS, []]);
      all.push(
        [...pasts.values()].flatMap((past) =>
          [{ timeMs: START_MS + 3 * 3_600_000 }, moments.get(past.partition)!].flatMap((moment) =>
            [0, 90_000].map((lagMs) => userAsOf(past, moment, lagMs, layout)),
          ),
        ),
      );
    }
    expect(all[0]).toEqual(all[1]);
    const shown = all[0]!.filter(({ servable, differences }) => servable !== null && differences.length > 0);
    expect(shown.length).toBeGreaterThan(0);
    const [user] = users;
    const told = await run<UserAsOf>('asof', `--user=${user}`, '--at-offset=60', '--json');
    expect(told).toEqual(
      JSON.parse(JSON.stringify(all[0]!.find(({ userId, timeMs }) => userId === user && timeMs === told.timeMs))),
    );
  });
});

describe('backfill', () => {
  it('makes each record again that a worker has written, for a label just behind its version', async () => {
    const found = await emitted();
    const labels = [...found].map(([name, { userId }]) => ({ userId, position: Number(name.split(' ')[1]) + 1 }));
    const out = join(folder, 'rows');
    await run('backfill', inputFile('labels.ndjson', labels), `--out=${out}`, '--with-record', '--json');
    const file = await asyncBufferFromFile(join(out, 'part-00000.parquet'));
    const columns = ['partition', 'version', 'record'];
    const rows = await parquetReadObjects({ file, columns, compressors, utf8: false });
    const made = rows.map(({ partition, version, record }) => [
      `${partition as number} ${version as bigint}`,
      Buffer.from(record as Uint8Array).toString('hex'),
    ]);
    const expected = Array.from(found, ([name, { body }]) => [name, body]);
    expect(made.sort()).toEqual(expected.sort());
  });
});

describe('skew', () => {
  it('finds none in the ranking features of an honest deployment', async () => {
    const report = await run<SkewReport>('skew', '--json');
    expect(report).toMatchObject({ rejected: {}, examples: [] });
    // Undated: users who have not acted yet when their long-term vector comes, if the join reads that first.
    expect(report.equal).toBe(report.served - report.undated);
    expect(report.equal).toBeGreaterThan(2 * USERS);
    expect(Object.keys(report.features)).toEqual(expect.arrayContaining(['engagement.itemIds', 'intent.click']));
  });
});

describe('a replay into topics behind a prefix', () => {
  it('gives the features of the deployment, goes on where it was, and leaves the deployment as it is', async () => {
    const prefix = 'trial.';
    const before = await standing();
    const first = await run('replay', `--topic-prefix=${prefix}`, '--json', '--to=100');
    expect(first).toMatchObject({ target: { topicPrefix: prefix }, records: 100 * PARTITIONS, complete: true });
    const rest = await run('replay', `--topic-prefix=${prefix}`, '--json');
    expect(rest).toMatchObject({ records: 3 * PART_ROWS - 99 * PARTITIONS, complete: true });
    const target = openKafkaLog(live.config, silent, { topicPrefix: prefix });
    try {
      const expected = new Set(await newestFeatures(live.log));
      expect((await newestFeatures(target)).filter((body) => !expected.delete(body))).toEqual([]);
      expect(expected.size).toBe(0);
    } finally {
      await target.close();
    }
    expect(await standing()).toEqual(before);
    expect(JSON.parse(readFileSync(join(folder, 'live', 'replay', prefix, 'replay.json'), 'utf8'))).toMatchObject({
      partitions: PARTITIONS,
    });
  });

  /** Where the topics of the deployment end, and what it has committed. */
  async function standing(): Promise<unknown[]> {
    const { log, config } = live;
    const found: unknown[] = [];
    for (const topic of ['user-actions', 'sequence-features', 'ranking-features']) {
      for (let partition = 0; partition < PARTITIONS; partition += 1) {
        const at = { topic, partition };
        found.push([topic, partition, await log.endOffset(at), await log.committed(config.appId, at)]);
      }
    }
    return found;
  }
});
