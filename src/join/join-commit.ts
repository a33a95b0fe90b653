/** One commit of a join: what it says to the log, and what it tells of itself once it is in. */
import type { CommitRequest } from '../log/log.ts';
import type { TaskLife } from '../task/life.ts';
import type { TaskObserver } from '../task/observer.ts';
import { outputEnds } from '../task/output-ends.ts';
import type { JoinedBatch } from './join-batch.ts';
import type { Counts, JoinTaken } from './join-intake.ts';
import { encodeJoinMetadata } from './join-metadata.ts';
import type { JoinPartitions } from './join-restore.ts';
import type { JoinPosition } from './join-store.ts';
import type { JoinStepPoint, JoinStepResult } from './join-task.ts';

export interface JoinCommitOptions {
  readonly joined: JoinedBatch;
  readonly counts: Counts;
  readonly taken: JoinTaken;
  readonly at: JoinPartitions;
  readonly layoutHash: string;
  readonly rankingStart: number;
  readonly startedMs: number;
}

export class JoinCommit {
  /** What the join goes on from; the end of its output once the log has it. */
  position: JoinPosition;
  private readonly options: JoinCommitOptions;
  private commitMs = 0;

  constructor(options: JoinCommitOptions) {
    this.options = options;
    this.position = options.taken.position;
  }

  async toLog(life: TaskLife, onStep?: (point: JoinStepPoint) => void | Promise<void>): Promise<void> {
    const { joined, counts, taken, at, layoutHash, rankingStart } = this.options;
    const { featuresOffset, embeddingsOffset } = taken.position;
    const request: CommitRequest = {
      outputs: joined.outputs,
      offsets: [
        { input: at.features, offset: featuresOffset },
        { input: at.embeddings, offset: embeddingsOffset },
      ],
      metadata: (ends) => {
        const rankingEnd = outputEnds(joined.outputs, ends)(at.ranking, taken.position.rankingEnd);
        this.position = { ...taken.position, rankingEnd };
        const committedAtMs = Date.now();
        return encodeJoinMetadata({ rankingStart, rankingEnd, layout: layoutHash, counts: counts.sums, committedAtMs });
      },
      ...(onStep && { onSent: () => onStep('sent') }),
    };
    const startedMs = performance.now();
    try {
      await life.commit(request);
    } finally {
      this.commitMs = performance.now() - startedMs;
    }
  }

  /** To be called when log and store hold the commit. */
  done(observer: TaskObserver | undefined): JoinStepResult {
    const { joined, counts, taken, at, startedMs } = this.options;
    let outputBytes = 0;
    let newestMs = -Infinity;
    for (const { key, value, timestampMs } of joined.outputs) {
      outputBytes += (key?.length ?? 0) + (value?.length ?? 0);
      newestMs = Math.max(newestMs, timestampMs);
    }
    observer?.committed?.(
      { kind: 'join', partition: at.ranking.partition },
      {
        ...{ records: taken.records, outputs: joined.outputs.length, outputBytes },
        ...{ durationMs: performance.now() - startedMs, commitMs: this.commitMs, offset: this.position.featuresOffset },
        newestEventTimeMs: null,
        newestArrivalTimeMs: joined.outputs.length === 0 ? null : newestMs,
        counts: counts.added,
      },
    );
    return { records: taken.records, ranked: joined.ranked };
  }

  /** Whether this is the commit that the log goes on from. */
  isAt({ featuresOffset, embeddingsOffset }: JoinPosition): boolean {
    return featuresOffset === this.position.featuresOffset && embeddingsOffset === this.position.embeddingsOffset;
  }
}
