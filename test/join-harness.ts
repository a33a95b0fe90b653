/**
 * A join on a real embedded log and a real store, its inputs written by hand, and an oracle that recomputes from the
 * inputs what each output record has to be.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { loadConfig, type Config } from '../src/base/config.ts';
import { JoinTask, type JoinTaskOptions } from '../src/join/join-task.ts';
import { EmbeddedLog } from '../src/log/embedded.ts';
import type { LogRecord } from '../src/log/log.ts';
import { records } from '../src/log/newest.ts';
import { Codec } from '../src/serde/codec.ts';
import { Registry } from '../src/serde/registry.ts';
import type { Action } from '../state/action.ts';
import { toColumns } from '../state/columns.ts';
import { declareTopics, type TopicName } from '../topics/index.ts';
import type {
  RankingFeaturesRecord,
  RankingSequenceRecord,
  SequenceFeaturesRecord,
  UserEmbeddingRecord,
} from '../topics/records.ts';

/** Memory where there is some: these tests are about what is written, not about how long a disk takes to sync. */
const FAST = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
export const codec = await Codec.open(await Registry.open({ dataDir: null }));

export const WINDOW_SIZE = 4;
const SEQUENCES = [{ name: 'engagement', actionTypes: 'all', windowSize: WINDOW_SIZE, sealSize: 3, maxAgeMs: null }];

export interface TestFeatures {
  readonly userId: string;
  /** Oldest first. */
  readonly window?: readonly Action[];
  readonly hiddenPositions?: number[];
  readonly timestampMs?: number;
  readonly itemVersion?: string | null;
  readonly click?: number[];
}

export interface TestVector {
  readonly userId: string;
  readonly key?: string;
  readonly vector?: number[];
  readonly space?: string;
  readonly timestampMs?: number;
}

export const action = (itemId: string, eventTimeMs: number, actionType = 'view', surface = 'web'): Action => ({
  itemId,
  eventTimeMs,
  actionType,
  surface,
});

export function featuresRecord(given: TestFeatures): SequenceFeaturesRecord {
  const { userId, window = [action('i1', 10)], hiddenPositions = [], timestampMs = 1_000, itemVersion = 'v1' } = given;
  const count = window.length;
  const newestEventTimeMs = window.at(-1)?.eventTimeMs ?? 0;
  const counts = { accepted: count, duplicate: 1, late: 2, future: 3, rejected: 4 };
  return {
    userId,
    version: count,
    firstOffset: 0,
    partition: 0,
    envelope: { newestEventTimeMs, newestArrivalTimeMs: timestampMs, ...counts },
    sequences: [
      {
        name: 'engagement',
        ...toColumns(window),
        leftEdge: { eventTimeMs: 0, itemId: 'i0', actionType: 'view' },
        sealed: 7,
        chunks: 1,
        counterTypes: ['view'],
        counters: [1.25, 2.5],
      },
    ],
    views: [{ name: 'engagement', hiddenPositions, counters: [count + 0.5, count], counterTypes: ['view'] }],
    session: { length: count, ageMs: 5, gapMs: -1 },
    scoredSequence: 'engagement',
    itemVersion,
    itemsWithVector: 1,
    intent: [{ outcome: 'click', vector: given.click ?? [0.5, -1] }],
    propensityTypes: ['view'],
    propensity: [1],
    finite: true,
    scorerHash: 'scorer',
  };
}

export class JoinStream {
  readonly log: EmbeddedLog;
  readonly config: Config;
  readonly folder: string;
  /** The lines that the tasks logged, parsed. */
  readonly lines: Record<string, unknown>[] = [];
  private readonly logger = pino({}, { write: (line: string) => void this.lines.push(JSON.parse(line) as never) });

  private constructor(folder: string, log: EmbeddedLog, config: Config) {
    this.folder = folder;
    this.log = log;
    this.config = config;
  }

  static async open(flags: Record<string, unknown> = {}): Promise<JoinStream> {
    const folder = mkdtempSync(join(FAST, 'freshet-join-'));
    const given = { partitions: 1, sequences: SEQUENCES, ...flags, dataDir: folder };
    const log = await EmbeddedLog.open(join(folder, 'log'));
    await log.createTopics(declareTopics(1));
    return new JoinStream(folder, log, loadConfig({ env: {}, flags: given, cwd: folder }));
  }

  static async use<T>(flags: Record<string, unknown>, run: (stream: JoinStream) => Promise<T>): Promise<T> {
    const stream = await JoinStream.open(flags);
    try {
      return await run(stream);
    } finally {
      await stream.close();
    }
  }

  async append(topic: TopicName, key: string | null, value: Buffer | null, timestampMs = 1_000): Promise<number> {
    const record = { topic, partition: 0, timestampMs, key: key === null ? null : Buffer.from(key), value };
    return (await this.log.append([record]))[0]!;
  }

  features(given: TestFeatures): Promise<number> {
    const value = codec.encode('sequence-features-value', featuresRecord(given));
    return this.append('sequence-features', given.userId, value, given.timestampMs);
  }

