/**
 * Partitions that change hands on a real broker: while stores are restored, between the sending of a commit and its
 * decision, and when nobody knows what was decided.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it, vi } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { OnnxScorer } from '../src/intent/onnx-scorer.ts';
import { KafkaCluster } from '../src/log/kafka-cluster.ts';
import { kafkaConfig } from '../src/log/kafka-connection.ts';
import type { Log } from '../src/log/log.ts';
import { WorkerPool, type PooledWorker } from './support/chaos/pool.ts';
import { jsonLines, type LogLine } from './support/cli.ts';
import { KafkaJob, type JobOptions } from './support/kafka-job.ts';
import { KafkaProxy, isCommit, type Verdict } from './support/kafka-proxy.ts';
import { KafkaWorker } from './support/kafka-worker.ts';
import { kafkaForTests } from './support/kafka.ts';
import { tempDir } from './support/temp-dir.ts';
import { untilConsumed } from './support/until-consumed.ts';

const PATIENCE_MS = 50_000;
const READ_UNCOMMITTED = 0;
const TIMEOUT = { timeout: 120_000 };
const FLAGS = { commitIntervalMs: 50, kafkaSessionTimeoutMs: 2_500, kafkaHeartbeatIntervalMs: 300 };

const opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0).reverse()) await each.close().catch(() => undefined);
});

async function open(options: JobOptions): Promise<KafkaJob> {
  const job = await KafkaJob.open({ ...options, flags: { ...FLAGS, ...options.flags } });
  opened.push(job);
  return job;
}

function start(job: KafkaJob, options: ConstructorParameters<typeof KafkaWorker>[1] = {}): KafkaWorker {
  const worker = new KafkaWorker(job, options);
  opened.push({ close: () => worker.stop() });
  return worker;
}

const until = (holds: () => unknown): Promise<unknown> => vi.waitUntil(holds, { timeout: PATIENCE_MS, interval: 10 });

it(
  'rebalanced three times during restores: nothing is lost, doubled or restored again where it stays',
  TIMEOUT,
  async () => {
    const PARTITIONS = 4;
    const filled = await open({ partitions: PARTITIONS });
    await filled.append(600);
    await filled.run();

    // A restore goes on for half a minute, unless it is let go.
    let isSlow = true;
    const bare = async (): Promise<{ job: KafkaJob; worker: KafkaWorker }> => {
      const job = await open({ on: filled, appId: filled.log.appId });
      const read: Log['read'] = async (at, offset, limits) => {
        if (!isSlow || at.topic !== 'sequence-features') return job.log.read(at, offset, limits);
        await sleep(50);
        return job.log.read(at, offset, { ...limits, maxRecords: 1 });
      };
      return { job, worker: start(job, { log: { read } }) };
    };
    /** The group has given all partitions to these workers. */
    const settled = (...workers: KafkaWorker[]): Promise<unknown> =>
      until(() => {
        const all = workers.flatMap(({ partitions }) => partitions ?? []);
        return workers.every(({ partitions }) => partitions?.length) && all.sort().join() === '0,1,2,3';
      });

    const { job: jobA, worker: a } = await bare();
    await until(() => a.restoring.size > 0);
    const { worker: b } = await bare();
    await settled(a, b);
    expect(a.restoring.size).toBeGreaterThan(0);
    await until(() => b.restoring.size > 0);
    const { job: jobC, worker: c } = await bare();
    await settled(a, b, c);
    const kept = a.partitions!;
    expect(a.restoring.size).toBeGreaterThan(0);
    await until(() => c.restoring.size > 0 && b.restoring.size > 0);
    await filled.append(200);
    await b.stop();
    await settled(a, c);
    expect(a.restoring.size + c.restoring.size).toBeGreaterThan(0);
    isSlow = false;
    await untilConsumed(filled.deployment, PATIENCE_MS);

    for (const partition of kept) {
      expect(a.states.filter((state) => state === `features ${partition} RESTORING`)).toHaveLength(1);
    }
    const held = [a.partitions!, c.partitions!];
    await a.stop();
    await c.stop();
    await filled.expectAsEmbedded();
    for (const [index, job] of [jobA, jobC].entries()) {
      for (const partition of held[index]!) {
        expect(await job.states(partition)).toEqual(await filled.states(partition));
      }
    }
  },
);

