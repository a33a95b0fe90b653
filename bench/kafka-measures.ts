/** What is measured on Kafka, each job in processes of its own: see kafka.ts for the order. */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { packagePath } from '../src/base/package-root.ts';
import type { BareJob } from './kafka-bare.ts';
import { freshet, Job, type Cluster, type Ended } from './kafka-job.ts';
import type { LatencyJob } from './kafka-latency.ts';
import { createTopic, removeTopics, written, type Written } from './kafka-outputs.ts';

/** What the feature tasks write, and the join after them: each transaction writes to one of the first two. */
const OUTPUTS = ['sequence-features', 'ranking-features', 'action-history', 'rejected-actions'];
const BARE_OUTPUTS = ['bench-bare-features', 'bench-bare-ranking'] as const;
const PARTITIONS = 8;

interface RunResult {
  readonly records: number;
  readonly features: number;
  readonly ranked: number;
  readonly total: { readonly actionsRead: number; readonly accepted: number };
}

export interface Throughput {
  readonly name: string;
  readonly actions: number;
  readonly actionsPerSecond: number;
}

export class KafkaMeasures {
  private readonly cluster: Cluster;
  private readonly folder: string;
  /** The run measured last, whose state is there to go on from. */
  private last = { appId: '', dataDir: '' };

  constructor(cluster: Cluster, folder: string) {
    this.cluster = cluster;
    this.folder = folder;
  }

  /** The whole job over the whole input, from nothing. */
  async throughput(name: string, actions: number, flags: readonly string[]): Promise<Throughput> {
    await removeTopics(this.cluster.brokers, OUTPUTS);
    await freshet(this.cluster, 'topics', 'apply', '--json');
    this.last = { appId: `${name}-${actions}`, dataDir: join(this.folder, `${name}-${actions}`) };
    const ended = await this.start('run', '--until-end', ...flags).end<RunResult>();
    const { result } = ended;
    if (result.total.actionsRead !== actions) throw new Error(`${result.total.actionsRead} of ${actions} were read`);
    return { name, ...rates(actions, ended), actions, ...(await this.sizes(result)) };
  }

  /** As many records, bytes and transactions as the run measured last read and wrote, with nothing computed. */
  async bare(actions: number): Promise<Throughput> {
    const [features, ranking, ...others] = await this.written();
    // What the feature tasks write besides goes with their features.
    const first = { ...features! };
    for (const { records, bytes } of others) {
      first.records += records;
      first.bytes += bytes;
    }
    const stages = [
      { input: 'user-actions', output: BARE_OUTPUTS[0], inputs: actions, written: first },
      { input: BARE_OUTPUTS[0], output: BARE_OUTPUTS[1], inputs: first.records, written: ranking! },
    ];
    for (const topic of BARE_OUTPUTS) await createTopic(this.cluster.brokers, topic, PARTITIONS);
    const job: BareJob = {
      brokers: this.cluster.brokers.split(','),
      name: `bench-bare-${actions}`,
      stages: stages.map(({ input, output, inputs, written: { records, bytes, transactions } }) => ({
        ...{ input, output },
        outputsPerInput: records / inputs,
        bytesPerOutput: bytes / records,
        inputsPerTransaction: Math.round(inputs / transactions),
      })),
    };
    const result = await script<Throughput>('kafka-bare', job);
    await removeTopics(this.cluster.brokers, BARE_OUTPUTS);
    return result;
  }

  /** From produce to feature, with the state that the run measured last has left. */
  async latency(flags: readonly string[]): Promise<object> {
    const worker = this.start('run', ...flags);
    await worker.running;
    const job: LatencyJob = {
      brokers: this.cluster.brokers.split(','),
      registry: this.cluster.registry,
      partitions: PARTITIONS,
      actionsPerSecond: 2_000,
      warmUpSeconds: 10,
      seconds: 30,
    };
    const result = await script<object>('kafka-latency', job);
    worker.stop();
    const { usage } = await worker.end<RunResult>();
    return { ...result, ...usage };
  }

  private start(...args: string[]): Job {
    const { appId, dataDir } = this.last;
    return new Job(this.cluster, [...args, `--app-id=${appId}`, `--data-dir=${dataDir}`]);
  }

  private async sizes({ features, ranked }: RunResult): Promise<object> {
    const [sequenceFeatures] = await this.written();
    const { bytes, transactions } = sequenceFeatures!;
    return { features, ranked, bytesPerFeature: Math.round(bytes / features), transactions };
  }

  private async written(): Promise<Written[]> {
    const dataDir = join(this.folder, 'read');
    await mkdir(dataDir, { recursive: true });
    return written(this.cluster, dataDir, OUTPUTS);
  }
}

function rates(actions: number, { seconds, warm, usage }: Ended<unknown>) {
  return {
    actionsPerSecond: Math.round(actions / seconds),
    ...(warm && { warmActionsPerSecond: Math.round((actions - warm.afterRecords) / warm.seconds) }),
    seconds: Math.round(seconds * 100) / 100,
    ...usage,
  };
}

/** Runs a file of this folder in a process of its own; the last line that it prints. */
async function script<T>(name: string, job: object): Promise<T> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    packagePath('bench', `${name}.ts`),
    JSON.stringify(job),
  ]);
  return JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as T;
}
