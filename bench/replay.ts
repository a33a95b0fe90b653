/**
 * What of a log is made once more, and how fast: `npm run bench:replay -- [--actions=3000000] [--clicks=FILE] [SCENARIO…]`.
 * Each scenario is the command that users have, in a process of its own with the container's memory settings; its input
 * is put into the log before, which is not timed. Prints one line of JSON.
 *
 *     replay-embedded  with scoring and without emission; over a third of the log as well, as memory must not grow with it
 *     replay-kafka     the same input from a broker on the same cores
 *     verify           of a log that was consumed: its records compared with what the replay makes
 *     backfill         of the same log: a row for each of its likes
 */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packagePath } from '../src/base/package-root.ts';
import { LocalKafka } from '../src/local-kafka/local-kafka.ts';
import { describeEnvironment } from './environment.ts';
import { freshet, Job, type Cluster } from './kafka-job.ts';
import { printResult } from './report.ts';
import { WORKLOAD } from './workload.ts';

/** The configuration's default. */
const PARTITIONS = 8;
/** A log that has to be consumed before it is measured. */
const CONSUMED_ACTIONS = 400_000;
const EMBEDDED: Cluster = { brokers: '', registry: '' };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { actions: { type: 'string', default: '3000000' }, clicks: { type: 'string' } },
});
const actions = Number(values.actions);

interface Measured extends Record<string, unknown> {
  readonly name: string;
  readonly actionsPerSecond: number;
}

const SCENARIOS: Readonly<Record<string, () => Promise<Measured[]>>> = {
  'replay-embedded': replayEmbedded,
  'replay-kafka': replayKafka,
  'verify and backfill': verifyAndBackfill,
};

const folder = await mkdtemp(join(tmpdir(), 'freshet-bench-replay-'));
const results: Measured[] = [];
try {
  for (const [name, measure] of Object.entries(SCENARIOS)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    process.stderr.write(`${name} …\n`);
    const measured = await measure();
    process.stderr.write(`${JSON.stringify(measured, null, 2)}\n`);
    results.push(...measured);
  }
} finally {
  await rm(folder, { recursive: true });
}
const [embedded, kafka] = ['replay-embedded', 'replay-kafka'].map((name) => results.find((each) => each.name === name));
const ofEmbedded = embedded && kafka && Math.round((kafka.actionsPerSecond / embedded.actionsPerSecond) * 100) / 100;
printResult({
  ...describeEnvironment(['kafkajs', 'onnxruntime-node', 'classic-level', 'avsc']),
  results: results.map((each) => (each === kafka ? { ...each, ofEmbedded } : each)),
});

async function replayEmbedded(): Promise<Measured[]> {
  const dataDir = join(folder, 'embedded');
  fill(EMBEDDED, dataDir);
  const measured: Measured[] = [];
  const third = [`--to=${Math.round(actions / 3 / PARTITIONS)}`];
  for (const [name, flags] of [
    ['replay-embedded', []],
    ['replay-embedded-third', third],
  ] as const) {
    measured.push(await replay(name, EMBEDDED, [`--data-dir=${dataDir}`, ...flags]));
  }
  await rm(dataDir, { recursive: true });
  return measured;
}

async function replayKafka(): Promise<Measured[]> {
  const kafkaLog = await LocalKafka.start({ dataDir: join(folder, 'kafka') });
  try {
    const cluster = { brokers: kafkaLog.brokers.join(','), registry: kafkaLog.registry! };
    const dataDir = join(folder, 'on-kafka');
    await freshet(cluster, 'topics', 'apply', '--json');
    fill(cluster, dataDir);
    return [await replay('replay-kafka', cluster, [`--data-dir=${dataDir}`])];
  } finally {
    await kafkaLog.stop();
  }
}

async function verifyAndBackfill(): Promise<Measured[]> {
  const dataDir = join(folder, 'consumed');
  fill(EMBEDDED, dataDir, CONSUMED_ACTIONS);
  const flag = `--data-dir=${dataDir}`;
  await freshet(EMBEDDED, 'run', '--until-end', flag);
  const verify = await new Job(EMBEDDED, ['replay', '--verify', '--json', flag]).end<{ records: number }>();
  const { records, ...found } = verify.result;
  const actionsPerSecond = Math.round(records / verify.seconds);
  const verified = { name: 'verify', actionsPerSecond, ...found, seconds: verify.seconds, ...verify.usage };
  const out = `--out=${join(folder, 'rows')}`;
  const backfill = await new Job(EMBEDDED, ['backfill', '--actions=like', out, '--json', flag]).end<{ rows: number }>();
  const { rows } = backfill.result;
  const rowsPerSecond = Math.round(rows / backfill.seconds);
  const perSecond = { actionsPerSecond: Math.round(CONSUMED_ACTIONS / backfill.seconds), rowsPerSecond };
  return [verified, { name: 'backfill', ...perSecond, rows, seconds: backfill.seconds, ...backfill.usage }];
}

function fill({ brokers, registry }: Cluster, dataDir: string, count = actions): void {
  // As many actions a user as in the other benchmarks.
  const users = Math.round((WORKLOAD.users * count) / WORKLOAD.actions);
  const input = values.clicks === undefined ? [String(count), String(users)] : [values.clicks];
  execFileSync(process.execPath, [packagePath('bench', 'fill-log.ts'), dataDir, ...input], {
    stdio: 'inherit',
    env: { ...process.env, FRESHET_BROKERS: brokers, FRESHET_REGISTRY: registry },
  });
}

/** The time is that of the command's own work, with loading the model in it. */
async function replay(name: string, cluster: Cluster, flags: readonly string[]): Promise<Measured> {
  const job = new Job(cluster, ['replay', '--json', ...flags]);
  const { result, usage } = await job.end<{ records: number; revisions: number; seconds: number }>();
  const { records, revisions, seconds } = result;
  return {
    name,
    actionsPerSecond: Math.round(records / seconds),
    ...{ records, revisions, seconds, ...usage },
    ...{ actionsPerCpuSecond: Math.round(records / usage.cpuSeconds) },
  };
}
