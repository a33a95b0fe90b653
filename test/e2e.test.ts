/** File to features by the commands, for every user, against the independent oracle. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../src/base/config.ts';
import { FreshetError } from '../src/base/errors.ts';
import { packagePath } from '../src/base/package-root.ts';
import { Deployment } from '../src/run/deployment.ts';
import { inspectUser } from '../src/run/inspect.ts';
import { inspectedSequence, oracle, readDeskdrop, type OracleOptions, type OracleRecord } from './oracle.ts';
import { inputFile, jsonLines, succeed } from './support/cli.ts';
import { FC_OPTIONS } from './support/seed.ts';
import { tempDir } from './support/temp-dir.ts';

const HOUR_MS = 3_600_000;
const OPTIONS: OracleOptions = {
  windowSize: 100,
  sealSize: 32,
  maxFutureMs: HOUR_MS / 12,
  maxAgeMs: null,
  sessionGapMs: HOUR_MS / 2,
  undo: { unlike: 'like', unbookmark: 'bookmark', unfollow: 'follow' },
  halfLivesMs: [24 * HOUR_MS, 720 * HOUR_MS],
};

interface RunResult {
  readonly records: number;
  readonly features: number;
  readonly ranked: number;
  readonly total: {
    readonly actionsRead: number;
    readonly accepted: number;
    readonly rejected: Record<string, number>;
  };
}

const load = (file: string, format: string, dataDir: string): Promise<string> =>
  succeed(['load', file, `--format=${format}`, `--data-dir=${dataDir}`]);
const runJson = async <T>(...args: string[]): Promise<T> => jsonLines<T>(await succeed(args))[0]!;

async function open(dataDir: string, file?: string): Promise<Deployment> {
  const config = loadConfig({ file, env: {}, flags: { dataDir }, cwd: dataDir });
  return Deployment.open(config, pino({ level: 'silent' }));
}

/** Compares what is held of each user; a user of whom nothing was taken is unknown. */
async function agreeOnAll(
  deployment: Deployment,
  users: ReadonlyMap<string, readonly OracleRecord[]>,
  options: OracleOptions,
): Promise<Record<string, number>> {
  const counts: Record<string, number> = { accepted: 0, duplicate: 0, late: 0, future: 0 };
  for (const [userId, records] of users) {
    const expected = oracle(records, options);
    for (const outcome of expected.outcomes) counts[outcome]! += 1;
    if (expected.window.length === 0) {
      await expect(inspectUser(deployment, userId)).rejects.toThrow(FreshetError);
      continue;
    }
    const { sequences } = await inspectUser(deployment, userId);
    expect(sequences).toEqual({ engagement: inspectedSequence(expected, options) });
  }
  return counts;
}

describe('the shipped log', () => {
  const FILE = packagePath('data', 'deskdrop', 'actions.csv.gz');
  const dataDir = join(tempDir(), 'data');
  const users = readDeskdrop(FILE);
  let result: RunResult;

  beforeAll(async () => {
    await load(FILE, 'deskdrop', dataDir);
    result = await runJson('run', '--until-end', `--data-dir=${dataDir}`);
  }, 120_000);

  it('every action is accounted for', () => {
    expect(result).toEqual({
      records: 72_312,
      features: expect.any(Number) as number,
      ranked: expect.any(Number) as number,
      total: { actionsRead: 72_312, accepted: 70_028, rejected: { duplicate: 2_284, late: 0, future: 0 } },
    });
    expect(result.features).toBeGreaterThanOrEqual(users.size);
    expect(result.ranked).toBeGreaterThanOrEqual(users.size);
  });

  it('what is held of each user is what the oracle says', async () => {
    const deployment = await open(dataDir);
    const counts = await agreeOnAll(deployment, users, OPTIONS);
    await deployment.close();
    expect(users.size).toBe(1_895);
    expect(counts).toEqual({ accepted: 70_028, duplicate: 2_284, late: 0, future: 0 });
  }, 120_000);

  it('and what the command prints of the busiest and four more', async () => {
    const bySize = [...users].sort(([, a], [, b]) => b.length - a.length);
    for (const [userId, records] of [0, 1, 40, 600, 1_894].map((rank) => bySize[rank]!)) {
      const printed = await runJson('inspect', `--user=${userId}`, '--json', `--data-dir=${dataDir}`);
      const sequence = inspectedSequence(oracle(records, OPTIONS), OPTIONS);
      expect(printed).toMatchObject({ userId, sequences: { engagement: sequence } });
    }
  });
});

