/** Clients in another language, made of public packages alone, on both ends of the job: examples/python. */
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { partitionOf } from '../src/base/murmur2.ts';
import { packagePath } from '../src/base/package-root.ts';
import { inputFile, jsonLines, succeed, USER_MARK } from './support/cli.ts';
import { kafkaForTests, startOwnKafka } from './support/kafka.ts';
import { pythonEnvironment } from './support/python.ts';
import { tempDir } from './support/temp-dir.ts';

interface ReadRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly timestampMs: number;
  readonly key: string;
  readonly value: { readonly sequences: readonly { readonly itemIds: readonly string[] }[] };
}

const PARTITIONS = 8;
const DIMENSION = 48;
const ACTIONS = 6_000;
const ACTIONS_A_USER = 20;
const ENDINGS = ['', 'ü', 'ß-ñ', '😀', '用户', 'Ω "q"', 'пользователь', '\u{1f469}\u{200d}\u{1f680}'];
const USERS = Array.from(
  { length: ACTIONS / ACTIONS_A_USER },
  (_, index) => `${USER_MARK}${index}${ENDINGS[index % ENDINGS.length]}`,
);
/** Fewer than the window holds, one a second: the newest stands first. */
const ITEMS = Array.from({ length: ACTIONS_A_USER }, (_, index) => `item-${index}-é`);
const FIRST_MS = Date.UTC(2026, 0, 1);

const folder = tempDir();
let environment: Record<string, string>;
let venv: string;

/** A folder that looks like a clone's root and has a .venv of its own, so that what a README says is done as it says. */
function cloneRoot(): string {
  const root = join(folder, 'clone');
  mkdirSync(root);
  for (const name of ['bin', 'examples', 'node_modules', 'package.json'])
    symlinkSync(packagePath(name), join(root, name));
  // Made before, by the cache: the README's commands find that nothing is left to be downloaded.
  cpSync(venv, join(root, '.venv'), { recursive: true, verbatimSymlinks: true });
  return root;
}

async function sh(command: string, cwd: string): Promise<string> {
  const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env['PATH']}`, ...environment };
  const { stdout } = await promisify(execFile)('sh', ['-euc', command], { cwd, env, maxBuffer: 256 * 1024 * 1024 });
  return stdout;
}

const python = (script: string, ...args: string[]): Promise<string> =>
  sh(
    `'${venv}/bin/python' examples/python/${script} --brokers "$FRESHET_BROKERS" --registry "$FRESHET_REGISTRY" ${args.join(' ')}`,
    packagePath(),
  );

const freshet = (...args: string[]): Promise<string> => succeed(args, { env: environment });

const readByFreshet = async (topic: string): Promise<ReadRecord[]> =>
  jsonLines<ReadRecord & { headers: object }>(await freshet('read', topic, '--json', '--limit=1000000')).map(
    ({ headers: _, ...record }) => record,
  );

const inOrder = (records: readonly ReadRecord[]): ReadRecord[] =>
  [...records].sort((a, b) => a.topic.localeCompare(b.topic) || a.partition - b.partition || a.offset - b.offset);

beforeAll(async () => {
  venv = pythonEnvironment();
  const kafka = await startOwnKafka();
  environment = {
    FRESHET_BROKERS: kafka.brokers.join(','),
    FRESHET_REGISTRY: kafkaForTests().registry,
    FRESHET_DATA_DIR: join(folder, 'data'),
  };
}, 300_000);

describe('examples/python', () => {
  it('does what its README says, command by command', async () => {
    const text = readFileSync(packagePath('examples', 'python', 'README.md'), 'utf8');
    const blocks = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, commands]) => commands!);
    expect(blocks).toHaveLength(2);
    const root = cloneRoot();
    await sh(blocks[0]!, root);
    const lines = (await sh(blocks[1]!, root)).split('\n');
    expect(lines).toContainEqual(expect.stringMatching(/^\{"produced": 5, /));
    const records = lines.filter((line) => line.startsWith('{"topic":')).map((line) => JSON.parse(line) as ReadRecord);
    expect(records.map(({ topic, key }) => `${topic} ${key}`).sort()).toEqual([
      'ranking-features ada',
      'ranking-features žofie',
      'sequence-features ada',
      'sequence-features žofie',
    ]);
    expect(records.find(({ key }) => key === 'žofie')!.value.sequences[0]!.itemIds).toEqual(['article-3', 'article-2']);
  }, 180_000);

  it('feeds what Freshet takes whole, in the partitions where it expects it', async () => {
    const rows = ITEMS.flatMap((itemId, index) =>
      USERS.map((userId) => ({ userId, itemId, actionType: 'view', eventTimeMs: FIRST_MS + index * 1000 })),
    );
    const file = inputFile('actions.ndjson', rows);
    const before = JSON.parse(await freshet('run', '--until-end')) as { total: { actionsRead: number } };
    const produced = JSON.parse(await python('produce_actions.py', file)) as { produced: number; partitions: object };
    expect(produced.produced).toBe(ACTIONS);

    const expected: Record<string, number> = {};
    for (const user of USERS) {
      const partition = String(partitionOf(Buffer.from(user), PARTITIONS));
      expected[partition] = (expected[partition] ?? 0) + ACTIONS_A_USER;
    }
    expect(produced.partitions).toEqual(expected);

    const users = USERS.slice(0, 10).map((userId, index) => ({
      userId,
      vector: Array.from({ length: DIMENSION }, (_, at) => (at === index ? 0.1 : 1e-8)),
    }));
    const vectors = inputFile('users.ndjson', users);
    await freshet('vectors', 'load', vectors, '--kind=user', '--version=v1', `--as-of=${FIRST_MS}`);
    expect(JSON.parse(await freshet('run', '--until-end'))).toMatchObject({
      records: ACTIONS,
      total: {
        actionsRead: before.total.actionsRead + ACTIONS,
        accepted: before.total.actionsRead + ACTIONS,
        rejected: { duplicate: 0, late: 0, future: 0 },
      },
    });
  });

  it('reads every record as Freshet does', async () => {
    const byPython = jsonLines<ReadRecord>(await python('consume_features.py', '--until-end'));
    const byFreshet = [...(await readByFreshet('sequence-features')), ...(await readByFreshet('ranking-features'))];
    expect(inOrder(byPython)).toEqual(inOrder(byFreshet));

    const newest = new Map(inOrder(byPython).map((record) => [`${record.topic} ${record.key}`, record]));
    const newestFirst = [...ITEMS].reverse();
    for (const user of USERS) {
      const features = newest.get(`sequence-features ${user}`);
      expect(features?.value.sequences[0]!.itemIds).toEqual(newestFirst);
      const hasLongTerm = USERS.indexOf(user) < 10;
      expect(newest.get(`ranking-features ${user}`)?.value).toMatchObject({
        userId: user,
        hasRealtime: true,
        hasLongTerm,
        realtime: { partition: features?.partition, offset: features?.offset },
      });
    }
  });
});

describe('without Python', () => {
  it('fails with what to install', () => {
    const path = process.env['PATH'];
    process.env['PATH'] = folder;
    try {
      expect(() => pythonEnvironment()).toThrow('install Python 3.9 or newer');
    } finally {
      process.env['PATH'] = path;
    }
  });
});
