/** What happens to workers and broker in the chaos test. Each leaves at least one worker running and the broker up. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LocalKafka } from '../../../src/local-kafka/local-kafka.ts';
import type { WorkerPool } from './pool.ts';
import type { Random } from '../random.ts';

export interface Stage {
  readonly pool: WorkerPool;
  readonly kafka: LocalKafka;
  readonly random: Random;
  readonly sessionTimeoutMs: number;
  /** Gives the workers more to do. */
  readonly feed: () => Promise<void>;
}

/** Steps of a commit, of both kinds of task. */
export const KILL_STEPS = [
  ...['read', 'reduced', 'folded', 'sent', 'log-committed', 'store-committed'].map((step) => `features ${step}`),
  ...['read', 'joined', 'sent', 'log-committed', 'store-committed'].map((step) => `join ${step}`),
];
const MAX_WORKERS = 3;
const KILL_TIMEOUT_MS = 90_000;

export type Disturbance = (stage: Stage) => Promise<void>;

/** A worker that dies by itself at a step of a commit, and one in its place. */
export const killAtStep = (step: string, occurrence: number, when: 'at' | 'after'): Disturbance =>
  named(`SIGKILL ${when} ${step}, occurrence ${occurrence}`, async ({ pool, feed }) => {
    const [first] = pool.running;
    if (pool.running.length >= MAX_WORKERS) await pool.stop(first!);
    const doomed = pool.start({ step, occurrence, when, signal: 'SIGKILL' });
    const startedMs = performance.now();
    for (;;) {
      const ended = await Promise.race([doomed.exited, sleep(2_000)]);
      if (ended !== undefined) {
        if (ended[1] !== 'SIGKILL')
          throw new Error(`${doomed.name} ended with ${ended[0] ?? ended[1]}, not by SIGKILL`);
        break;
      }
      if (performance.now() - startedMs > KILL_TIMEOUT_MS) throw new Error(`${doomed.name} never came to ${step}`);
      await feed();
    }
    if (pool.running.length === 0) pool.start();
  });

export const killFromOutside: Disturbance = named('SIGKILL from outside', async ({ pool, random }) => {
  const worker = pool.running[Math.floor(random() * pool.running.length)]!;
  await pool.kill(worker);
  pool.start();
});

/** A worker that sleeps past its session, is replaced, and comes back: a zombie. */
export const zombie: Disturbance = named('SIGSTOP past the session, then SIGCONT', async (stage) => {
  const { pool, sessionTimeoutMs, feed } = stage;
  if (pool.running.length < 2) pool.start();
  const worker = pool.running[0]!;
  worker.process.kill('SIGSTOP');
  await feed();
  await sleep(sessionTimeoutMs * 1.5);
  await feed();
  worker.process.kill('SIGCONT');
  await sleep(1_000);
});

export const addOrRemove: Disturbance = named('a worker added, or one removed', async ({ pool }) => {
  if (pool.running.length < MAX_WORKERS) pool.start();
  else await pool.stop(pool.running[0]!);
});

export const bounceCleanly: Disturbance = named('broker stopped and started', async ({ kafka }) => {
  await kafka.stopBroker();
  await sleep(1_000);
  await kafka.startBroker();
});

export const bounceHard: Disturbance = named('broker killed and started', async ({ kafka }) => {
  await kafka.kill9();
  await sleep(1_000);
  await kafka.startBroker();
});

/** `count` of them: every kind in turn, in an order and with particulars that the seed gives. */
export function disturbances(count: number, random: Random): Disturbance[] {
  const steps = shuffled(KILL_STEPS, random);
  const kill = (index: number): Disturbance =>
    killAtStep(steps[index % steps.length]!, 1 + Math.floor(random() * 8), index % 2 === 0 ? 'at' : 'after');
  const others = [zombie, bounceHard, addOrRemove, bounceCleanly, killFromOutside, addOrRemove];
  // Of five: a kill at a step, a zombie, a hard and a clean bounce, and a worker that comes or goes.
  const list = Array.from({ length: count }, (_, index) => {
    if (count > others.length && index % 2 === 0) return kill(index / 2);
    if (count > others.length) return others[((index - 1) / 2) % others.length]!;
    return index === 0 ? kill(0) : others[index - 1]!;
  });
  return shuffled(list, random);
}

function named(name: string, disturbance: Disturbance): Disturbance {
  return Object.defineProperty(disturbance, 'name', { value: name });
}

function shuffled<T>(values: readonly T[], random: Random): T[] {
  const list = [...values];
  for (let index = list.length - 1; index > 0; index -= 1) {
    const other = Math.floor(random() * (index + 1));
    [list[index], list[other]] = [list[other]!, list[index]!];
  }
  return list;
}
