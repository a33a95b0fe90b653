/** Workers of one application on one embedded log, each with a data folder of its own, and a group that a test plays. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { loadConfig, type Config } from '../../src/base/config.ts';
import { partitionOf } from '../../src/base/murmur2.ts';
import type { Log } from '../../src/log/log.ts';
import { records } from '../../src/log/newest.ts';
import { Deployment } from '../../src/run/deployment.ts';
import { GroupWorker, type GroupWorkerOptions } from '../../src/run/group-worker.ts';
import type { Assignment, Membership } from '../../src/run/membership.ts';
import type { RunResult } from '../../src/run/worker.ts';
import type { TaskRef } from '../../src/task/observer.ts';
import type { TaskState } from '../../src/task/life.ts';
import { fakeScorer } from './fake-scorer.ts';

export const PARTITIONS = 4;
const FAST = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/** A group whose assignments the test makes. */
export class FakeMembership implements Membership {
  /** What `confirm` throws; undefined: the worker is a member. */
  replaced: Error | undefined;
  left = false;
  private serve: ((assignment: Assignment) => void) | undefined;
  private readonly fatal = Promise.withResolvers<never>();
  private next: Assignment | undefined;

  async run(serve: (assignment: Assignment) => void, signal: AbortSignal): Promise<void> {
    this.serve = serve;
    if (this.next !== undefined) serve(this.next);
    const aborted = new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => {
        resolve();
      });
    });
    await Promise.race([aborted, this.fatal.promise]);
    this.left = true;
  }

  async confirm(): Promise<void> {
    if (this.replaced !== undefined) throw this.replaced;
  }

  assign(generation: number, ...partitions: number[]): void {
    this.next = { generation, partitions };
    this.serve?.(this.next);
  }

  fail(error: Error): void {
    this.fatal.reject(error);
  }
}

export interface RunningWorker {
  readonly membership: FakeMembership;
  readonly result: Promise<RunResult>;
  /** Every state that a task came to, in order, e.g. `features 0 RUNNING`. */
  readonly states: string[];
  /** Records that the stores of features tasks were restored with, by partition. */
  readonly restored: Map<number, number>;
  readonly signal: AbortController;
  stop(): Promise<RunResult>;
}

export class Group {
  readonly deployment: Deployment;
  private readonly folder: string;
  private readonly running = new Set<RunningWorker>();

  private constructor(folder: string, deployment: Deployment) {
    this.folder = folder;
    this.deployment = deployment;
  }

  static async open(flags: Record<string, unknown> = {}): Promise<Group> {
    const folder = mkdtempSync(join(FAST, 'freshet-group-'));
    const config = loadConfig({
      env: {},
      flags: { partitions: PARTITIONS, commitIntervalMs: 20, ...flags, dataDir: join(folder, 'log') },
      cwd: folder,
    });
    return new Group(folder, await Deployment.open(config, pino({ level: 'silent' })));
  }

  /** A worker; `name` is its data folder. `log` stands between it and the log. */
  worker(
    name: string,
    options: Partial<GroupWorkerOptions> & { readonly log?: Log; readonly config?: Partial<Config> } = {},
  ): RunningWorker {
    const { log = this.deployment.log, config, ...rest } = options;
    const membership = new FakeMembership();
    const signal = new AbortController();
    const states: string[] = [];
    const restored = new Map<number, number>();
    const worker = new GroupWorker({
      deployment: {
        ...this.deployment,
        log,
        config: { ...this.deployment.config, ...config },
        storeFolder: (kind, partition) => join(this.folder, name, `${kind}-${partition}`),
        loadScorer: () => Promise.resolve(fakeScorer()),
        close: () => Promise.resolve(),
      },
      scorer: fakeScorer(),
      membership,
      signal: signal.signal,
      observer: {
        state: ({ kind, partition }: TaskRef, state: TaskState) => states.push(`${kind} ${partition} ${state}`),
        restoring: ({ kind, partition }, _, total) => {
          if (kind === 'features') restored.set(partition, total);
        },
      },
      ...rest,
    });
    const result = worker.run();
    result.catch(() => undefined);
    const running: RunningWorker = {
      membership,
      result,
      states,
      restored,
      signal,
      stop: () => {
        this.running.delete(running);
        signal.abort();
        return result;
      },
    };
    this.running.add(running);
    return running;
  }

  /** Actions of `users` users at `count` times, in all partitions. */
  async append(fromMs: number, count: number, users = 20): Promise<void> {
    const { log, codec } = this.deployment;
    const action = (userId: string, eventTimeMs: number) => ({
      topic: 'user-actions',
      partition: partitionOf(Buffer.from(userId), PARTITIONS),
      key: Buffer.from(userId),
      value: codec.encode('user-actions-value', {
        userId,
        itemId: `item-${eventTimeMs % 7}`,
        actionType: 'view',
        eventTimeMs,
        surface: null,
      }),
      timestampMs: eventTimeMs,
    });
    const ids = Array.from({ length: users }, (_, index) => `user-${index}`);
    for (let at = 0; at < count; at += 1) await log.append(ids.map((userId) => action(userId, fromMs + at)));
  }

  /** The Avro body of each user's newest features; tasks that others serve are not disturbed. */
  async newestFeatures(): Promise<Map<string, string>> {
    const { log, codec } = this.deployment;
    const newest = new Map<string, string>();
    for (let partition = 0; partition < PARTITIONS; partition += 1) {
      const at = { topic: 'sequence-features', partition };
      for await (const { key, value } of records(log, at, 0, await log.endOffset(at))) {
        newest.set(key!.toString(), codec.body(value!).toString('hex'));
      }
    }
    return newest;
  }

  /** Input records consumed, of all partitions, as committed. */
  async consumed(): Promise<number> {
    const { log, config } = this.deployment;
    let sum = 0;
    for (let partition = 0; partition < PARTITIONS; partition += 1) {
      sum += (await log.committed(config.appId, { topic: 'user-actions', partition }))?.offset ?? 0;
    }
    return sum;
  }

  async untilConsumed(count: number): Promise<void> {
    await until(async () => (await this.consumed()) === count);
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.running].map((worker) => worker.stop()));
    await this.deployment.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Fails after ten seconds. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`never came true: ${holds.toString()}`);
    await sleep(5);
  }
}
