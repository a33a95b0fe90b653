/** A feature task on a real embedded log and a real store, without the CLI and with a scorer in plain arithmetic. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { loadConfig, type Config } from '../../src/base/config.ts';
import { partitionOf } from '../../src/base/murmur2.ts';
import { ItemVersions } from '../../src/intent/item-versions.ts';
import type { Scorer } from '../../src/intent/scorer.ts';
import { EmbeddedLog } from '../../src/log/embedded.ts';
import type { LogRecord } from '../../src/log/log.ts';
import { records } from '../../src/log/newest.ts';
import { Codec } from '../../src/serde/codec.ts';
import { Registry } from '../../src/serde/registry.ts';
import { FeatureTask, type FeatureTaskOptions, type StepPoint } from '../../src/task/feature-task.ts';
import { declareTopics, type TopicName } from '../../topics/index.ts';
import { fakeScorer } from './fake-scorer.ts';

/** Memory where there is some: these tests are about what is written, not about how long a disk takes to sync. */
const FAST = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/** One for all: each pino logger hooks into the exit of the process. */
const SILENT = pino({ level: 'silent' });

const codec = await Codec.open(await Registry.open({ dataDir: null }));

export interface RawRecord {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly timestampMs: number;
  readonly partition?: number;
  readonly headers?: Record<string, Buffer>;
}

export interface TestAction {
  readonly userId: string;
  readonly itemId?: string;
  readonly actionType?: string;
  readonly eventTimeMs: number;
  readonly surface?: string | null;
  readonly arrivalTimeMs?: number;
}

/** The bytes of an action as a producer writes them. */
export function actionRecord({
  userId,
  itemId = 'i',
  actionType = 'view',
  eventTimeMs,
  surface = null,
  arrivalTimeMs,
}: TestAction): RawRecord {
  const value = codec.encode('user-actions-value', { userId, itemId, actionType, eventTimeMs, surface });
  return { key: Buffer.from(userId), value, timestampMs: arrivalTimeMs ?? eventTimeMs };
}

export class Stream {
  readonly codec = codec;
  readonly log: EmbeddedLog;
  readonly config: Config;
  readonly scorer: Scorer;
  readonly folder: string;
  readonly itemVersions: ItemVersions;

  private constructor(folder: string, log: EmbeddedLog, config: Config, scorer: Scorer) {
    this.folder = folder;
    this.log = log;
    this.config = config;
    this.scorer = scorer;
    this.itemVersions = new ItemVersions({ log, codec });
  }

  static async open(
    flags: Record<string, unknown> = {},
    {
      scorer = fakeScorer(),
      folder = mkdtempSync(join(FAST, 'freshet-stream-')),
    }: { scorer?: Scorer; folder?: string } = {},
  ): Promise<Stream> {
    const config = loadConfig({ env: {}, flags: { partitions: 1, ...flags, dataDir: folder }, cwd: folder });
    const log = await EmbeddedLog.open(join(folder, 'log'));
    await log.createTopics(declareTopics(config.partitions));
    return new Stream(folder, log, config, scorer);
  }

  async append(...raw: readonly RawRecord[]): Promise<void> {
    await this.log.append(
      raw.map(({ partition, ...record }) => ({
        topic: 'user-actions',
        partition: partition ?? (record.key === null ? 0 : partitionOf(record.key, this.config.partitions)),
        ...record,
      })),
    );
  }

  storeFolder(partition = 0): string {
    return join(this.folder, 'state', `user-actions-${partition}`);
  }

  /** Deletes the store, as somebody might at any time between two runs. */
  deleteStore(partition = 0): void {
    rmSync(this.storeFolder(partition), { recursive: true, force: true });
  }

  async task(partition = 0, onStep?: (point: StepPoint) => void | Promise<void>): Promise<FeatureTask> {
    const task = this.newTask(partition, onStep === undefined ? {} : { onStep });
    await task.start();
    return task;
  }

  /** A task that is not started, with some of its options replaced. */
  newTask(partition = 0, given: Partial<FeatureTaskOptions> = {}): FeatureTask {
    const { log, scorer, itemVersions, config } = this;
    const storeFolder = this.storeFolder(partition);
    return new FeatureTask({
      ...{ log, codec, scorer, itemVersions, config, partition, storeFolder, logger: SILENT },
      ...given,
    });
  }

  /** Runs one partition to its end; the counts by outcome. */
  async run(partition = 0): Promise<Readonly<Record<string, number>>> {
    const task = await this.task(partition);
    while ((await task.step()).records > 0);
    const { counts } = task;
    await task.close();
    return counts;
  }

  /** The Avro body of the newest features record of each user, hex; null for a tombstone. */
  async newestFeatures(partition = 0): Promise<Map<string, string | null>> {
    const newest = new Map<string, string | null>();
    for (const { key, value } of await this.read('sequence-features', partition)) {
      newest.set(key!.toString(), value === null ? null : codec.body(value).toString('hex'));
    }
    return newest;
  }

  /** The restorable state of every user, hex. */
  async states(partition = 0): Promise<Map<string, string>> {
    const task = await this.task(partition);
    const states = new Map<string, string>();
    for await (const { userId, stateBody } of task.states()) states.set(userId, stateBody.toString('hex'));
    await task.close();
    return states;
  }

  async read(topic: TopicName, partition = 0): Promise<LogRecord[]> {
    const at = { topic, partition };
    return Array.fromAsync(records(this.log, at, 0, await this.log.endOffset(at)));
  }

  async close(): Promise<void> {
    await this.log.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
