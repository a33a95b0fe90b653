/**
 * An application on a real broker, under topics of its own, as one process has it: its features tasks and joins, driven by
 * hand or by a worker, and the same input through an embedded deployment, which is what must come out.
 */
import { pino } from 'pino';
import { expect } from 'vitest';
import { loadConfig } from '../../src/base/config.ts';
import { partitionOf } from '../../src/base/murmur2.ts';
import { activateVersion } from '../../src/ingest/activate.ts';
import type { Scorer } from '../../src/intent/scorer.ts';
import { JoinTask, type JoinTaskOptions } from '../../src/join/join-task.ts';
import type { NewRecord } from '../../src/log/log.ts';
import { Deployment } from '../../src/run/deployment.ts';
import { Codec } from '../../src/serde/codec.ts';
import { Registry } from '../../src/serde/registry.ts';
import { FeatureTask, type FeatureTaskOptions } from '../../src/task/feature-task.ts';
import { embeddedOutcome, kafkaOutcome, versionsGoneBack } from './chaos/audit.ts';
import { ChaosInput } from './chaos/input.ts';
import { fakeScorer } from './fake-scorer.ts';
import { openTestLog, type TestLog, type TestLogOptions } from './kafka-log.ts';
import { tempDir } from './temp-dir.ts';

const codec = await Codec.open(await Registry.open({ dataDir: null }));
/** Small windows, so that users have history. */
const FLAGS = {
  registry: 'http://unused',
  commitMaxRecords: 50,
  sequences: [{ name: 'engagement', actionTypes: 'all', windowSize: 10, sealSize: 4, maxAgeMs: null }],
};
const SEED = 1;

export interface JobOptions extends TestLogOptions {
  readonly flags?: Readonly<Record<string, unknown>>;
  /** Of the outputs; by default what is declared. */
  readonly deleteRetentionMs?: number;
  /** Whose topics are used, as they are; by default new ones with nothing but item vectors and their activation. */
  readonly on?: KafkaJob;
  readonly scorer?: Scorer;
}

export interface RunOptions {
  /** Of each task; by default as many as it takes. */
  readonly commits?: number;
}

/** Records that stores were restored with. */
export interface RestoredRecords {
  readonly features: number;
  readonly join: number;
}

interface Parts {
  readonly log: TestLog;
  readonly deployment: Deployment;
  readonly scorer: Scorer;
  /** What the configuration was made of, but for the data folder. */
  readonly flags: Readonly<Record<string, unknown>>;
  /** What was logged, parsed. */
  readonly lines: readonly Record<string, unknown>[];
  readonly deleteRetentionMs: number;
}

export class KafkaJob implements Parts {
  readonly log: TestLog;
  readonly deployment: Deployment;
  readonly scorer: Scorer;
  readonly flags: Readonly<Record<string, unknown>>;
  readonly lines: readonly Record<string, unknown>[];
  readonly deleteRetentionMs: number;
  private readonly input: ChaosInput;

  private constructor({ log, deployment, scorer, flags, lines, deleteRetentionMs }: Parts) {
    this.log = log;
    this.deployment = deployment;
    this.scorer = scorer;
    this.flags = flags;
    this.lines = lines;
    this.deleteRetentionMs = deleteRetentionMs;
    const { partitions } = deployment.config;
    const { dimension, space } = scorer;
    this.input = new ChaosInput({ codec, partitions, seed: SEED, dimension, space });
  }

