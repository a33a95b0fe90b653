/** `freshet status` and what it is made of, on the embedded log: free, and held by a running process. */
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig, type Config } from '../src/base/config.ts';
import { encodeJoinMetadata } from '../src/join/join-metadata.ts';
import { HttpServer } from '../src/observe/http-server.ts';
import { probeLag, recordsBehind } from '../src/observe/lag.ts';
import { readStatus, type Status } from '../src/observe/status.ts';
import { Deployment } from '../src/run/deployment.ts';
import { encodeMetadata } from '../src/task/commit-metadata.ts';
import { layoutOf, stateLayoutHash } from '../state/layout.ts';
import type { TopicName } from '../topics/index.ts';
import { CliProcess, freshet, lines, logLines, succeed } from './support/cli.ts';
import { tempDir } from './support/temp-dir.ts';

const PARTITIONS = 2;
const dataDir = join(tempDir(), 'data');
const configOf = (flags: object): Config => loadConfig({ env: {}, flags: { dataDir, ...flags }, cwd: dataDir });
const config = configOf({ partitions: PARTITIONS });
const layout = stateLayoutHash(layoutOf(config));
const open = (): Promise<Deployment> => Deployment.open(config, pino({ level: 'silent' }));

const record = (topic: TopicName, partition: number) => ({
  topic,
  partition,
  timestampMs: 0,
  key: Buffer.from('u'),
  value: Buffer.from('x'),
});

beforeAll(async () => {
  const deployment = await open();
  const { log } = deployment;
  await log.append(Array.from({ length: 10 }, () => record('user-actions', 1)));
  await log.append(Array.from({ length: 3 }, () => record('user-embeddings', 1)));
  const activation = { version: '2026-01-02', rowCount: 1, contentHash: 'c', space: 's' };
  const task = await log.openWriter('freshet-user-actions-1');
  await task.commit({
    outputs: Array.from({ length: 4 }, () => record('sequence-features', 1)),
    offsets: [{ input: { topic: 'user-actions', partition: 1 }, offset: 7 }],
    metadata: () => {
      const ends = { featuresEnd: 4, historyEnd: 0, rejectedEnd: 0, featuresStart: 0 };
      const metadata = encodeMetadata({ ...ends, activation, layout, counts: { accepted: 7 } });
      return JSON.stringify({ ...(JSON.parse(metadata) as object), committedAtMs: 1_700_000_000_000 });
    },
  });
  const ranking = await log.openWriter('freshet-join-1');
  await ranking.commit({
    outputs: [],
    offsets: [
      { input: { topic: 'sequence-features', partition: 1 }, offset: 3 },
      { input: { topic: 'user-embeddings', partition: 1 }, offset: 1 },
    ],
    metadata: () => encodeJoinMetadata({ rankingEnd: 0, rankingStart: 0, layout, counts: {} }),
  });
  await deployment.close();
});

const flags = ['--partitions=2', `--data-dir=${dataDir}`];

describe('the status', () => {
  const expected = {
    appId: 'freshet',
    layout,
    group: null,
    partitions: [
      {
        partition: 0,
        features: { committed: null, end: 0, lag: 0, itemVersion: null, layout: null, lastCommitMs: null },
        join: {
          features: { committed: null, end: 0, lag: 0 },
          vectors: { committed: null, end: 0, lag: 0 },
          layout: null,
          lastCommitMs: null,
        },
        owner: null,
      },
      {
        partition: 1,
        features: {
          committed: 7,
          end: 10,
          lag: 3,
          itemVersion: '2026-01-02',
          layout,
          lastCommitMs: 1_700_000_000_000,
        },
        join: {
          features: { committed: 3, end: 4, lag: 1 },
          vectors: { committed: 1, end: 3, lag: 2 },
          layout,
          lastCommitMs: null,
        },
        owner: null,
      },
    ],
  };

  it('is what every partition has committed, and what it has before it', async () => {
    const [line, ...more] = lines(await succeed(['status', '--json', ...flags]));
    expect(more).toEqual([]);
    const { atMs, ...status } = JSON.parse(line!) as Status;
    expect(status).toEqual(expected);
    expect(Math.abs(atMs - Date.now())).toBeLessThan(60_000);
  });

  it('is a table for people', async () => {
    const [summary, header, zero, one, ...more] = lines(await succeed(['status', ...flags]));
    expect(summary).toBe('freshet: 2 partitions, 3 records to go');
    const words = (line: string): string[] => line.trim().split(/ {2,}/);
    const columns = ['PARTITION', 'COMMITTED', 'END', 'LAG', 'JOIN LAG', 'ITEM VERSION', 'LAYOUT'];
    expect(words(header!)).toEqual([...columns, 'LAST COMMIT', 'OWNER']);
    expect(words(zero!)).toEqual(['0', '-', '0', '0', '0', '-', '-', '-', '-']);
    const layoutShown = layout.slice(0, 8);
    expect(words(one!)).toEqual([
      '1',
      '7',
      '10',
      '3',
      '3',
      '2026-01-02',
      layoutShown,
      expect.stringMatching(/^\d+ d ago$/),
      '-',
    ]);
    expect(more).toEqual([]);
  });

  it('tells of a state layout that is not the configured one', async () => {
    const sequences = JSON.stringify([{ name: 'engagement', windowSize: 50 }]);
    const [summary] = lines(await succeed(['status', ...flags, `--sequences=${sequences}`]));
    expect(summary).toContain('of another state layout than configured: 1 (LAYOUT_CHANGED)');
  });

  it('goes on with --watch until it is told to stop, and leaves the folder free between two looks', async () => {
    const watching = new CliProcess(['status', '--watch', '--json', ...flags]);
    let shown = '';
    watching.child.stdout!.on('data', (text: string) => (shown += text));
    await expect.poll(() => lines(shown).length, { timeout: 30_000 }).toBeGreaterThanOrEqual(2);
    const stopped = await watching.stop('SIGTERM');
    expect(stopped.exitCode).toBe(0);
    for (const line of lines(stopped.stdout))
      expect(JSON.parse(line)).toMatchObject({ partitions: expected.partitions });
  });
});

