/** The job by its commands, in one folder, step by step: actions, features, vectors, ranking. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { partitionOf } from '../src/base/murmur2.ts';
import type { DeploymentHash, InspectedUser } from '../src/run/inspect.ts';
import type { RankingFeaturesRecord, SequenceFeaturesRecord } from '../topics/records.ts';
import { freshet, inputFile, jsonLines, lines, logLines, succeed, USER_MARK, type CliResult } from './support/cli.ts';
import { tempDir } from './support/temp-dir.ts';

const dataDir = join(tempDir(), 'data');
const PARTITIONS = 2;
/** The small model of the fixtures: 4 dimensions, space fixture-1. */
const env = {
  FRESHET_DATA_DIR: dataDir,
  FRESHET_MODEL: packagePath('test', 'fixtures', 'intent', 'small'),
  FRESHET_PARTITIONS: String(PARTITIONS),
};
const ANN = `${USER_MARK}ann`;
const BOB = `${USER_MARK}bob`;
const TIME_MS = Date.parse('2026-01-02');
const ACTIONS = 140;

const run = (...args: string[]): Promise<string> => succeed(args, { env });
const runJson = async <T>(...args: string[]): Promise<T> => jsonLines<T>(await run(...args))[0]!;
const failed = (...args: string[]): Promise<CliResult> => freshet(args, { env });
const inspect = (userId: string): Promise<InspectedUser> => runJson('inspect', `--user=${userId}`, '--json');
const hash = (): Promise<DeploymentHash> => runJson('inspect', '--hash', '--json');
const newest = async <T>(topic: string, userId: string): Promise<T> =>
  jsonLines<{ value: T }>(await run('read', topic, `--user=${userId}`, '--limit=99', '--json')).at(-1)!.value;

const TOTAL = {
  actionsRead: 144,
  accepted: 141,
  rejected: { duplicate: 1, late: 0, future: 1, unknown_action_type: 1 },
};

describe('before any activation', () => {
  it('run turns actions into features, and says what became of them', async () => {
    const action = (userId: string, at: number, actionType: string, more = {}) => ({
      userId,
      itemId: `i${at % 7}`,
      actionType,
      eventTime: TIME_MS + at * 1_000,
      ...more,
    });
    // Of the newest hundred the 138th likes what the 139th likes no more: both are of item i4.
    const anns = Array.from({ length: ACTIONS }, (_, at) => action(ANN, at, 'view'));
    anns[130] = { ...action(ANN, 130, 'like'), itemId: 'i4' };
    anns[139] = { ...action(ANN, 139, 'unlike'), itemId: 'i4' };
    const others = [
      action(BOB, 1, 'view', { surface: 'web' }),
      action(BOB, 1, 'view'),
      action(BOB, 2, 'stare'),
      action(BOB, 9_999, 'view', { arrivalTime: TIME_MS }),
    ];
    await run('load', inputFile('run.ndjson', [...anns, ...others]), '--format=ndjson');
    expect(await runJson('run', '--until-end')).toEqual({ records: 144, features: 2, ranked: 2, total: TOTAL });
    expect(await newest('sequence-features', ANN)).toMatchObject({ itemVersion: null, itemsWithVector: 0 });
  });

  it('a second run finds nothing to do', async () => {
    expect(await runJson('run', '--until-end')).toEqual({ records: 0, features: 0, ranked: 0, total: TOTAL });
  });

  it('rejected-actions has the causes', async () => {
    const rejected = jsonLines<{ value: { cause: string } }>(await run('read', 'rejected-actions', '--json'));
    expect(rejected.map(({ value }) => value.cause).sort()).toEqual(['future', 'unknown_action_type']);
  });
});

