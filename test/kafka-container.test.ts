/** The image on Kafka, configured by nothing but its environment. */
import { chmodSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../src/local-kafka/ports.ts';
import { inputFile, jsonLines, logLines, USER_MARK } from './support/cli.ts';
import { Container, runContainer, type ContainerOptions } from './support/container.ts';
import { sharedImage } from './support/image.ts';
import { kafkaForTests, startOwnKafka } from './support/kafka.ts';
import { tempDir } from './support/temp-dir.ts';

/** `docker stop` kills what has not ended by then. */
const STOP_MS = 10_000;
const USERS = Array.from({ length: 40 }, (_, index) => `${USER_MARK}${index}`);
const ITEMS = ['i1', 'i2', 'i3', 'i4', 'i5'];
const FIRST_MS = Date.UTC(2026, 0, 1);

const folder = tempDir();
let container: ContainerOptions;
/** Rows of the input; the k-th part of it holds the k-th action of every user. */
const part = (index: number): object[] =>
  USERS.map((userId) => ({ userId, itemId: ITEMS[index], actionType: 'view', eventTime: FIRST_MS + index * 1000 }));

beforeAll(async () => {
  // The image's user is another than the test's.
  chmodSync(folder, 0o755);
  const image = await sharedImage();
  const kafka = await startOwnKafka();
  container = {
    image,
    volume: join(folder, 'volume'),
    environment: {
      FRESHET_BROKERS: kafka.brokers.join(','),
      FRESHET_REGISTRY: kafkaForTests().registry,
      FRESHET_APP_ID: 'container',
      FRESHET_COMMIT_INTERVAL_MS: '100',
      FRESHET_HTTP_PORT: String(await freePort()),
      // Which starts the processes of an image in half the time; a folder of the image's user, as all in it.
      NODE_COMPILE_CACHE: join(folder, 'volume', 'compiled'),
    },
  };
}, 300_000);

async function load(index: number): Promise<void> {
  const input = join(folder, 'input');
  mkdirSync(input, { recursive: true });
  const file = inputFile(`part-${index}.ndjson`, part(index));
  chmodSync(join(file, '..'), 0o755);
  const args = ['load', file, '--format=ndjson', '--json'];
  expect(await runContainer<object>({ ...container, args })).toMatchObject({ appended: USERS.length, rejected: {} });
}

/** The items of each user's newest features, newest first. */
async function windows(): Promise<Map<string, string[]>> {
  const args = ['read', 'sequence-features', '--json', '--limit=100000'];
  const { stdout } = await new Container({ ...container, args }).ended;
  const read = jsonLines<{ key: string; value: { sequences: { itemIds: string[] }[] } }>(stdout);
  return new Map(read.map(({ key, value }) => [key, value.sequences[0]!.itemIds]));
}

const everybody = (items: readonly string[]): Map<string, string[]> =>
  new Map(USERS.map((user) => [user, [...items].reverse()]));

describe('the image, given brokers and registry by its environment', () => {
  it('makes the topics, runs the job until SIGTERM, says that it is healthy, and ends with 0', async () => {
    const applied = await runContainer<object>({ ...container, args: ['topics', 'apply', '--json'] });
    expect(applied).toMatchObject({ equal: true });
    await load(0);
    const live = new Container(container);
    await live.logged('RUNNING');
    expect(await live.health()).toBe(0);
    await load(1);
    await expect.poll(windows, { timeout: 30_000 }).toEqual(everybody(ITEMS.slice(0, 2)));

    const stoppedMs = performance.now();
    const stopped = await live.stop('SIGTERM');
    expect(stopped.exitCode).toBe(0);
    expect(performance.now() - stoppedMs).toBeLessThan(STOP_MS);
    expect(logLines(stopped).at(-1)).toMatchObject({ code: 'CLOSED' });
    expect(await live.health()).toBe(1);
  });

  it('goes on with its volume, and the same with an empty one: everything is in the log', async () => {
    for (const [index, volume] of [container.volume, join(folder, 'another-volume')].entries()) {
      await load(2 + index);
      const result = await runContainer<object>({ ...container, volume, args: ['run', '--until-end'] });
      const actionsRead = USERS.length * (3 + index);
      expect(result).toMatchObject({ records: USERS.length, total: { actionsRead, accepted: actionsRead } });
      expect(await windows()).toEqual(everybody(ITEMS.slice(0, 3 + index)));
      expect(readdirSync(volume)).not.toContain('log');
    }
  });

  it('waits where no broker answers: a restart would not help, and SIGTERM still ends it with 0', async () => {
    const environment = { ...container.environment, FRESHET_BROKERS: `127.0.0.1:${await freePort()}` };
    const waiting = new Container({ ...container, environment });
    await waiting.logged('LOG_UNAVAILABLE');
    expect(await waiting.health()).toBe(0);
    const stopped = await waiting.stop('SIGTERM');
    expect(stopped.exitCode).toBe(0);
    expect(logLines(stopped).map(({ code }) => code)).not.toContain('RUNNING');
  });
});
