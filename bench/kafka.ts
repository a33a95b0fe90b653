/**
 * The job on Kafka, broker on the same machine: throughput with a record a changed user and commit (`kafka-commit`),
 * with a record an action (`kafka-action`) beside a bare kafkajs loop of equal bytes and transactions (`kafka-bare`),
 * with two workers (`kafka-two-workers`), and the latency of a live run (`kafka-latency`). Each is a process of its own
 * with the container's memory settings; the log is filled before, which is not timed. Prints one line of JSON.
 *
 *     node bench/kafka.ts [--actions=400000,1200000] [--only=action,commit,latency]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { LocalKafka } from '../src/local-kafka/local-kafka.ts';
import { describeEnvironment } from './environment.ts';
import { Input } from './kafka-input.ts';
import { KafkaMeasures, type Throughput } from './kafka-measures.ts';

const { values } = parseArgs({
  options: {
    actions: { type: 'string', default: '400000,1200000' },
    only: { type: 'string', default: 'action,commit,latency' },
  },
});
const sizes = values.actions.split(',').map(Number);
const parts = new Set(values.only.split(','));
const COMMIT_EVERY_SECOND = '--commit-interval-ms=1000';

const folder = await mkdtemp(join(tmpdir(), 'freshet-bench-kafka-'));
// What was written is counted afterwards, and the topic of `kafka-bare` is not compacted: nothing is, meanwhile.
const properties = { 'log.cleaner.enable': 'false' };
const kafka = await LocalKafka.start({ dataDir: join(folder, 'kafka'), properties });
const results: object[] = [];
try {
  const cluster = { brokers: kafka.brokers.join(','), registry: kafka.registry! };
  const input = new Input(cluster, folder);
  const measures = new KafkaMeasures(cluster, folder);
  await input.publishVectors();
  for (const actions of sizes) {
    await input.fillTo(actions);
    const run = (name: string, ...flags: string[]): Promise<Throughput> =>
      told(name, () => measures.throughput(name, actions, [COMMIT_EVERY_SECOND, ...flags]));
    if (parts.has('action')) {
      const perAction = await run('kafka-action', '--emit=action');
      const bare = await told('kafka-bare', () => measures.bare(actions));
      results.push({ ...perAction, ofBare: share(perAction, bare) }, bare);
    }
    // The latency is that of a worker which goes on from the state that `kafka-commit` leaves.
    if (parts.has('commit') || parts.has('latency')) {
      const two = await run('kafka-two-workers', '--workers=2');
      const one = await run('kafka-commit');
      results.push(one, { ...two, speedUp: share(two, one) });
    }
  }
  if (parts.has('latency')) {
    results.push(await told('kafka-latency', () => measures.latency(['--commit-interval-ms=100'])));
  }
} finally {
  await kafka.stop();
  await rm(folder, { recursive: true });
}
process.stdout.write(
  `${JSON.stringify({ ...describeEnvironment(['kafkajs', 'onnxruntime-node', 'classic-level', 'avsc']), results })}\n`,
);

async function told<T extends object>(name: string, measure: () => Promise<T>): Promise<T> {
  process.stderr.write(`${name} …\n`);
  const result = await measure();
  process.stderr.write(`${JSON.stringify(result, null, 2)}\n`);
  return result;
}

function share(of: Throughput, to: Throughput): number {
  return Math.round((of.actionsPerSecond / to.actionsPerSecond) * 100) / 100;
}