  vector({ userId, key = userId, vector = [1, 2], space = 'space', timestampMs }: TestVector): Promise<number> {
    const value = codec.encode('user-embeddings-value', { userId, version: 'day-1', asOfMs: 500, space, vector });
    return this.append('user-embeddings', key, value, timestampMs);
  }

  get storeFolder(): string {
    return join(this.folder, 'state', 'join-0');
  }

  deleteStore(): void {
    rmSync(this.storeFolder, { recursive: true, force: true });
  }

  /** A started join, with some of its options replaced. */
  async task(given: Partial<JoinTaskOptions> = {}): Promise<JoinTask> {
    const { log, config, storeFolder, logger } = this;
    const task = new JoinTask({ log, codec, config, partition: 0, storeFolder, logger, ...given });
    await task.start();
    return task;
  }

  /** Joins to the end of both inputs; the counts by outcome. */
  async run(): Promise<Readonly<Record<string, number>>> {
    const task = await this.task();
    while ((await task.step()).records > 0);
    await task.close();
    return task.counts;
  }

  async read(topic: TopicName): Promise<LogRecord[]> {
    const at = { topic, partition: 0 };
    return Array.fromAsync(records(this.log, at, 0, await this.log.endOffset(at)));
  }

  /** The newest record of each user, decoded; null for a tombstone. */
  async ranking(): Promise<Map<string, RankingFeaturesRecord | null>> {
    const newest = new Map<string, RankingFeaturesRecord | null>();
    for (const { key, value } of await this.read('ranking-features')) {
      newest.set(key!.toString(), value === null ? null : codec.decode('ranking-features-value', value));
    }
    return newest;
  }

  async close(): Promise<void> {
    await this.log.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A record's Avro body, hex, and its timestamp. */
export interface Written {
  readonly body: string;
  readonly timestampMs: number;
}

export const writtenOf = ({ value, timestampMs }: LogRecord): Written | null =>
  value === null ? null : { body: codec.body(value).toString('hex'), timestampMs };

/** What the join has to write for a pair of input records, either of them absent; null: a tombstone. */
export function expectedOf(
  userId: string,
  features: LogRecord | undefined,
  embedding: LogRecord | undefined,
): Written | null {
  if (features === undefined && embedding === undefined) return null;
  const record: RankingFeaturesRecord = {
    userId,
    hasRealtime: features !== undefined,
    hasLongTerm: embedding !== undefined,
    realtime: null,
    longTerm: null,
  };
  const times: number[] = [];
  if (features !== undefined) {
    const read = codec.decode<SequenceFeaturesRecord>('sequence-features-value', features.value!);
    const { version, envelope, session, itemVersion, itemsWithVector, intent, finite, scorerHash } = read;
    const { propensityTypes, propensity } = read;
    record.realtime = {
      ...{ partition: 0, offset: features.offset, version, envelope, session, itemVersion, itemsWithVector, intent },
      ...{ propensityTypes, propensity, finite, scorerHash },
      sequences: [expectedSequence(read)],
      windowLength: read.sequences[0]!.itemIds.length,
    };
    times.push(envelope.newestArrivalTimeMs);
  }
  if (embedding !== undefined) {
    const read = codec.decode<UserEmbeddingRecord>('user-embeddings-value', embedding.value!);
    const { version, asOfMs, space, vector } = read;
    const { offset, timestampMs } = embedding;
    record.longTerm = { partition: 0, offset, timestampMs, version, asOfMs, space, vector };
    times.push(timestampMs);
  }
  const value = codec.encode('ranking-features-value', record);
  return { body: codec.body(value).toString('hex'), timestampMs: Math.max(...times) };
}

/** The visible actions by another way than the join's: column by column, newest first. */
function expectedSequence({ sequences, views }: SequenceFeaturesRecord): RankingSequenceRecord {
  const [sequence, view] = [sequences[0]!, views[0]!];
  const shown = sequence.itemIds.map((_, at) => at).filter((at) => !view.hiddenPositions.includes(at));
  const positions = shown.slice(0, WINDOW_SIZE);
  const timeAt = (at: number): number =>
    sequence.gapsMs.slice(0, at + 1).reduce((time, gap) => time - gap, sequence.eventTimeMs);
  const typeAt = (at: number): string => sequence.actionTypes[sequence.actionTypeIndex[at]!]!;
  const surfaceAt = (at: number): string => sequence.surfaces[sequence.surfaceIndex[at]!]!;
  const sorted = (texts: readonly string[]): string[] =>
    [...new Set(texts)].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const actionTypes = sorted(positions.map(typeAt));
  const surfaces = sorted(positions.map(surfaceAt));
  return {
    name: sequence.name,
    itemIds: positions.map((at) => sequence.itemIds[at]!),
    eventTimeMs: positions.length === 0 ? 0 : timeAt(positions[0]!),
    gapsMs: positions.map((at, index) => (index === 0 ? 0 : timeAt(positions[index - 1]!) - timeAt(at))),
    actionTypes,
    actionTypeIndex: positions.map((at) => actionTypes.indexOf(typeAt(at))),
    surfaces,
    surfaceIndex: positions.map((at) => surfaces.indexOf(surfaceAt(at))),
    sealed: sequence.sealed,
    counterTypes: view.counterTypes,
    counters: view.counters,
  };
}
