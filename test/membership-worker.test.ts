/** A worker in a group, on the embedded log: what assignments, fencing, failures and stops do to its tasks. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { FreshetError } from '../src/base/errors.ts';
import type { Log } from '../src/log/log.ts';
import { confirmedLog } from '../src/run/confirmed-log.ts';
import { Group, PARTITIONS, until } from './support/group.ts';

let group: Group;
const open = async (flags?: Record<string, unknown>): Promise<Group> => (group = await Group.open(flags));

afterEach(async () => {
  await group.close();
});

const USERS = 20;
const ALL = [...Array(PARTITIONS).keys()];

/** The log with some of its methods replaced. */
const logWith = (changes: (log: Log) => Partial<Log>): Log => {
  const log = confirmedLog(group.deployment.log, { confirm: () => Promise.resolve() }, 0);
  return { ...log, ...changes(log) };
};

/** What an undisturbed worker makes of the same input. */
async function undisturbed(...appends: [fromMs: number, count: number][]): Promise<Map<string, string>> {
  const other = await Group.open();
  for (const [fromMs, count] of appends) await other.append(fromMs, count, USERS);
  const worker = other.worker('whole', { untilEnd: true });
  worker.membership.assign(1, ...ALL);
  await worker.result;
  const features = await other.newestFeatures();
  await other.close();
  return features;
}

describe('an assignment', () => {
  it('starts tasks, and a later one moves some without a pause of the others', async () => {
    await open();
    await group.append(0, 3, USERS);
    const [a, b] = [group.worker('a'), group.worker('b')];
    a.membership.assign(1, ...ALL);
    await group.untilConsumed(3 * USERS);
    a.membership.assign(2, 0, 1);
    b.membership.assign(2, 2, 3);
    await group.append(3, 3, USERS);
    await group.untilConsumed(6 * USERS);
    const of = (states: readonly string[], task: string): string[] =>
      states.filter((state) => state.startsWith(`${task} `)).map((state) => state.split(' ')[2]!);
    for (const kind of ['features', 'join']) {
      expect(of(a.states, `${kind} 0`)).toEqual(['FENCING', 'RESTORING', 'RUNNING']);
      expect(of(a.states, `${kind} 2`)).toEqual(['FENCING', 'RESTORING', 'RUNNING', 'CLOSING', 'CLOSED']);
      expect(of(b.states, `${kind} 2`)).toEqual(['FENCING', 'RESTORING', 'RUNNING']);
      expect(of(b.states, `${kind} 0`)).toEqual([]);
    }
    expect(await group.newestFeatures()).toEqual(await undisturbed([0, 3], [3, 3]));
  });

  it('that gives a partition back while it is being let go makes one task after the other', async () => {
    await open();
    await group.append(0, 3, USERS);
    const a = group.worker('a');
    a.membership.assign(1, ...ALL);
    for (let generation = 2; generation < 40; generation += 2) {
      a.membership.assign(generation);
      a.membership.assign(generation + 1, ...ALL);
      await sleep(generation);
    }
    await group.untilConsumed(3 * USERS);
    expect(await group.newestFeatures()).toEqual(await undisturbed([0, 3]));
    await a.stop();
    for (const task of ['features 0', 'join 3']) {
      const states = a.states.filter((state) => state.startsWith(task));
      expect(states.at(-1)).toBe(`${task} CLOSED`);
      // Never two at once: each one closes before the next one fences.
      let isOpen = false;
      for (const state of states) {
        if (state.endsWith('FENCING')) expect(isOpen).toBe(false);
        isOpen = !state.endsWith('CLOSED');
      }
    }
  });
});

describe('an assignment that is taken back', () => {
  it('while a task asks for the end of its input, before it starts, fails nothing', async () => {
    await open();
    await group.append(0, 3, USERS);
    const asked = Promise.withResolvers<void>();
    const answered = Promise.withResolvers<void>();
    const log = logWith((own) => ({
      endOffset: async (at) => {
        if (at.topic === 'user-actions') {
          asked.resolve();
          await answered.promise;
        }
        return own.endOffset(at);
      },
    }));
    const a = group.worker('a', { log });
    a.membership.assign(1, ...ALL);
    await asked.promise;
    a.membership.assign(2);
    answered.resolve();
    a.membership.assign(3, ...ALL);
    await group.untilConsumed(3 * USERS);
    await a.stop();
    expect(await group.newestFeatures()).toEqual(await undisturbed([0, 3]));
  });
});

