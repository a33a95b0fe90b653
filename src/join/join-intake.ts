/** Takes records of both inputs into the batch of a commit: loads their users, judges vectors, counts outcomes. */
import type { Logger } from 'pino';
import { userHash } from '../base/user-hash.ts';
import type { Log, LogRecord, TopicPartition } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { readOn } from '../task/read-on.ts';
import type { StepLimits } from '../task/step.ts';
import { judgeEmbedding, type EmbeddingCause, type EmbeddingRules } from './embedding.ts';
import type { JoinBatch } from './join-batch.ts';
import type { JoinPartitions } from './join-restore.ts';
import type { JoinPosition, JoinStore } from './join-store.ts';

export interface JoinIntakeOptions {
  readonly log: Log;
  readonly codec: Pick<Codec, 'learn'>;
  readonly at: JoinPartitions;
  readonly batch: JoinBatch;
  readonly counts: Counts;
  readonly store: Pick<JoinStore, 'getMany'>;
  readonly rules: EmbeddingRules;
  readonly logger: Pick<Logger, 'warn'>;
  readonly limits: StepLimits;
  readonly reached: () => void | Promise<void>;
}

/** How far a commit has come in one of the inputs. */
interface SideRead {
  readonly offset: number;
  readonly records: number;
  /** Whether the commit could take all that was read. */
  readonly isOpen: boolean;
}

export interface JoinTaken {
  readonly position: JoinPosition;
  readonly records: number;
}

/** Counts of a commit on top of what is committed. */
export class Counts {
  readonly sums: Record<string, number>;
  readonly added = new Map<string, number>();

  constructor(committed: Readonly<Record<string, number>>) {
    this.sums = { ...committed };
  }

  add(outcome: string, count: number): void {
    if (count === 0) return;
    this.sums[outcome] = (this.sums[outcome] ?? 0) + count;
    this.added.set(outcome, (this.added.get(outcome) ?? 0) + count);
  }
}

interface Owned {
  /** Null: the record belongs to nobody. */
  readonly userId: string | null;
  readonly apply: () => void;
}

/** One read of the log, of one side. */
const READ_RECORDS = 2_000;
const READ_BYTES = 1024 * 1024;
/** Records whose users are loaded at once: bounds what is held beyond the commit's limit of bytes. */
const CHUNK_RECORDS = 512;
/** Lines about unusable vectors a commit; the counts have them all. */
const MAX_WARNINGS = 10;

export class JoinIntake {
  private readonly options: JoinIntakeOptions;
  private warnings = 0;

  constructor(options: JoinIntakeOptions) {
    this.options = options;
  }

  /** Reads both sides on, each up to half of the commit, so that neither can keep the other waiting. */
  async read(from: JoinPosition): Promise<JoinTaken> {
    const { at, batch, limits } = this.options;
    const closesAtMs = performance.now() + limits.maxMs;
    let features: SideRead = { offset: from.featuresOffset, records: 0, isOpen: true };
    let embeddings: SideRead = { offset: from.embeddingsOffset, records: 0, isOpen: true };
    for (let before = -1; before < features.records + embeddings.records;) {
      before = features.records + embeddings.records;
      features = await this.readSide(at.features, features, (records) => this.takeFeatures(records));
      embeddings = await this.readSide(at.embeddings, embeddings, (records) => this.takeEmbeddings(records));
      if (batch.outputBytes >= limits.maxOutputBytes || performance.now() >= closesAtMs) break;
    }
    return {
      position: { ...from, featuresOffset: features.offset, embeddingsOffset: embeddings.offset },
      records: features.records + embeddings.records,
    };
  }

  private async readSide(
    at: TopicPartition,
    side: SideRead,
    take: (records: readonly LogRecord[]) => Promise<number>,
  ): Promise<SideRead> {
    const { log, codec, limits, reached } = this.options;
    const maxRecords = Math.min(READ_RECORDS, Math.ceil(limits.maxRecords / 2) - side.records);
    if (!side.isOpen || maxRecords <= 0) return side;
    const maxBytes = Math.min(READ_BYTES, Math.ceil(limits.maxOutputBytes / 2));
    const { records, next } = await readOn(log, at, side.offset, { maxRecords, maxBytes, views: true });
    if (records.length === 0) return { ...side, offset: next };
    await codec.learn(records);
    await reached();
    const taken = await take(records);
    this.options.batch.keep();
    const isOpen = taken === records.length;
    return { offset: isOpen ? next : records[taken]!.offset, records: side.records + taken, isOpen };
  }

  /** Returns how many of the records were taken before the batch was full; at least one chunk is. */
  private takeFeatures(records: readonly LogRecord[]): Promise<number> {
    return this.take(records, (record) => {
      const userId = record.key!.toString();
      return {
        userId,
        apply: () => {
          this.options.batch.setFeatures(userId, record);
          this.options.counts.add(record.value === null ? 'featuresRemoved' : 'features', 1);
        },
      };
    });
  }

  /** As `takeFeatures`. What cannot be used is counted and told, and leaves the user as it is. */
  private takeEmbeddings(records: readonly LogRecord[]): Promise<number> {
    const { batch, counts, rules } = this.options;
    return this.take(records, (record) => {
      const judged = judgeEmbedding(record, rules);
      if (judged.kind === 'bad') return { userId: null, apply: () => this.skip(record, judged.cause) };
      return {
        userId: judged.userId,
        apply: () => {
          batch.setLongTerm(judged.userId, record, judged.kind === 'vector' ? judged.embedding : null);
          counts.add(judged.kind === 'vector' ? 'vectors' : 'vectorsRemoved', 1);
        },
      };
    });
  }

  private async take(records: readonly LogRecord[], own: (record: LogRecord) => Owned): Promise<number> {
    const { batch, limits } = this.options;
    let taken = 0;
    while (taken < records.length && (taken === 0 || batch.outputBytes < limits.maxOutputBytes)) {
      const chunk = records.slice(taken, taken + CHUNK_RECORDS).map(own);
      await this.load(chunk);
      for (const { apply } of chunk) apply();
      taken += chunk.length;
    }
    return taken;
  }

  private async load(chunk: readonly Owned[]): Promise<void> {
    const { batch, store } = this.options;
    const absent = new Set<string>();
    for (const { userId } of chunk) if (userId !== null && !batch.has(userId)) absent.add(userId);
    const userIds = [...absent];
    const found = await store.getMany(userIds);
    userIds.forEach((userId, index) => batch.add(userId, found[index]));
  }

  private skip({ offset, key }: LogRecord, cause: EmbeddingCause): void {
    const { counts, rules, logger } = this.options;
    counts.add(cause, 1);
    this.warnings += 1;
    if (this.warnings > MAX_WARNINGS) return;
    const position = { topic: 'user-embeddings', partition: rules.partition, offset };
    const user = key === null ? {} : { userHash: userHash(key.toString()) };
    logger.warn({ code: 'VECTOR_INVALID', cause, ...position, ...user }, 'a long-term vector was skipped');
  }
}