describe('inspect', () => {
  it('--json prints one line: the hundred newest, newest first, an undone pair hidden', async () => {
    const text = await run('inspect', `--user=${ANN}`, '--json');
    expect(lines(text)).toHaveLength(1);
    const user = JSON.parse(text) as InspectedUser;
    const expected = Array.from({ length: 100 }, (_, back) => {
      const at = ACTIONS - 1 - back;
      const isPair = at === 130 || at === 139;
      return {
        itemId: isPair ? 'i4' : `i${at % 7}`,
        actionType: at === 130 ? 'like' : at === 139 ? 'unlike' : 'view',
        eventTimeMs: TIME_MS + at * 1_000,
        surface: '',
        hidden: isPair,
      };
    });
    const partition = partitionOf(Buffer.from(ANN), PARTITIONS);
    const vector = expect.arrayContaining([expect.any(Number)]) as number[];
    expect(user).toEqual({
      userId: ANN,
      version: user.lastOffset.offset,
      sequences: {
        engagement: {
          window: expected,
          sealed: 32,
          leftEdge: { eventTimeMs: TIME_MS + 31_000, itemId: 'i3', actionType: 'view' },
        },
      },
      intent: { click: vector, save: vector },
      scorerHash: expect.stringMatching(/^[0-9a-f]+$/) as string,
      lastOffset: { partition, offset: expect.any(Number) as number },
    });
    expect(Object.values(user.intent).map((each) => each.length)).toEqual([4, 4]);
  });

  it('an action said twice keeps the surface, and a user counts the offset of a rejected one', async () => {
    const user = await inspect(BOB);
    expect(user.sequences['engagement']!.window).toMatchObject([{ itemId: 'i1', surface: 'web', hidden: false }]);
    const bobs = jsonLines<{ offset: number }>(await run('read', 'user-actions', `--user=${BOB}`, '--json'));
    expect(user.lastOffset.offset).toBe(bobs.at(-1)!.offset);
  });

  it('--hash is the same twice, and after <data-dir>/state is deleted', async () => {
    const first = await hash();
    expect(first).toEqual({
      users: 2,
      stateHash: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      featuresHash: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
    expect(await hash()).toEqual(first);
    rmSync(join(dataDir, 'state'), { recursive: true });
    expect(await hash()).toEqual(first);
  });

  it('an unknown user is exit 3, here and in join', async () => {
    for (const args of [['inspect'], ['join', '--items=i1']]) {
      const result = await failed(...args, `--user=${USER_MARK}nobody`);
      expect([result.exitCode, result.stdout]).toEqual([3, '']);
      expect(logLines(result)).toMatchObject([{ code: 'UNKNOWN_USER' }]);
    }
  });
});

describe('vectors', () => {
  const vectorsOf = (name: string, rows: readonly (readonly [string, readonly unknown[]])[], id = 'itemId'): string =>
    inputFile(
      name,
      rows.map(([key, vector]) => ({ [id]: key, vector })),
    );
  const load = (file: string, ...args: string[]) => ['vectors', 'load', file, ...args];

  it('items: a version, a change on it, its activation, and features under it', async () => {
    const items = vectorsOf(
      'items.ndjson',
      [0, 1, 2, 3].map((at) => [`i${at}`, [at, 1, -1, 0.5]] as const),
    );
    const first = await runJson('vectors', 'load', items, '--kind=item', '--version=v1');
    expect(first).toMatchObject({
      manifest: { base: null, rowCount: 4, dimension: 4, space: 'fixture-1' },
      appended: 5,
    });
    expect(await runJson('vectors', 'load', items, '--kind=item', '--version=v1')).toMatchObject({ appended: 0 });

    const change = vectorsOf('change.ndjson', [['i6', [1, 1, 1, 1]]]);
    await run('vectors', 'load', change, '--kind=item', '--version=v2', '--base=v1');
    const activated = await runJson<{ offsets: number[] }>('vectors', 'activate', 'v2');
    expect(activated).toMatchObject({ version: 'v2', base: 'v1' });
    expect(activated.offsets).toHaveLength(PARTITIONS);

    const file = inputFile('more.csv', ['userId,itemId,actionType,eventTime', `${ANN},i6,like,${TIME_MS + 500_000}`]);
    await run('load', file, '--format=csv');
    expect(await runJson('run', '--until-end')).toMatchObject({
      records: 1 + PARTITIONS,
      features: 1,
      total: { ...TOTAL, actionsRead: 145, accepted: 142 },
    });
    const features = await newest<SequenceFeaturesRecord>('sequence-features', ANN);
    expect(features.itemVersion).toBe('v2');
    expect(features.itemsWithVector).toBeGreaterThan(50);
  });

  it('users: join has both sides, and ranks by both', async () => {
    const users = vectorsOf('users.ndjson', [[ANN, [1, 0, 0, 0]]], 'userId');
    const loaded = await runJson(...load(users, '--kind=user', '--version=r1', '--as-of=2026-01-02'));
    expect(loaded).toEqual({ rows: 1, dimension: 4 });
    expect(await runJson('run', '--until-end')).toMatchObject({ features: 0, ranked: 1 });
    const joined = await newest<RankingFeaturesRecord>('ranking-features', ANN);
    expect(joined).toMatchObject({ hasRealtime: true, hasLongTerm: true, longTerm: { vector: [1, 0, 0, 0] } });

    const args = ['join', `--user=${ANN}`, '--items=i1,i3,i99'];
    const both = { hasVector: true, realtime: expect.any(Number) as number, both: expect.any(Number) as number };
    const ranked = await runJson<{ items: { itemId: string; longTerm: number }[] }>(...args, '--json');
    expect(ranked).toEqual({
      userId: ANN,
      hasRealtime: true,
      hasLongTerm: true,
      rankedBy: 'both',
      itemVersion: 'v2',
      items: expect.arrayContaining([
        { itemId: 'i1', ...both, longTerm: expect.closeTo(1, 1) as number },
        { itemId: 'i3', ...both, longTerm: expect.closeTo(3, 1) as number },
        { itemId: 'i99', hasVector: false, realtime: null, longTerm: null, both: null },
      ]) as object[],
    });
    expect(ranked.items.at(-1)!.itemId).toBe('i99');
    expect(lines(await run(...args))[0]).toBe('ranked by both, item vectors v2');
    expect(await runJson('join', `--user=${BOB}`, '--items=i1', '--json')).toMatchObject({ rankedBy: 'realtime' });
  });

  it.each([
    ['NaN', 'item', '{"itemId":"i1","vector":[1,NaN,1,1]}', /line 2: not JSON/],
    ['no number', 'item', '{"itemId":"i1","vector":[1,"NaN",1,1]}', /line 2: component 1 .* not a finite/],
    ['another dimension', 'item', '{"itemId":"i1","vector":[1,2,3]}', /line 2: .* 3 components, the version 4/],
    ['too large a number', 'user', `{"userId":"${BOB}","vector":[1e39,1,1,1]}`, /line 2: component 0/],
    ['another dimension of a user', 'user', `{"userId":"${BOB}","vector":[1]}`, /line 2: .* 1 components/],
  ])('%s is exit 3, with the row', async (name, kind, row, message) => {
    const good = { [`${kind}Id`]: 'first', vector: [1, 2, 3, 4] };
    const file = inputFile(`${name}.ndjson`, [good, row]);
    const options = [`--kind=${kind}`, '--version=bad', '--space=fixture-1', ...(kind === 'user' ? ['--as-of=0'] : [])];
    const result = await failed(...load(file, ...options));
    expect([result.exitCode, result.stdout]).toEqual([3, '']);
    expect(logLines(result)).toMatchObject([{ code: 'VECTOR_INVALID', msg: expect.stringMatching(message) as string }]);
  });

  it('another content under a version that is complete is exit 2', async () => {
    const other = vectorsOf('other.ndjson', [['i1', [9, 9, 9, 9]]]);
    const result = await failed(...load(other, '--kind=item', '--version=v1', '--space=fixture-1'));
    expect([result.exitCode, result.stdout]).toEqual([2, '']);
    expect(logLines(result)).toMatchObject([{ code: 'VECTOR_VERSION_EXISTS' }]);
  });
});
