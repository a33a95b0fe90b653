/** States that need a person (exit 4, with the remedy), and a live `run` that is told to stop. */
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { pino } from 'pino';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../src/base/config.ts';
import { packagePath } from '../src/base/package-root.ts';
import { recordKey } from '../src/log/embedded-record.ts';
import { Deployment } from '../src/run/deployment.ts';
import { declareTopics } from '../topics/index.ts';
import { CliProcess, freshet, inputFile, jsonLines, logLines, succeed, USER_MARK } from './support/cli.ts';
import { tempDir } from './support/temp-dir.ts';

const ACTIONS = 3_000;
const PARTITIONS = 2;
const FLAGS = ['--partitions=2', `--model=${packagePath('test', 'fixtures', 'intent', 'small')}`];

const folder = tempDir();
/** A folder with actions of which none is consumed yet; each test takes a copy. */
const origin = join(folder, 'origin');

beforeAll(async () => {
  const rows = Array.from({ length: ACTIONS }, (_, at) => `${USER_MARK}${at % 50},i${at % 7},view,${at}`);
  const file = inputFile('states.csv', ['userId,itemId,actionType,eventTime', ...rows]);
  await succeed(['load', file, '--format=csv', ...FLAGS, `--data-dir=${origin}`]);
});

let copies = 0;
function copy(): string {
  const dataDir = join(folder, `copy-${(copies += 1)}`);
  cpSync(origin, dataDir, { recursive: true });
  return dataDir;
}

interface RunResult {
  readonly records: number;
  readonly total: { readonly actionsRead: number; readonly accepted: number };
}

const runArgs = (dataDir: string, ...more: string[]) => ['run', ...FLAGS, `--data-dir=${dataDir}`, ...more];
const untilEnd = async (dataDir: string, ...more: string[]): Promise<RunResult> =>
  jsonLines<RunResult>(await succeed(runArgs(dataDir, '--until-end', ...more)))[0]!;

/** Exit 4, nothing on stdout, and as the last line of the log the code, the position and a remedy. */
async function needsPerson(args: readonly string[], line: object): Promise<void> {
  const result = await freshet(args);
  expect([result.exitCode, result.stdout]).toEqual([4, '']);
  expect(logLines(result).at(-1)).toMatchObject({ ...line, remedy: expect.stringMatching(/\w+/) as string });
}

describe('exit 4', () => {
  it.concurrent('a gap in the log', async () => {
    const dataDir = copy();
    const topicId = declareTopics(PARTITIONS).findIndex(({ name }) => name === 'user-actions');
    const level = new ClassicLevel<Buffer, Buffer>(join(dataDir, 'log'), { keyEncoding: 'buffer' });
    const key = recordKey(topicId, 1, 100);
    expect(await level.has(key)).toBe(true);
    await level.del(key);
    await level.close();
    const position = { topic: 'user-actions', partition: 1, offset: 100 };
    await needsPerson(runArgs(dataDir, '--until-end'), { code: 'LOG_GAP', ...position });
  });

  it.concurrent('an activation of a version whose table is not complete; loading it again mends that', async () => {
    const dataDir = copy();
    const items = inputFile('items.ndjson', [
      { itemId: 'i1', vector: [1, 2, 3, 4] },
      { itemId: 'i2', vector: [4, 3, 2, 1] },
    ]);
    const load = ['vectors', 'load', items, '--kind=item', '--version=v1', ...FLAGS, `--data-dir=${dataDir}`];
    await succeed(load);
    const activate = ['vectors', 'activate', 'v1', '--partitions=2', `--data-dir=${dataDir}`];
    // The shipped model was not trained on these vectors.
    await needsPerson(activate, { code: 'SPACE_MISMATCH' });
    await succeed([...activate, ...FLAGS]);
    await removeRow(dataDir, 'v1/i2');
    const msg = expect.stringContaining('version v1') as string;
    await needsPerson(runArgs(dataDir, '--until-end'), { code: 'ITEM_VERSION_INCOMPLETE', msg });
    await succeed(load);
    expect((await untilEnd(dataDir)).total).toMatchObject({ actionsRead: ACTIONS, accepted: ACTIONS });
  });

  it.concurrent('another state layout than the folder was written with; the old one still works', async () => {
    const dataDir = copy();
    await untilEnd(dataDir);
    const sequences = JSON.stringify([{ name: 'engagement', windowSize: 50 }]);
    await needsPerson(runArgs(dataDir, '--until-end', `--sequences=${sequences}`), { code: 'LAYOUT_CHANGED' });
    expect(await untilEnd(dataDir)).toMatchObject({ records: 0 });
  });

  it.concurrent('another number of partitions', async () => {
    const args = ['run', '--until-end', '--partitions=3', `--data-dir=${copy()}`];
    await needsPerson(args, { code: 'PARTITIONS_CHANGED', topic: 'user-actions' });
  });

  it.concurrent('a data folder that is a file', async () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    await needsPerson(['topics', 'list', `--data-dir=${file}`], { code: 'STORAGE_FAILED' });
  });

  it.concurrent('a model that is none', async () => {
    const args = ['run', `--model=${folder}`, '--partitions=2', `--data-dir=${copy()}`];
    await needsPerson(args, { code: 'MODEL_INVALID' });
  });
});

