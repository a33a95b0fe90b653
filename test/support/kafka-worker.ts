/** Whole workers of a job on a real broker, in this process: tasks, loops, and a place in the group. */
import { kafkaConfig } from '../../src/log/kafka-connection.ts';
import { wrapLog } from '../../src/log/wrapped-log.ts';
import type { Log } from '../../src/log/log.ts';
import { Deployment } from '../../src/run/deployment.ts';
import { GroupMember } from '../../src/run/group-member.ts';
import { GroupWorker } from '../../src/run/group-worker.ts';
import type { RunResult } from '../../src/run/worker.ts';
import type { CommitReport, TaskRef } from '../../src/task/observer.ts';
import type { KafkaJob } from './kafka-job.ts';
import type { KafkaProxy } from './kafka-proxy.ts';

export interface WorkerOptions {
  /** Calls of the log that are replaced. */
  readonly log?: Partial<Log>;
  /** Through which the connections of the group lead too. */
  readonly proxy?: KafkaProxy;
}

export class KafkaWorker {
  /** Those of the present assignment; null before the first. */
  partitions: readonly number[] | null = null;
  /** Tasks whose restore has begun and not ended, e.g. `features 0`. */
  readonly restoring = new Set<string>();
  /** Every state that a task came to, e.g. `features 0 RUNNING`. */
  readonly states: string[] = [];
  readonly commits: (TaskRef & CommitReport)[] = [];
  private readonly signal = new AbortController();
  private readonly result: Promise<RunResult>;

  constructor(job: KafkaJob, { log = {}, proxy }: WorkerOptions = {}) {
    const { config, logger, codec } = job.deployment;
    const { sessionTimeoutMs, heartbeatIntervalMs } = config.kafka;
    const sockets = proxy && { socketFactory: proxy.socketFactory };
    const worker = new GroupWorker({
      deployment: new Deployment(config, logger, wrapLog(job.log, log), codec),
      scorer: job.scorer,
      membership: new GroupMember({
        cluster: { kafka: { ...kafkaConfig(config, logger), ...sockets }, logger, topicPrefix: '', patienceMs: 5_000 },
        ...{ groupId: config.appId, topics: ['user-actions'], partitions: config.partitions },
        ...{ sessionTimeoutMs, heartbeatIntervalMs, logger },
      }),
      signal: this.signal.signal,
      observer: {
        joined: (tasks) => (this.partitions = [...new Set(tasks.map(({ partition }) => partition))]),
        left: () => (this.partitions = []),
        state: (task, state) => {
          this.states.push(`${nameOf(task)} ${state}`);
          if (state !== 'RESTORING') this.restoring.delete(nameOf(task));
        },
        restoring: (task, restored, total) => {
          if (restored < total) this.restoring.add(nameOf(task));
        },
        committed: (task, report) => this.commits.push({ ...task, ...report }),
      },
    });
    this.result = worker.run();
    this.result.catch(() => undefined);
  }

  /** Asks the worker to end, and fails if it did not do so cleanly. */
  stop(): Promise<RunResult> {
    this.signal.abort();
    return this.result;
  }
}

const nameOf = ({ kind, partition }: TaskRef): string => `${kind} ${partition}`;
