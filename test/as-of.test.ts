/** A user at a moment by both clocks, against an oracle that works each of them out from the raw log by brute force. */
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { userAsOf, type UserAsOf, type View } from '../src/dataset/as-of.ts';
import { readPasts } from '../src/dataset/user-past.ts';
import { layoutOf } from '../state/layout.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT } from '../topics/index.ts';
import { oracle, type OracleAction, type OracleOptions, type OracleRecord } from './oracle.ts';
import { inputFile, jsonLines, succeed } from './support/cli.ts';
import { randomFrom } from './support/random.ts';
import { actionRecord, Stream, type RawRecord } from './support/stream.ts';
import { tempDir } from './support/temp-dir.ts';

const HOUR_MS = 3_600_000;
const START_MS = Date.UTC(2026, 0, 1);
const PAIRS = 1_000;
const OPTIONS: OracleOptions = {
  ...{ windowSize: 6, sealSize: 3, maxFutureMs: 2 * HOUR_MS, maxAgeMs: 40 * HOUR_MS, sessionGapMs: 2 * HOUR_MS },
  ...{ undo: { unlike: 'like' }, halfLivesMs: [HOUR_MS, 24 * HOUR_MS] },
};
const FLAGS = {
  sequences: [{ name: 'engagement', actionTypes: 'all', windowSize: 6, sealSize: 3, maxAgeMs: OPTIONS.maxAgeMs }],
  ...{ maxFutureMs: OPTIONS.maxFutureMs, sessionGapMs: OPTIONS.sessionGapMs, counterHalfLivesMs: OPTIONS.halfLivesMs },
};

interface RawAction extends OracleRecord {
  readonly userId: string;
}

/** A log out of order: late arrivals by hours and days, duplicates with another surface, clocks that run ahead. */
function rawLog(count: number, users: number): RawAction[] {
  const random = randomFrom(7);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
  const raw: RawAction[] = [];
  for (let at = 0; at < count; at += 1) {
    const arrivalTimeMs = START_MS + at * 60_000 - Math.floor(random() * 300_000);
    const delayMs = pick([0, 1_000, 30_000, HOUR_MS, 30 * HOUR_MS, -HOUR_MS, -3 * HOUR_MS]);
    const eventTimeMs = Math.floor((arrivalTimeMs - delayMs) / 60_000) * 60_000;
    const [itemId, actionType] = [pick(['i1', 'i2', 'i3', 'é', '😀']), pick(['view', 'like', 'unlike'])];
    const action: OracleAction = { eventTimeMs, itemId, actionType, surface: pick(['', 'ios', 'web']) };
    const earlier = pick(raw.length === 0 ? [undefined] : raw.slice(-50));
    const isAgain = earlier !== undefined && random() < 0.2;
    raw.push({
      userId: isAgain ? earlier.userId : `user-${Math.floor(random() * users)}`,
      arrivalTimeMs,
      action: isAgain ? { ...earlier.action, surface: pick(['', 'ios', 'web']) } : action,
    });
  }
  return raw;
}

const toRecord = ({ userId, arrivalTimeMs, action }: RawAction): RawRecord =>
  actionRecord({ ...action, userId, arrivalTimeMs, surface: action.surface === '' ? null : action.surface });

/** What the oracle knows, in the form of a view. */
function expectView(view: View | null, records: readonly OracleRecord[]): void {
  const user = oracle(records, OPTIONS);
  if (!user.outcomes.includes('accepted')) {
    expect(view).toBeNull();
    return;
  }
  const newestFirst = user.window.map((action, at) => ({ ...action, hidden: user.hidden[at]! })).reverse();
  let visible = 0;
  const end = newestFirst.findIndex(({ hidden }) => !hidden && (visible += 1) === OPTIONS.windowSize);
  const [sequence] = view!.sequences;
  expect(sequence!.actions).toEqual(end < 0 ? newestFirst : newestFirst.slice(0, end + 1));
  expect(sequence!.sealed).toBe(user.sealed);
  expect(view!.session).toEqual(user.session);
  expect(Object.keys(sequence!.counters).sort()).toEqual(Object.keys(user.counters).sort());
  for (const [type, counts] of Object.entries(user.counters)) {
    counts.forEach((count, at) => expect(sequence!.counters[type]![at]).toBeCloseTo(count, 9));
  }
}