describe('a live run', () => {
  it.concurrent.each(['SIGTERM', 'SIGINT'] as const)(
    'closes cleanly at %s, and nothing is to be redone',
    async (signal) => {
      const dataDir = copy();
      // Small commits, so that the signal comes between two of them.
      const live = new CliProcess(runArgs(dataDir, '--commit-max-records=5'));
      await live.logged('RUNNING');
      await needsPerson(runArgs(dataDir, '--until-end'), { code: 'DATA_DIR_IN_USE' });
      const stopped = await live.stop(signal);
      expect(stopped.exitCode).toBe(0);
      expect(stopped.tookMs).toBeLessThan(3_000);
      expect(logLines(stopped).map(({ code }) => code)).toEqual(['RUNNING', 'CLOSED']);

      const first = jsonLines<RunResult>(stopped.stdout)[0]!;
      expect(first.total.actionsRead).toBe(first.records);
      const second = await freshet(runArgs(dataDir, '--until-end'));
      expect(second.exitCode).toBe(0);
      // A folder closed without care would be restored from the log first.
      expect(logLines(second).map(({ code }) => code)).toEqual(['RUNNING', 'CLOSED']);
      expect(jsonLines<RunResult>(second.stdout)[0]).toMatchObject({
        records: ACTIONS - first.records,
        total: { actionsRead: ACTIONS, accepted: ACTIONS },
      });
      expect(await untilEnd(dataDir)).toMatchObject({ records: 0 });
    },
  );

  it('that is told to stop before the folder is open ends with exit 0 as well', async () => {
    const dataDir = join(folder, 'unopened');
    const preload = join(folder, 'stop-early.mjs');
    // The process stops itself as soon as it listens, which has to be before it opens anything.
    writeFileSync(
      preload,
      `import { existsSync } from 'node:fs';
      process.on('newListener', (name) => {
        if (name === 'SIGTERM' && !existsSync(${JSON.stringify(dataDir)})) process.nextTick(process.kill, process.pid, name);
      });`,
    );
    const result = await freshet(runArgs(dataDir), { env: { NODE_OPTIONS: `--import=${preload}` } });
    expect(result.exitCode).toBe(0);
    expect(jsonLines<RunResult>(result.stdout)).toMatchObject([{ records: 0 }]);
  }, 10_000);
});

/** Takes a row out of `item-embeddings`, as compaction or a person would. */
async function removeRow(dataDir: string, key: string): Promise<void> {
  const config = loadConfig({ env: {}, flags: { dataDir, partitions: PARTITIONS }, cwd: dataDir });
  const { log } = await Deployment.open(config, pino({ level: 'silent' }));
  const at = { topic: 'item-embeddings', partition: 0, timestampMs: 0 };
  await log.append([{ ...at, key: Buffer.from(key), value: null }]);
  await log.close();
}
