/** The oldest Node that is allowed and the one of the tests make the same bytes: each verifies what the other has written. */
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { inputFile, jsonLines, succeed } from './support/cli.ts';
import { oldestNode } from './support/oldest-node.ts';
import { randomFrom } from './support/random.ts';
import { tempDir } from './support/temp-dir.ts';

const ROWS = 400;
const LIMIT_MS = 240_000;
const env = {
  FRESHET_PARTITIONS: '2',
  FRESHET_MODEL: packagePath('test', 'fixtures', 'intent', 'small'),
  FRESHET_COMMIT_MAX_RECORDS: '50',
  FRESHET_SEQUENCES: JSON.stringify([{ name: 'engagement', windowSize: 10, sealSize: 4 }]),
};
const folder = tempDir();
const random = randomFrom(3);
const pick = (count: number): number => Math.floor(random() * count);
const inputs = ['first', 'second'].map((name, part) =>
  inputFile(
    `${name}.ndjson`,
    Array.from({ length: ROWS }, (_, at) => ({
      ...{ userId: `user-${pick(20)}`, itemId: `i${pick(12)}`, actionType: ['view', 'like', 'unlike'][pick(3)] },
      eventTime: Date.parse('2026-01-02') + (part * ROWS + at + pick(5)) * 40_000,
    })),
  ),
);
const items = inputFile(
  'items.ndjson',
  Array.from({ length: 9 }, (_, at) => ({ itemId: `i${at}`, vector: [at, 1 / (at + 1), -at, 0.3] })),
);

const dataDir = join(folder, 'data');
const run = (node: string, ...args: string[]): Promise<string> =>
  succeed(args, { env: { ...env, FRESHET_DATA_DIR: dataDir }, node });

async function consume(node: string, part: number): Promise<void> {
  await run(node, 'load', inputs[part]!, '--format=ndjson');
  await run(node, 'run', '--until-end');
}

async function expectEqual(node: string): Promise<void> {
  const [report] = jsonLines<{ compared: number }>(await run(node, 'replay', '--verify', '--json'));
  expect(report).toMatchObject({ equal: report!.compared, missing: 0, unverifiable: 0, causes: [], gaps: [] });
  expect(report!.compared).toBeGreaterThan(50);
}

const present = process.execPath;
let oldest: string;

beforeAll(async () => {
  const found = await oldestNode();
  oldest = found.path;
  expect(found.version).not.toBe(process.versions.node);
}, LIMIT_MS);

it(
  'verifies under either Node what the other has written',
  async () => {
    await run(oldest, 'vectors', 'load', items, '--kind=item', '--version=v1');
    await run(present, 'vectors', 'activate', 'v1');
    await consume(oldest, 0);
    await expectEqual(present);
    await consume(present, 1);
    await expectEqual(oldest);
  },
  LIMIT_MS,
);
