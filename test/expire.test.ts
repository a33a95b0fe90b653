/** The sweep for idle users: who leaves, what is written, and what an interruption changes about it (nothing). */
import { existsSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { partitionOf } from '../src/base/murmur2.ts';
import { userHash } from '../src/base/user-hash.ts';
import type { Log } from '../src/log/log.ts';
import { wrapLog } from '../src/log/wrapped-log.ts';
import { expireIdleUsers, type ExpireOptions, type ExpireResult } from '../src/privacy/expire.ts';
import { sweepProgressPath } from '../src/privacy/sweep-progress.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT } from '../topics/index.ts';
import type { ControlRecord } from '../topics/records.ts';
import { freshet, jsonLines, logLines, succeed, USER_MARK } from './support/cli.ts';
import { actionRecord, Stream } from './support/stream.ts';
import { tempDir } from './support/temp-dir.ts';

const DAY_MS = 86_400_000;
const PARTITIONS = 2;
const NOW_MS = 400 * DAY_MS;

async function openStream(): Promise<Stream> {
  const stream = await Stream.open({ partitions: PARTITIONS });
  onTestFinished(() => stream.close());
  return stream;
}

const act = (stream: Stream, userId: string, day: number): Promise<void> =>
  stream.append(actionRecord({ userId, itemId: `i${day}`, eventTimeMs: day * DAY_MS }));

async function runAll(stream: Stream): Promise<void> {
  for (let partition = 0; partition < PARTITIONS; partition += 1) await stream.run(partition);
}

const sweep = (stream: Stream, options: Partial<ExpireOptions> = {}): Promise<ExpireResult> =>
  expireIdleUsers({
    ...{ log: stream.log, codec: stream.codec, appId: stream.config.appId, partitions: PARTITIONS },
    ...{ dataDir: stream.folder, idleMs: 90 * DAY_MS, asOfMs: NOW_MS },
    ...options,
  });

/** The expire records in the input: user and version seen, in order. */
async function expiries(stream: Stream): Promise<string[]> {
  const found: string[] = [];
  for (let partition = 0; partition < PARTITIONS; partition += 1) {
    for (const { key, value, headers } of await stream.read('user-actions', partition)) {
      if (headers[CONTROL_HEADER] === undefined) continue;
      const { expire } = stream.codec.decode<ControlRecord>(CONTROL_SUBJECT, value!, headers);
      found.push(`${key!.toString()}@${expire!.seenVersion}`);
    }
  }
  return found.sort();
}

async function usersWithFeatures(stream: Stream): Promise<string[]> {
  const users: string[] = [];
  for (let partition = 0; partition < PARTITIONS; partition += 1) {
    for (const [user, features] of await stream.newestFeatures(partition)) if (features !== null) users.push(user);
  }
  return users.sort();
}

describe('a sweep', () => {
  it('lets users go who are idle for longer, and no others', async () => {
    const stream = await openStream();
    await act(stream, 'gone', 10);
    await act(stream, 'came-back', 10);
    await act(stream, 'came-back', 395);
    await act(stream, 'just-not', 310);
    await act(stream, 'just', 309);
    await runAll(stream);
    expect(await sweep(stream)).toMatchObject({ idle: 2, pending: 0, appended: 2, complete: true, resumed: false });
    await runAll(stream);
    expect(await usersWithFeatures(stream)).toEqual(['came-back', 'just-not']);
    expect(await sweep(stream)).toMatchObject({ idle: 0, appended: 0 });
    expect(existsSync(sweepProgressPath(stream.folder))).toBe(false);
  });

  it('does nothing to a user who acts before the record is consumed', async () => {
    const stream = await openStream();
    await act(stream, 'ann', 10);
    await runAll(stream);
    await sweep(stream);
    // Between the sweep's look and its append: the record stands behind an action that it does not know.
    await act(stream, 'bob', 10);
    await runAll(stream);
    const at = { topic: 'user-actions', partition: partitionOf(Buffer.from('bob'), PARTITIONS) };
    const log = wrapLog(stream.log, {
      append: async (records) => {
        await act(stream, 'bob', 399);
        return stream.log.append(records);
      },
    });
    await sweep(stream, { log });
    await runAll(stream);
    expect(await usersWithFeatures(stream)).toEqual(['bob']);
    expect((await stream.read('user-actions', at.partition)).at(-1)!.headers[CONTROL_HEADER]).toBeDefined();
  });

  it('appends nothing for a user who has a record that is not consumed yet: an action, an erase, an expiry', async () => {
    const stream = await openStream();
    for (const user of ['acts', 'erased', 'expired']) await act(stream, user, 1);
    await runAll(stream);
    await act(stream, 'acts', 2);
    await stream.append({ key: Buffer.from('erased'), value: null, timestampMs: 1 });
    expect(await sweep(stream)).toMatchObject({ idle: 3, pending: 2, appended: 1 });
    expect(await sweep(stream)).toMatchObject({ idle: 3, pending: 3, appended: 0 });
    expect(await expiries(stream)).toHaveLength(1);
  });

  it('that is dry writes nothing, and names users by their hash', async () => {
    const stream = await openStream();
    await act(stream, 'ann', 10);
    await runAll(stream);
    const result = await sweep(stream, { dryRun: true });
    expect(result).toMatchObject({ idle: 1, pending: 0, appended: 0, dryRun: true });
    expect(result.examples).toMatchObject([{ user: userHash('ann'), version: 0, idleMs: 390 * DAY_MS }]);
    expect(JSON.stringify(result)).not.toContain('ann');
    expect(await expiries(stream)).toEqual([]);
    expect(existsSync(sweepProgressPath(stream.folder))).toBe(false);
  });
});

/** Fails with `code` at the given append, after so many of its records are in, as on Kafka. */
function failingAt(log: Log, failing: number, kept: number): Log {
  let appends = 0;
  return wrapLog(log, {
    append: async (records) => {
      appends += 1;
      if (appends !== failing) return log.append(records);
      await log.append(records.slice(0, kept));
      throw new Error('no broker');
    },
  });
}

describe('an interrupted sweep', () => {
  it('goes on where it was, with the time it began with', async () => {
    const stream = await openStream();
    for (let user = 0; user < 20; user += 1) await act(stream, `user-${user}`, 10);
    await runAll(stream);
    const first = sweep(stream, { log: failingAt(stream.log, 3, 1), maxUsers: 4 });
    await expect(first).rejects.toThrow('no broker');
    const rest = await expireIdleUsers({
      ...{ log: stream.log, codec: stream.codec, appId: stream.config.appId, partitions: PARTITIONS },
      ...{ dataDir: stream.folder, idleMs: 90 * DAY_MS, maxUsers: 4 },
    });
    expect(rest).toMatchObject({ resumed: true, complete: true, asOfMs: NOW_MS, idle: 12, pending: 1, appended: 11 });
    expect(new Set(await expiries(stream)).size).toBe(20);
    expect(await expiries(stream)).toHaveLength(20);
  });

  it('ends between two passes at a signal, and says so', async () => {
    const stream = await openStream();
    for (let user = 0; user < 20; user += 1) await act(stream, `user-${user}`, 10);
    await runAll(stream);
    const stop = new AbortController();
    const onProgress = (): void => {
      stop.abort();
    };
    const cut = await sweep(stream, { maxUsers: 4, signal: stop.signal, onProgress });
    expect(cut).toMatchObject({ complete: false, appended: 4 });
    expect(await sweep(stream, { maxUsers: 4 })).toMatchObject({ complete: true, resumed: true, appended: 16 });
    expect(await expiries(stream)).toHaveLength(20);
  });

  it('of another age begins anew; so does one whose file is damaged', async () => {
    const stream = await openStream();
    await act(stream, 'ann', 10);
    await runAll(stream);
    writeFileSync(sweepProgressPath(stream.folder), '{"next":');
    expect(await sweep(stream, { dryRun: true })).toMatchObject({ resumed: false, idle: 1 });
    const progress = { appId: stream.config.appId, idleMs: DAY_MS, asOfMs: NOW_MS, next: { 0: 99, 1: 99 } };
    writeFileSync(sweepProgressPath(stream.folder), JSON.stringify(progress));
    expect(await sweep(stream)).toMatchObject({ resumed: false, appended: 1 });
  });
});

it('finds whom a look at all the input finds, once each, however small its passes and wherever it fails', async () => {
  const anyCase = fc.record({
    actions: fc.array(fc.tuple(fc.nat(5), fc.integer({ min: 300, max: 320 })), {
      minLength: 1,
      maxLength: 16,
      size: 'max',
    }),
    /** Features are written after each so many actions. */
    every: fc.integer({ min: 1, max: 4 }),
    maxUsers: fc.integer({ min: 1, max: 4 }),
    failing: fc.integer({ min: 1, max: 4 }),
    kept: fc.nat(2),
  });
  await fc.assert(
    fc.asyncProperty(anyCase, async ({ actions, every, maxUsers, failing, kept }) => {
      const stream = await Stream.open({ partitions: PARTITIONS });
      try {
        const newest = new Map<string, number>();
        for (const [index, [user, day]] of actions.entries()) {
          const id = `user-${user}`;
          await act(stream, id, day);
          newest.set(id, Math.max(newest.get(id) ?? 0, day));
          if (index % every === 0) await runAll(stream);
        }
        await runAll(stream);
        const idle = [...newest].filter(([, day]) => day * DAY_MS < NOW_MS - 90 * DAY_MS).map(([id]) => id);
        await sweep(stream, { maxUsers, log: failingAt(stream.log, failing, kept) }).catch(() => undefined);
        await sweep(stream, { maxUsers });
        const users = (await expiries(stream)).map((each) => each.split('@')[0]);
        expect(users).toEqual(idle.sort());
      } finally {
        await stream.close();
      }
    }),
    { numRuns: 20 },
  );
});

describe('freshet expire', () => {
  const asOf = `--as-of=${new Date(NOW_MS).toISOString()}`;

  it('shows users by their hash, appends, and prints counts as its last line', async () => {
    const stream = await openStream();
    await act(stream, `${USER_MARK}ann`, 10);
    await act(stream, `${USER_MARK}bob`, 399);
    await runAll(stream);
    await stream.log.close();
    const at = [asOf, `--data-dir=${stream.folder}`, `--partitions=${PARTITIONS}`];
    const dry = await succeed(['expire', '--idle=90d', '--dry-run', ...at]);
    expect(dry).toMatch(/2 features records, 1 idle users, 1 would leave, 0 pending\n {2}[0-9a-f]{12} {2}partition/);
    expect(dry).not.toContain(USER_MARK);
    const lines = jsonLines<ExpireResult>(await succeed(['expire', '--idle=90d', '--json', ...at]));
    expect(lines.at(-1)).toMatchObject({ idle: 1, appended: 1, complete: true });
  });

  it.each([['--idle=soon'], ['--idle=0d'], ['--idle=1d --as-of=someday']])('refuses %s', async (args) => {
    const result = await freshet(['expire', ...args.split(' '), `--data-dir=${tempDir()}`]);
    expect([result.exitCode, result.stdout]).toEqual([2, '']);
    expect(logLines(result)).toMatchObject([{ code: 'USAGE' }]);
  });
});
