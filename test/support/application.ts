/** An application on an embedded log, both tasks of every partition, without the CLI and with a scorer in plain arithmetic. */
import { rmSync } from 'node:fs';
import { pino } from 'pino';
import type { Config } from '../../src/base/config.ts';
import { JoinTask } from '../../src/join/join-task.ts';
import { Deployment } from '../../src/run/deployment.ts';
import { FeatureTask } from '../../src/task/feature-task.ts';
import { fakeScorer } from './fake-scorer.ts';
import { Stream, type RawRecord } from './stream.ts';

const SILENT = pino({ level: 'silent' });

export interface Outcome {
  /** The Avro body of each user's newest features, hex; null for a tombstone. */
  readonly features: Readonly<Record<string, string | null>>;
  /** The restorable state of each user, hex. */
  readonly states: Readonly<Record<string, string>>;
  /** Key and value of the newest history records that are no tombstones, hex. */
  readonly history: Readonly<Record<string, string>>;
}

export class Application {
  readonly stream: Stream;
  readonly deployment: Deployment;
  readonly scorer = fakeScorer();

  constructor(stream: Stream, config: Config = stream.config) {
    this.stream = stream;
    this.deployment = new Deployment(config, SILENT, stream.log, stream.codec);
  }

  static async open(flags: Record<string, unknown> = {}): Promise<Application> {
    return new Application(await Stream.open({ partitions: 2, commitMaxRecords: 7, ...flags }));
  }

  get config(): Config {
    return this.deployment.config;
  }

  append(records: readonly RawRecord[]): Promise<void> {
    return this.stream.append(...records);
  }

  task(partition: number): FeatureTask {
    const storeFolder = this.deployment.storeFolder('user-actions', partition);
    return new FeatureTask({ ...this.deployment, scorer: this.scorer, partition, storeFolder });
  }

  join(partition: number): JoinTask {
    return new JoinTask({ ...this.deployment, partition, storeFolder: this.deployment.storeFolder('join', partition) });
  }

  /** Runs all partitions, by default to the end of the input. */
  async run(commits = Infinity): Promise<void> {
    for (let partition = 0; partition < this.config.partitions; partition += 1) {
      for (const task of [this.task(partition), this.join(partition)]) {
        await task.start();
        for (let left = commits; left > 0 && (await task.step()).records > 0;) left -= 1;
        await task.close();
      }
    }
  }

  async outcome(): Promise<Outcome> {
    const features: Record<string, string | null> = {};
    const states: Record<string, string> = {};
    const history = new Map<string, string>();
    for (let partition = 0; partition < this.config.partitions; partition += 1) {
      Object.assign(features, Object.fromEntries(await this.stream.newestFeatures(partition)));
      const task = this.task(partition);
      await task.start();
      for await (const { userId, stateBody } of task.states()) states[userId] = stateBody.toString('hex');
      await task.close();
      for (const { key, value } of await this.stream.read('action-history', partition)) {
        if (value === null) history.delete(key!.toString('hex'));
        else history.set(key!.toString('hex'), value.toString('hex'));
      }
    }
    return { features, states, history: Object.fromEntries(history) };
  }

  deleteStores(): void {
    for (let partition = 0; partition < this.config.partitions; partition += 1) {
      for (const kind of ['user-actions', 'join'] as const) {
        rmSync(this.deployment.storeFolder(kind, partition), { recursive: true, force: true });
      }
    }
  }

  close(): Promise<void> {
    return this.stream.close();
  }
}