describe('a disturbed log: ties, late and future actions, duplicates from other surfaces, undos', () => {
  const ROWS = 6_000;
  const USERS = 40;
  const STRANGERS = 25;
  const START_MS = Date.parse('2026-01-02');
  const options = { ...OPTIONS, windowSize: 20, sealSize: 6, maxAgeMs: 12 * HOUR_MS };
  const dataDir = join(tempDir(), 'data');
  const config = join(tempDir(), 'small-window.json');
  const users = new Map<string, OracleRecord[]>();
  let result: RunResult;
  let deployment: Deployment;

  beforeAll(async () => {
    const rows = fc.sample(
      fc.record({
        user: fc.nat(USERS - 1),
        itemId: fc.constantFrom('a', 'b', 'é', '\uff5e', '😀', 'item-6', 'item-60'),
        actionType: fc.constantFrom('view', 'like', 'unlike', 'bookmark', 'unbookmark', 'follow'),
        surface: fc.constantFrom('', 'web', 'android', 'ios', '\uff5e', '😀'),
        // Mostly as it happens, on a grid that makes ties; some long after, some before they happen.
        aheadMs: fc.oneof(
          { weight: 12, arbitrary: fc.constant(0) },
          { weight: 2, arbitrary: fc.integer({ min: -4 * HOUR_MS, max: 0 }) },
          { weight: 1, arbitrary: fc.integer({ min: -30 * HOUR_MS, max: -10 * HOUR_MS }) },
          { weight: 1, arbitrary: fc.constantFrom(OPTIONS.maxFutureMs, OPTIONS.maxFutureMs + 1, HOUR_MS) },
        ),
      }),
      { seed: FC_OPTIONS.seed, numRuns: ROWS },
    );
    const actions: { userId: string; record: OracleRecord }[] = rows.map(
      ({ user, itemId, actionType, surface, aheadMs }, at) => {
        const arrivalTimeMs = START_MS + Math.floor(at / 100) * (HOUR_MS / 2);
        const action = { eventTimeMs: arrivalTimeMs + aheadMs, itemId, actionType, surface };
        return { userId: `user-${user}`, record: { arrivalTimeMs, action } };
      },
    );
    // Of one user nothing can be taken.
    const ahead = { eventTimeMs: START_MS + HOUR_MS, itemId: 'a', actionType: 'view', surface: '' };
    actions.push({ userId: 'user-ahead', record: { arrivalTimeMs: START_MS, action: ahead } });
    for (const { userId, record } of actions) users.set(userId, [...(users.get(userId) ?? []), record]);

    const lines = actions.map(({ userId, record: { arrivalTimeMs, action } }) => {
      const { eventTimeMs: eventTime, ...fields } = action;
      return { userId, ...fields, eventTime, arrivalTime: arrivalTimeMs };
    });
    // What no user's state may notice, in between.
    const strangers = Array.from({ length: STRANGERS }, (_, at) => ({ ...lines[at * 7]!, actionType: 'stare' }));
    const empty = Array.from({ length: STRANGERS }, (_, at) => ({ ...lines[at * 11]!, itemId: '' }));
    const file = inputFile('disturbed.ndjson', [...lines.slice(0, 900), ...strangers, ...empty, ...lines.slice(900)]);

    const [{ windowSize, sealSize, maxAgeMs }, name] = [options, 'engagement'];
    writeFileSync(config, JSON.stringify({ sequences: [{ name, windowSize, sealSize, maxAgeMs }] }));
    await load(file, 'ndjson', dataDir);
    const run = ['run', '--until-end', `--config=${config}`, `--data-dir=${dataDir}`, '--commit-max-records=97'];
    result = await runJson(...run);
    deployment = await open(dataDir, config);
  }, 120_000);

  afterAll(() => deployment.close());

  it('what is held of each user, and what was rejected for which cause, is what the oracle says', async () => {
    const { accepted, ...rejected } = await agreeOnAll(deployment, users, options);
    expect(users.size).toBe(USERS + 1);
    expect(result.total).toEqual({
      actionsRead: ROWS + 1 + 2 * STRANGERS,
      accepted,
      rejected: { ...rejected, unknown_action_type: STRANGERS, empty_id: STRANGERS },
    });
    for (const count of Object.values(rejected)) expect(count).toBeGreaterThan(50);
  });
});