describe('a user as of a time', () => {
  it(`equals the oracle for ${PAIRS} random pairs, by both clocks`, async () => {
    const stream = await Stream.open({ ...FLAGS, partitions: 2 });
    const raw = rawLog(4_000, 25);
    await stream.append(...raw.map(toRecord));
    const layout = layoutOf(stream.config);
    const { users } = await readPasts(stream, [...new Set(raw.map(({ userId }) => userId))]);
    // The clock is the partition's: the newest arrival in it, whoever it was of.
    const clocks = new Map<number, number>();
    const dated = raw.map((record) => {
      const { partition } = users.get(record.userId)!;
      const clockMs = Math.max(clocks.get(partition) ?? -Infinity, record.arrivalTimeMs);
      clocks.set(partition, clockMs);
      return { ...record, clockMs };
    });
    const random = randomFrom(11);
    let differing = 0;
    for (let pair = 0; pair < PAIRS; pair += 1) {
      const userId = `user-${Math.floor(random() * 25)}`;
      const timeMs = START_MS + Math.floor(random() * 4_200 * 60_000) - HOUR_MS;
      const lagMs = pair % 3 === 0 ? HOUR_MS : 0;
      const asOf = userAsOf(users.get(userId)!, { timeMs }, lagMs, layout);
      const own = dated.filter((record) => record.userId === userId);
      expectView(
        asOf.servable,
        own.filter(({ clockMs }) => clockMs <= timeMs - lagMs),
      );
      const valid = own.filter(
        ({ action, arrivalTimeMs }) =>
          action.eventTimeMs <= timeMs && action.eventTimeMs - arrivalTimeMs <= OPTIONS.maxFutureMs,
      );
      const inOrder = valid.sort((a, b) => compare(a.action, b.action));
      expectView(
        asOf.true,
        inOrder.map(({ action }) => ({ action, arrivalTimeMs: action.eventTimeMs })),
      );
      expectExplained(asOf);
      if (asOf.differences.length > 0) differing += 1;
    }
    expect(differing).toBeGreaterThan(PAIRS / 4);
    await stream.close();
  });
});

function compare(a: OracleAction, b: OracleAction): number {
  const bytes = (left: string, right: string): number => Buffer.compare(Buffer.from(left), Buffer.from(right));
  return a.eventTimeMs - b.eventTimeMs || bytes(a.itemId, b.itemId) || bytes(a.actionType, b.actionType);
}

/** Whatever only one of the two shows is named among the differences. */
function expectExplained({ true: known, servable, differences }: UserAsOf): void {
  const shown = (view: View | null): Set<string> =>
    new Set(
      view?.sequences[0]!.actions.map(
        ({ eventTimeMs, itemId, actionType }) => `${eventTimeMs} ${itemId} ${actionType}`,
      ),
    );
  const named = differences.map(({ action }) => `${action.eventTimeMs} ${action.itemId} ${action.actionType}`);
  const hasSameWindows = differences.every((each) => each.in === 'both');
  if (hasSameWindows) expect(shown(known)).toEqual(shown(servable));
  expect(new Set(named).size).toBe(named.length);
}

