/**
 * Workers as their operators start them, on a real broker: threads and processes that share the partitions, come and go,
 * and leave in the end what one embedded run makes of the same input, byte for byte.
 */
import { createReadStream, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { createGunzip } from 'node:zlib';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../src/base/config.ts';
import { packagePath } from '../src/base/package-root.ts';
import { loadActions } from '../src/ingest/load-actions.ts';
import { recordsBehind } from '../src/observe/lag.ts';
import { Deployment } from '../src/run/deployment.ts';
import { hashDeployment, type DeploymentHash } from '../src/run/inspect.ts';
import { tallyOf, type Tally } from '../src/run/tally.ts';
import { CliProcess, freshet, jsonLines, logLines, succeed, type CliResult } from './support/cli.ts';
import type { LocalKafka } from '../src/local-kafka/local-kafka.ts';
import { drive } from './support/kill-deployment.ts';
import { kafkaForTests, startOwnKafka } from './support/kafka.ts';
import { tempDir } from './support/temp-dir.ts';

const PARTITIONS = 6;
const PART_ROWS = 3_000;
const PARTS = 4;
const LIMIT_MS = 120_000;

const folder = tempDir();
const common = {
  FRESHET_PARTITIONS: String(PARTITIONS),
  FRESHET_MODEL: packagePath('test', 'fixtures', 'intent', 'small'),
  FRESHET_COMMIT_INTERVAL_MS: '200',
};
let broker: LocalKafka;
let kafka: Record<string, string>;
/** To write the input, and to see how far the workers are; in this process, as no test is about that. */
let onlooker: Deployment;
/** The same input on the embedded log, alone. */
let embedded: Deployment;

interface Ran {
  readonly records: number;
  readonly features: number;
  readonly ranked: number;
  readonly total: Tally;
}

const onKafka = (name: string, more: Record<string, string> = {}): { env: Record<string, string> } => ({
  env: { ...common, ...kafka, FRESHET_DATA_DIR: join(folder, name), ...more },
});
const open = (env: Record<string, string>): Promise<Deployment> =>
  Deployment.open(loadConfig({ env, flags: {}, cwd: folder }), pino({ level: 'silent' }));
const lastJson = <T>(text: string): T => jsonLines<T>(text).at(-1)!;
const part = (index: number): string => join(folder, `part-${index}.csv`);
const hash = async (): Promise<DeploymentHash> =>
  lastJson(await succeed(['inspect', '--hash', '--json'], onKafka('a')));

async function load(index: number, ...deployments: readonly Deployment[]): Promise<void> {
  for (const { log, codec, config } of deployments) {
    await loadActions({ log, codec, file: part(index), dataDir: config.dataDir, format: 'deskdrop' });
  }
}

/** What an embedded run makes of the input so far. */
async function runEmbedded(): Promise<{ total: Tally; hash: DeploymentHash }> {
  const total = tallyOf(await drive(embedded, await embedded.loadScorer()));
  return { total, hash: await hashDeployment(embedded) };
}

/** Waits until every record of the input is committed. */
async function consumed(): Promise<void> {
  const { log, config } = onlooker;
  const endMs = performance.now() + 60_000;
  for (let partition = 0; partition < PARTITIONS;) {
    const at = { topic: 'user-actions', partition };
    const behind = await recordsBehind(log, { at, offset: (await log.committed(config.appId, at))?.offset ?? 0 });
    if (behind === 0) partition += 1;
    else if (performance.now() > endMs) throw new Error(`${behind} records of partition ${partition} not consumed`);
    else await sleep(100);
  }
  const status = lastJson<{ partitions: { features: { lag: number } }[] }>(
    await succeed(['status', '--json'], onKafka('status')),
  );
  expect(status.partitions.map(({ features }) => features.lag)).toEqual(Array(PARTITIONS).fill(0));
}

beforeAll(async () => {
  broker = await startOwnKafka();
  kafka = {
    FRESHET_BROKERS: broker.brokers.join(','),
    FRESHET_REGISTRY: kafkaForTests().registry,
    FRESHET_KAFKA_SESSION_TIMEOUT_MS: '6000',
    FRESHET_KAFKA_HEARTBEAT_INTERVAL_MS: '500',
  };
  embedded = await open({ ...common, FRESHET_DATA_DIR: join(folder, 'embedded') });
  const rows = createInterface(
    createReadStream(packagePath('data', 'deskdrop', 'actions.csv.gz')).pipe(createGunzip()),
  );
  const lines: string[] = [];
  for await (const row of rows) {
    lines.push(row);
    if (lines.length > PARTS * PART_ROWS) break;
  }
  mkdirSync(folder, { recursive: true });
  for (let index = 0; index < PARTS; index += 1) {
    const some = lines.slice(1 + index * PART_ROWS, 1 + (index + 1) * PART_ROWS);
    writeFileSync(part(index), `${[lines[0], ...some].join('\n')}\n`);
  }
}, LIMIT_MS);

afterAll(async () => {
  await embedded.close();
  await onlooker.close();
});

describe('freshet run on Kafka', () => {
  it('refuses to start without topics, with the remedy', async () => {
    const result = await freshet(['run', '--until-end'], onKafka('a'));
    expect([result.exitCode, result.stdout]).toEqual([4, '']);
    expect(logLines(result).at(-1)).toMatchObject({
      code: 'TOPIC_CONFIG',
      remedy: expect.stringContaining('freshet topics apply') as string,
    });
    await succeed(['topics', 'apply'], onKafka('a'));
    onlooker = await open(onKafka('onlooker').env);
  });

  it(
    'until the end gives the same states and features as the embedded log, and disturbs no worker by looking',
    async () => {
      await load(0, embedded, onlooker);
      const alone = await runEmbedded();
      const one = lastJson<Ran>(await succeed(['run', '--until-end'], onKafka('a')));
      expect(one.total).toEqual(alone.total);
      expect([one.records, one.features > 0, one.ranked > 0]).toEqual([PART_ROWS, true, true]);
      expect(await hash()).toEqual(alone.hash);
      expect(lastJson(await succeed(['run', '--until-end'], onKafka('a')))).toEqual({
        records: 0,
        features: 0,
        ranked: 0,
        total: alone.total,
      });
    },
    LIMIT_MS,
  );

  it(
    'with threads shares the partitions, and ends when all are at the end',
    async () => {
      await load(1, embedded, onlooker);
      const alone = await runEmbedded();
      const result = await freshet(['run', '--until-end', '--workers=3'], onKafka('a'));
      expect(result.exitCode, result.stderr).toBe(0);
      expect(lastJson<Ran>(result.stdout)).toMatchObject({ records: PART_ROWS, total: alone.total });
      const assigned = logLines(result).filter(({ code }) => code === 'ASSIGNED') as unknown as Assigned[];
      const last = Math.max(...assigned.map(({ generation }) => generation));
      const ends = assigned.filter(({ generation }) => generation === last).map(({ partitions }) => partitions);
      expect(ends.flat().sort()).toEqual([...Array(PARTITIONS).keys()]);
      expect(ends.map(({ length }) => length)).toEqual([2, 2, 2]);
      expect(await hash()).toEqual(alone.hash);
    },
    LIMIT_MS,
  );

  it(
    'by processes that come, are told to stop, and are killed, loses and doubles nothing',
    async () => {
      const first = new CliProcess(['run', '--workers=2'], onKafka('first'));
      await first.logged('RUNNING');
      const second = new CliProcess(['run'], onKafka('second', { FRESHET_STANDBY: 'true' }));
      await second.logged('RUNNING');
      const loading = load(2, onlooker);
      const stopped = await first.stop('SIGTERM');
      expect(stopped.exitCode, stopped.stderr).toBe(0);
      expect(stopped.tookMs).toBeLessThan(15_000);
      await loading;
      const third = new CliProcess(['run'], onKafka('third'));
      await third.logged('RUNNING');
      await second.stop('SIGKILL');
      await load(3, onlooker);
      await consumed();
      const end = await third.stop('SIGTERM');
      expect(end.exitCode, end.stderr).toBe(0);

      await load(2, embedded);
      await load(3, embedded);
      const alone = await runEmbedded();
      const after = lastJson<Ran>(await succeed(['run', '--until-end'], onKafka('a')));
      expect(after).toMatchObject({ records: 0, total: alone.total });
      expect(await hash()).toEqual(alone.hash);
    },
    LIMIT_MS * 2,
  );

  it(
    'waits for a broker that is away, and stops in time when it does not answer',
    async () => {
      await broker.stopBroker();
      const worker = new CliProcess(['run', '--workers=2'], onKafka('a'));
      await worker.logged('LOG_UNAVAILABLE');
      const early = new CliProcess(['run'], onKafka('early'));
      await early.logged('LOG_UNAVAILABLE');
      const stoppedEarly = await early.stop('SIGTERM');
      expect(stoppedEarly.exitCode, stoppedEarly.stderr).toBe(0);
      await broker.startBroker();
      await worker.logged('RUNNING');
      await load(0, onlooker);
      broker.pauseBroker();
      const stopped = await worker.stop('SIGTERM');
      broker.resumeBroker();
      expect(stopped.exitCode, stopped.stderr).toBe(0);
      expect(stopped.tookMs).toBeLessThan(25_000);
    },
    LIMIT_MS,
  );

  it(
    'ends all threads with the error of one that a person has to mend',
    async () => {
      // The layout belongs to the app id: another window size is refused by each task.
      const sequences = JSON.stringify([{ name: 'engagement', windowSize: 50 }]);
      const result = await freshet(['run', '--workers=2'], onKafka('a', { FRESHET_SEQUENCES: sequences }));
      expect([result.exitCode, result.stdout]).toEqual([4, '']);
      expect(errorsOf(result)).toMatchObject([{ code: 'LAYOUT_CHANGED', remedy: expect.any(String) as string }]);
    },
    LIMIT_MS,
  );
});

interface Assigned {
  readonly generation: number;
  readonly partitions: readonly number[];
}

const ERROR_LEVEL = 50;
const errorsOf = (result: CliResult) => logLines(result).filter(({ level }) => level >= ERROR_LEVEL);