describe('a partition that another worker has taken', () => {
  const TIMES = { kafkaHeartbeatIntervalMs: 100, kafkaSessionTimeoutMs: 400 };

  it('is let go at once, and taken up by a later assignment', async () => {
    await open(TIMES);
    await group.append(0, 2, USERS);
    const [a, b] = [group.worker('a'), group.worker('b')];
    a.membership.assign(1, ...ALL);
    await group.untilConsumed(2 * USERS);
    a.membership.replaced = new FreshetError('FENCED', 'for the test');
    b.membership.assign(2, ...ALL);
    await until(() => b.states.filter((state) => state.endsWith('RUNNING')).length === 2 * PARTITIONS);
    await group.append(2, 2, USERS);
    await until(() => a.states.filter((state) => /features . CLOSED/.test(state)).length === PARTITIONS);
    // While it is told that it was replaced it tries, in longer and longer times, and fences nobody.
    await sleep(1_500);
    expect(b.states.some((state) => state.endsWith('CLOSED'))).toBe(false);
    expect(a.states.filter((state) => state === 'features 0 FENCING').length).toBeLessThanOrEqual(6);
    await group.untilConsumed(4 * USERS);

    a.membership.replaced = undefined;
    b.membership.assign(3);
    a.membership.assign(3, ...ALL);
    await group.append(4, 2, USERS);
    await group.untilConsumed(6 * USERS);
    expect(await group.newestFeatures()).toEqual(await undisturbed([0, 2], [2, 2], [4, 2]));
  });

  it('by two that both think they own it, is not fought over without a pause', async () => {
    await open(TIMES);
    const [a, b] = [group.worker('a'), group.worker('b')];
    a.membership.assign(1, 0);
    b.membership.assign(1, 0);
    const endMs = performance.now() + 2_000;
    let count = 0;
    while (performance.now() < endMs) {
      await group.append(count, 1, USERS);
      count += 1;
      await sleep(10);
    }
    const fencings = [...a.states, ...b.states].filter((state) => state === 'features 0 FENCING').length;
    expect(fencings).toBeGreaterThan(2);
    expect(fencings).toBeLessThan(16);
    b.membership.assign(2);
    a.membership.assign(2, ...ALL);
    await group.untilConsumed(count * USERS);
    expect(await group.newestFeatures()).toEqual(await undisturbed([0, count]));
  });
});

describe('what fails', () => {
  it('and passes by itself is waited out, also while a task starts', async () => {
    await open();
    await group.append(0, 3, USERS);
    let failures = 0;
    const fails = (): boolean => {
      failures += 1;
      return failures % 5 === 0 && failures < 100;
    };
    const unavailable = new FreshetError('LOG_UNAVAILABLE', 'for the test');
    const log = logWith((inner) => ({
      read: (...args) => (fails() ? Promise.reject(unavailable) : inner.read(...args)),
      openWriter: (...args) => (fails() ? Promise.reject(unavailable) : inner.openWriter(...args)),
      endOffset: (...args) => (fails() ? Promise.reject(unavailable) : inner.endOffset(...args)),
      waitForRecords: (...args) => (fails() ? Promise.reject(unavailable) : inner.waitForRecords(...args)),
    }));
    const a = group.worker('a', { log });
    a.membership.assign(1, ...ALL);
    await group.untilConsumed(3 * USERS);
    expect(failures).toBeGreaterThanOrEqual(30);
    expect(await group.newestFeatures()).toEqual(await undisturbed([0, 3]));
  });

  it('and needs a person ends the worker with its error, tasks closed and the group left', async () => {
    await open();
    await group.append(0, 1, USERS);
    const fatal = new FreshetError('OFFSET_OUT_OF_RANGE', 'for the test');
    const log = logWith((inner) => ({
      read: (at, ...rest) =>
        at.topic === 'user-actions' && at.partition === 2 ? Promise.reject(fatal) : inner.read(at, ...rest),
    }));
    const a = group.worker('a', { log });
    a.membership.assign(1, ...ALL);
    await expect(a.result).rejects.toBe(fatal);
    expect(a.membership.left).toBe(true);
    expect(a.states.filter((state) => state.endsWith('CLOSED'))).toHaveLength(2 * PARTITIONS);
  });

  it('in the membership ends the worker too', async () => {
    await open();
    const a = group.worker('a');
    a.membership.assign(1, 0);
    await until(() => a.states.includes('join 0 RUNNING'));
    const fatal = new FreshetError('KAFKA_AUTHORIZATION', 'for the test');
    a.membership.fail(fatal);
    await expect(a.result).rejects.toBe(fatal);
    expect(a.states).toContain('features 0 CLOSED');
  });
});