describe('a difference', () => {
  const at = (hour: number): number => START_MS + hour * HOUR_MS;
  const action = (itemId: string, hour: number, arrival = hour, surface: string | null = null): RawRecord =>
    actionRecord({ userId: 'ann', itemId, eventTimeMs: at(hour), arrivalTimeMs: at(arrival), surface });

  async function asOf(records: readonly RawRecord[], hour: number): Promise<UserAsOf> {
    const stream = await Stream.open(FLAGS);
    await stream.append(...records);
    const { users } = await readPasts(stream, ['ann']);
    const result = userAsOf(users.get('ann')!, { timeMs: at(hour) }, 0, layoutOf(stream.config));
    await stream.close();
    return result;
  }

  const causes = ({ differences }: UserAsOf): string[] =>
    differences.map((each) => `${each.in} ${each.cause} ${each.action.itemId} @${each.offset}`);

  it('is an action that arrived later', async () => {
    const view = await asOf([action('a', 1), action('b', 2, 9)], 3);
    expect(causes(view)).toEqual(['true arrived_later b @1']);
    expect(view.missing).toEqual({ arrived_later: 1 });
    expect(causes(await asOf([action('a', 1), action('b', 2, 9)], 9))).toEqual([]);
  });

  it('is an action that was late, and what it would have sealed', async () => {
    const nine = Array.from({ length: 9 }, (_, index) => action(`a${index}`, 10 + index));
    const view = await asOf([...nine, action('late', 1, 19)], 30);
    // Truth has sealed the late one, and keeps another in its place.
    expect(causes(view)).toEqual(['true sealed a2 @2']);
    expect(view.missing).toEqual({ late: 1 });
    expect([view.true!, view.servable!].map(({ sequences }) => sequences[0]!.sealed)).toEqual([3, 3]);
  });

  it('is a surface that a later record brought', async () => {
    const view = await asOf([action('a', 1, 1, 'ios'), action('a', 1, 9, 'web')], 3);
    expect(causes(view)).toEqual(['both surface a @1']);
    expect(view.servable!.sequences[0]!.actions[0]!.surface).toBe('ios');
    expect(view.true!.sequences[0]!.actions[0]!.surface).toBe('web');
  });

  it('is an action ahead of the time, by a clock that runs ahead', async () => {
    expect(causes(await asOf([action('a', 1), action('b', 4, 3)], 3))).toEqual(['servable ahead_of_time b @1']);
  });

  it('is what was erased since: truth forgets it, the features that were served had it', async () => {
    const erase: RawRecord = { key: Buffer.from('ann'), value: null, timestampMs: at(5) };
    const view = await asOf([action('a', 1), erase, action('b', 6)], 3);
    expect(causes(view)).toEqual(['servable erased a @0']);
    expect(view).toMatchObject({ true: null, servable: { version: 0 }, newestVersion: 2 });
    expect(causes(await asOf([action('a', 1), erase, action('b', 6)], 7))).toEqual([]);
  });

  it('is what an expiry removed: it happened all the same', async () => {
    const stream = await Stream.open(FLAGS);
    const value = stream.codec.encode(CONTROL_SUBJECT, { activation: null, expire: { seenVersion: 0 } });
    await stream.close();
    const headers = { [CONTROL_HEADER]: Buffer.from(CONTROL_SUBJECT) };
    const expire: RawRecord = { key: Buffer.from('ann'), value, headers, timestampMs: at(5) };
    const view = await asOf([action('a', 1), expire, action('b', 6)], 7);
    expect(causes(view)).toEqual(['true expired a @0']);
    expect(view.servable!.sequences[0]!.actions.map(({ itemId }) => itemId)).toEqual(['b']);
  });

  it('is none at a place in the log whose user knows all that happened', async () => {
    const stream = await Stream.open(FLAGS);
    await stream.append(action('a', 1), action('b', 2), action('c', 3));
    const { users, moments } = await readPasts(stream, ['ann'], 2);
    expect(moments.get(0)).toEqual({ offset: 2, clockMs: at(2) });
    const view = userAsOf(users.get('ann')!, moments.get(0)!, 0, layoutOf(stream.config));
    expect(view).toMatchObject({ timeMs: at(2), servable: { version: 1 }, newestVersion: 2, differences: [] });
    const lagged = userAsOf(users.get('ann')!, moments.get(0)!, HOUR_MS / 2, layoutOf(stream.config));
    expect(lagged.servable!.version).toBe(0);
    await stream.close();
  });
});

describe('freshet asof', () => {
  it('prints both views and why they differ, and takes users from standard input', async () => {
    const folder = tempDir();
    const rows = [
      { userId: 'ann', itemId: 'a1', actionType: 'view', eventTime: START_MS, arrivalTime: START_MS },
      { userId: 'ann', itemId: 'a2', actionType: 'like', eventTime: START_MS + 1_000, arrivalTime: START_MS + 9_000 },
      { userId: 'bob', itemId: 'a1', actionType: 'view', eventTime: START_MS + 10_000, arrivalTime: START_MS + 10_000 },
    ];
    const dataDir = `--data-dir=${folder}`;
    await succeed(['load', inputFile('asof.ndjson', rows), '--format=ndjson', dataDir]);
    const text = await succeed(['asof', '--user=ann', `--time=${START_MS + 5_000}`, dataDir]);
    expect(text).toContain('only true: like a2');
    expect(text).toContain('arrived later');
    expect(text).toContain('servable: version 0');
    const args = ['bin/freshet.js', 'asof', '--user=-', `--time=${START_MS + 5_000}`, '--json', dataDir];
    const printed = execFileSync(process.execPath, args, {
      cwd: packagePath(),
      input: 'ann\nnobody\nbob\n',
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const views = jsonLines<UserAsOf>(printed.toString());
    expect(views.map(({ userId, servable }) => [userId, servable?.version ?? null])).toEqual([
      ['ann', 0],
      ['nobody', null],
      ['bob', null],
    ]);
    await expect(succeed(['asof', '--user=nobody', '--at-offset=1', dataDir])).rejects.toThrow('UNKNOWN_USER');
  });
});