  static async open(options: JobOptions = {}): Promise<KafkaJob> {
    const { on, scorer = fakeScorer(), partitions = on?.deployment.config.partitions ?? 1 } = options;
    const log = await openTestLog({ ...options, partitions, ...(on && { topicPrefix: on.log.topicName('') }) });
    const flags = { ...FLAGS, brokers: log.brokers, appId: log.appId, partitions, ...options.flags };
    const folder = tempDir();
    const config = loadConfig({ env: {}, flags: { ...flags, dataDir: folder }, cwd: folder });
    const lines: Record<string, unknown>[] = [];
    const logger = pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as never) });
    const deployment = new Deployment(config, logger, log, codec);
    const { deleteRetentionMs = deployment.deleteRetentionMs } = options;
    const job = new KafkaJob({ log, deployment, scorer, flags, lines, deleteRetentionMs });
    if (on !== undefined) return job;
    await log.append(job.input.itemVersion('v1'));
    await activateVersion(log, codec, 'v1', { space: scorer.space, timestampMs: 0 });
    return job;
  }

  /** Actions and what else loggers write: the same ones for every job that appends them to new topics. */
  async append(count: number): Promise<void> {
    await this.log.append(this.input.actions(count));
  }

  /** An action of the user, or its erase. */
  userRecord(userId: string, eventTimeMs: number | null): NewRecord {
    const action = { userId, itemId: 'item-1', actionType: 'view', surface: null, eventTimeMs };
    const value = eventTimeMs === null ? null : codec.encode('user-actions-value', action);
    return { topic: 'user-actions', ...this.keyOf(userId), timestampMs: eventTimeMs ?? 1, value };
  }

  longTermRecord(userId: string): NewRecord {
    const embedding = { userId, version: 'd', asOfMs: 1, space: 's', vector: [userId.length, 1] };
    const value = codec.encode('user-embeddings-value', embedding);
    return { topic: 'user-embeddings', ...this.keyOf(userId), timestampMs: 1, value };
  }

  featuresTask(partition = 0, given: Partial<FeatureTaskOptions> = {}): FeatureTask {
    const { deployment, scorer, deleteRetentionMs } = this;
    const storeFolder = deployment.storeFolder('user-actions', partition);
    return new FeatureTask({ ...deployment, deleteRetentionMs, scorer, partition, storeFolder, ...given });
  }

  joinTask(partition = 0, given: Partial<JoinTaskOptions> = {}): JoinTask {
    const { deployment, deleteRetentionMs } = this;
    const storeFolder = deployment.storeFolder('join', partition);
    return new JoinTask({ ...deployment, deleteRetentionMs, partition, storeFolder, ...given });
  }

  /** Starts the tasks of all partitions and steps them, to the end of the input or for some commits. */
  async run({ commits = Infinity }: RunOptions = {}): Promise<RestoredRecords> {
    const before = this.lines.length;
    for (let partition = 0; partition < this.deployment.config.partitions; partition += 1) {
      for (const task of [this.featuresTask(partition), this.joinTask(partition)]) {
        try {
          await task.start();
          for (let left = commits; left > 0 && (await task.step()).records > 0;) left -= 1;
        } finally {
          await task.close();
        }
      }
    }
    const restored = this.lines.slice(before).filter(({ code }) => code === 'RESTORED');
    const sum = (isJoin: boolean): number =>
      restored
        .filter(({ topic }) => (topic === 'ranking-features') === isJoin)
        .reduce((total, { records }) => total + (records as number), 0);
    return { features: sum(false), join: sum(true) };
  }

  /** The stored state of every user of a partition, hex; the store is restored if it has to be. */
  async states(partition = 0): Promise<Map<string, string>> {
    const task = this.featuresTask(partition);
    try {
      await task.start();
      const states = new Map<string, string>();
      for await (const { userId, stateBody } of task.states()) states.set(userId, stateBody.toString('hex'));
      return states;
    } finally {
      await task.close();
    }
  }

  /** What readers see is what an embedded run makes of the same input, each record once. */
  async expectAsEmbedded(): Promise<void> {
    const found = await kafkaOutcome(this.deployment);
    expect(found).toEqual(await embeddedOutcome(this.deployment, this.scorer));
    expect(found.unaccounted).toBe(0);
    expect(await versionsGoneBack(this.deployment)).toBe(0);
  }

  close(): Promise<void> {
    return this.deployment.close();
  }

  private keyOf(userId: string): { key: Buffer; partition: number } {
    const key = Buffer.from(userId);
    return { key, partition: partitionOf(key, this.deployment.config.partitions) };
  }
}