describe('commits', () => {
  it.each([1, 2])('are in the making %d at a time, and none is begun after the stop', async (commitsAtOnce) => {
    await open({ kafkaCommitsAtOnce: commitsAtOnce });
    await group.append(0, 30, USERS);
    let [now, most, stopped] = [0, 0, false];
    const log = logWith((inner) => ({
      openWriter: async (taskId) => {
        const writer = await inner.openWriter(taskId);
        return {
          committed: (input) => writer.committed(input),
          commit: async (request) => {
            expect(stopped).toBe(false);
            now += 1;
            most = Math.max(most, now);
            await sleep(5);
            await writer.commit(request);
            now -= 1;
          },
          close: () => writer.close(),
        };
      },
    }));
    const a = group.worker('a', { log, config: { commit: { ...group.deployment.config.commit, maxRecords: 5 } } });
    a.membership.assign(1, ...ALL);
    await until(async () => (await group.consumed()) > 5 * USERS);
    await a.stop();
    stopped = true;
    const consumed = await group.consumed();
    expect(consumed).toBeLessThan(30 * USERS);
    expect([most, now]).toEqual([commitsAtOnce, 0]);
    expect(a.membership.left).toBe(true);
    await sleep(50);
    expect(await group.consumed()).toBe(consumed);
  });

  it('close by their interval where little comes, and are not waited for where much does', async () => {
    await open({ commitIntervalMs: 300 });
    const commits: number[] = [];
    const a = group.worker('a', {
      observer: { committed: ({ kind }, { records }) => kind === 'features' && commits.push(records) },
    });
    a.membership.assign(1, ...ALL);
    const startedMs = performance.now();
    let appended = 0;
    for (; performance.now() - startedMs < 1_500; appended += 1) {
      await group.append(appended, 1, USERS);
      await sleep(5);
    }
    await group.untilConsumed(appended * USERS);
    // At most one an interval and partition; what comes to an idle partition first is not held back.
    expect(commits.length).toBeLessThanOrEqual(PARTITIONS * 8);
    expect(commits.length).toBeGreaterThanOrEqual(PARTITIONS * 4);
  });
});

describe('until the end', () => {
  it('features and joins are done, and the result tells of all', async () => {
    await open();
    await group.append(0, 5, USERS);
    const a = group.worker('a', { untilEnd: true });
    a.membership.assign(1, ...ALL);
    const startedMs = performance.now();
    const result = await a.result;
    expect(result).toEqual({ records: 5 * USERS, features: USERS, ranked: USERS, counts: { accepted: 5 * USERS } });
    expect(performance.now() - startedMs).toBeLessThan(5_000);
    const again = group.worker('a', { untilEnd: true });
    again.membership.assign(2, ...ALL);
    expect(await again.result).toEqual({ records: 0, features: 0, ranked: 0, counts: { accepted: 5 * USERS } });
  });

  it('is told instead where somebody else decides', async () => {
    await open();
    await group.append(0, 5, USERS);
    const told: boolean[] = [];
    const a = group.worker('a', { untilEnd: true, onCaughtUp: (isCaughtUp) => told.push(isCaughtUp) });
    a.membership.assign(1, 0);
    await until(() => told.at(-1) === true);
    a.membership.assign(2, 0, 1);
    expect(told.at(-1)).toBe(false);
    await until(() => told.at(-1) === true);
    await a.stop();
  });
});

describe('a standby', () => {
  it('makes a takeover read less, and gives way to it', async () => {
    await open();
    await group.append(0, 20, USERS);
    const [a, cold, warm] = [
      group.worker('a'),
      group.worker('cold'),
      group.worker('warm', { config: { standby: true } }),
    ];
    warm.membership.assign(1);
    cold.membership.assign(1);
    a.membership.assign(1, ...ALL);
    await group.untilConsumed(20 * USERS);
    await sleep(5_500);
    await group.append(20, 2, USERS);
    await group.untilConsumed(22 * USERS);

    a.membership.assign(2);
    warm.membership.assign(2, 0, 1);
    cold.membership.assign(2, 2, 3);
    await until(() => warm.states.includes('features 1 RUNNING') && cold.states.includes('features 3 RUNNING'));
    await group.append(22, 2, USERS);
    await group.untilConsumed(24 * USERS);
    const read = (restored: Map<number, number>, partitions: number[]): number =>
      partitions.reduce((sum, partition) => sum + (restored.get(partition) ?? 0), 0);
    const [near, far] = [read(warm.restored, [0, 1]), read(cold.restored, [2, 3])];
    console.info(`features read at a takeover: ${near} with a standby, ${far} without`);
    expect(near).toBeLessThan(far);
    expect(await group.newestFeatures()).toEqual(await undisturbed([0, 20], [20, 2], [22, 2]));
  });
});
