/** Takes the records that a commit has read into its batch: loads their users, judges vectors, counts outcomes. */
import type { Logger } from 'pino';
import { userHash } from '../base/user-hash.ts';
import type { LogRecord } from '../log/log.ts';
import { judgeEmbedding, type EmbeddingCause, type EmbeddingRules } from './embedding.ts';
import type { JoinBatch } from './join-batch.ts';
import type { JoinStore } from './join-store.ts';

export interface JoinIntakeOptions {
  readonly batch: JoinBatch;
  readonly counts: Counts;
  readonly store: Pick<JoinStore, 'getMany'>;
  readonly rules: EmbeddingRules;
  readonly logger: Pick<Logger, 'warn'>;
  readonly maxOutputBytes: number;
}

/** Counts of a commit on top of what is committed. */
export class Counts {
  readonly sums: Record<string, number>;

  constructor(committed: Readonly<Record<string, number>>) {
    this.sums = { ...committed };
  }

  add(outcome: string, count: number): void {
    if (count > 0) this.sums[outcome] = (this.sums[outcome] ?? 0) + count;
  }
}

interface Owned {
  /** Null: the record belongs to nobody. */
  readonly userId: string | null;
  readonly apply: () => void;
}

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

  /** Returns how many of the records were taken before the batch was full; at least one chunk is. */
  takeFeatures(records: readonly LogRecord[]): Promise<number> {
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
  takeEmbeddings(records: readonly LogRecord[]): Promise<number> {
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
    const { batch, maxOutputBytes } = this.options;
    let taken = 0;
    while (taken < records.length && (taken === 0 || batch.outputBytes < maxOutputBytes)) {
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