describe('while a process holds the data folder', () => {
  let running: Deployment;
  let server: HttpServer;
  beforeAll(async () => {
    running = await open();
    server = await HttpServer.open({
      host: '127.0.0.1',
      port: 0,
      logger: pino({ level: 'silent' }),
      health: () => ({ live: true, ready: true, reasons: [] }),
      metrics: () => Promise.resolve(''),
      status: () => readStatus(running.log, config, null),
    });
  });
  afterAll(async () => {
    await server.close();
    await running.close();
  });

  it('that process is asked', async () => {
    const status = JSON.parse(
      await succeed(['status', '--json', ...flags, `--http-port=${new URL(server.url).port}`]),
    ) as Status;
    expect(status.partitions[1]!.features).toMatchObject({ committed: 7, end: 10, lag: 3 });
  });

  it.each([
    ['no port is known', []],
    ['nothing answers there', ['--http-port=1']],
  ])('and %s: says what to do, exit 4', async (_, more) => {
    const result = await freshet(['status', '--json', ...flags, ...more]);
    expect([result.exitCode, result.stdout]).toEqual([4, '']);
    expect(logLines(result)).toMatchObject([
      { code: 'DATA_DIR_IN_USE', remedy: expect.stringContaining('--http-port') as string },
    ]);
  });

  it('and another application answers: says so', async () => {
    const port = `--http-port=${new URL(server.url).port}`;
    const result = await freshet(['status', ...flags, port, '--app-id=another']);
    expect(result.exitCode).toBe(4);
    expect(logLines(result)[0]!.msg).toContain('gives no status of the application another');
  });
});

describe('lag', () => {
  /** Ten offsets, of which these hold records; the others are markers, or were compacted away. */
  const logOf = (...offsets: number[]) => ({
    endOffset: () => Promise.resolve(10),
    read: (_: object, from: number) =>
      Promise.resolve(
        offsets
          .filter((offset) => offset >= from)
          .slice(0, 1)
          .map((offset) => ({ offset, timestampMs: 0, key: null, value: null, headers: {} })),
      ),
  });
  const at = { topic: 'sequence-features', partition: 0 };

  it.each([
    [3, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 7],
    [10, [9], 0],
    [9, [8], 0],
    [3, [2, 8], 2],
  ])('at %i, with records at %j, is %i', async (offset, records, lag) => {
    expect(await recordsBehind(logOf(...records), { at, offset })).toBe(lag);
  });

  it('is measured again and again, all inputs of a task together; what fails is left out', async () => {
    const stop = new AbortController();
    const task = (kind: 'features' | 'join', ...offsets: number[]) => ({
      task: { kind, partition: 0 },
      positions: offsets.map((offset) => ({ at, offset })),
    });
    const measured: [string, number][] = [];
    const log = logOf(0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
    const failing = (_: object, from: number) => (from === 6 ? Promise.reject(new Error('gone')) : log.read(at, from));
    await probeLag({
      log: { ...log, read: failing },
      tasks: () => [task('features', 6), task('join', 4, 9)],
      measured: ({ kind }, records) => {
        measured.push([kind, records]);
        if (measured.length === 2) stop.abort();
      },
      intervalMs: 1,
      signal: stop.signal,
    });
    expect(measured).toEqual([
      ['join', 7],
      ['join', 7],
    ]);
  });
});