it(
  'stopped between sending and committing, replaced and resumed: fenced, and nothing of it is seen',
  TIMEOUT,
  async () => {
    const model = packagePath('test', 'fixtures', 'intent', 'small');
    const job = await open({ partitions: 2, scorer: await OnnxScorer.load(model), flags: { model } });
    await job.append(300);
    const pool = new WorkerPool(tempDir(), job.flags, job.log.topicName(''));
    opened.push({ close: () => pool.killAll() });
    const zombies: PooledWorker[] = [];
    for (const [kind, output] of [
      ['features', 'sequence-features'],
      ['join', 'ranking-features'],
    ] as const) {
      const zombie = pool.start({ step: `${kind} sent`, occurrence: 2, when: 'at', signal: 'SIGSTOP' });
      await until(() => isStopped(zombie));
      // What it has sent is in the log, undecided.
      expect(await undecided(job, output)).toBeGreaterThan(0);
      zombies.push(zombie);
    }
    const successor = pool.start();
    await job.append(100);
    await untilConsumed(job.deployment, PATIENCE_MS);
    for (const zombie of zombies) zombie.process.kill('SIGCONT');
    for (const [index, kind] of ['features', 'join'].entries()) {
      const file = pool.logFile(zombies[index]!.name);
      const lines = (): LogLine[] => jsonLines<LogLine>(readFileSync(file, 'utf8'));
      await until(() => lines().some((line) => line.code === 'FENCED' && (line as { kind?: string }).kind === kind));
    }
    await job.append(100);
    await untilConsumed(job.deployment, PATIENCE_MS);
    for (const worker of [...zombies, successor]) await pool.stop(worker);
    await job.expectAsEmbedded();
  },
);

const isStopped = ({ process: { pid } }: PooledWorker): boolean =>
  execFileSync('ps', ['-o', 'stat=', '-p', `${pid}`], { encoding: 'utf8' }).startsWith('T');

/** Offsets that stand behind the first transaction that is open, over all partitions. */
async function undecided({ log, deployment }: KafkaJob, topic: string): Promise<number> {
  const { config, logger } = deployment;
  const topicPrefix = log.topicName('');
  const cluster = new KafkaCluster({
    kafka: kafkaConfig(config, logger),
    logger,
    topicPrefix,
    patienceMs: PATIENCE_MS,
  });
  let count = 0;
  for (let partition = 0; partition < config.partitions; partition += 1) {
    const end = { topic: log.topicName(topic), partitions: [{ partition, timestamp: -1 }] };
    const leader = await cluster.leader({ topic, partition });
    const { responses } = await leader.listOffsets({ isolationLevel: READ_UNCOMMITTED, topics: [end] });
    count += Number(responses[0]!.partitions[0]!.offset) - (await log.endOffset({ topic, partition }));
  }
  await cluster.close();
  return count;
}

const UNANSWERED: readonly [Verdict, string][] = [
  ['lose answer', 'committed, and the answer is lost'],
  ['lose request', 'not committed, as the request is lost'],
];
it.each(UNANSWERED)('unanswered (%s): %s; the worker finds out and goes on', TIMEOUT, async (verdict) => {
  const proxy = await KafkaProxy.start(kafkaForTests().brokers[0]!);
  opened.push({ close: () => proxy.stop() });
  const job = await open({ partitions: 2, proxy, requestTimeoutMs: 1_000 });
  await job.append(300);
  const left = new Set([`${job.log.appId}-user-actions-0`, `${job.log.appId}-join-0`]);
  proxy.judge = (request) => {
    const hit = isCommit(request) && [...left].find((taskId) => request.frame.includes(taskId));
    return hit !== undefined && hit !== false && left.delete(hit) ? verdict : 'pass';
  };
  const worker = start(job, { proxy });
  await until(() => left.size === 0);
  await job.append(100);
  await untilConsumed(job.deployment, PATIENCE_MS);
  await worker.stop();

  const unknown = job.lines.filter(({ code }) => code === 'COMMIT_UNKNOWN').map(({ topic }) => topic);
  expect(unknown.sort()).toEqual(['ranking-features', 'user-actions']);
  for (const kind of ['features', 'join']) {
    expect(worker.states.filter((state) => state === `${kind} 0 FENCING`)).toHaveLength(2);
    expect(worker.states.filter((state) => state === `${kind} 1 FENCING`)).toHaveLength(1);
  }
  // Each commit is told of once, whatever was heard of it.
  const told = worker.commits.filter(({ kind }) => kind === 'features').reduce((sum, { records }) => sum + records, 0);
  const consumed = await Promise.all(
    [0, 1].map((partition) => job.log.endOffset({ topic: 'user-actions', partition })),
  );
  expect(told).toBe(consumed[0]! + consumed[1]!);
  await job.expectAsEmbedded();
});
