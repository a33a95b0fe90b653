/** One commit of a feature task: what it says to the log, and what it tells of itself once it is in. */
import { addCounts } from '../base/counts.ts';
import type { CommitRequest, TopicPartition } from '../log/log.ts';
import type { Batch } from './batch.ts';
import type { CommitDraft } from './commit-draft.ts';
import { encodeMetadata, type CommitMetadata } from './commit-metadata.ts';
import type { Taken } from './intake.ts';
import type { TaskLife } from './life.ts';
import type { TaskObserver } from './observer.ts';
import { outputEnds, type OutputEnd } from './output-ends.ts';
import type { StepPoint, StepResult } from './step.ts';

export interface FeatureCommitOptions {
  /** What the commit before it has left. */
  readonly before: CommitMetadata;
  readonly batch: Batch;
  readonly draft: CommitDraft;
  readonly taken: Taken;
  readonly input: TopicPartition;
  readonly startedMs: number;
}

export class FeatureCommit {
  /** As committed, once the log has it. */
  metadata: CommitMetadata;
  private readonly options: FeatureCommitOptions;
  private outputs = 0;
  private outputBytes = 0;
  private commitMs = 0;

  constructor(options: FeatureCommitOptions) {
    this.options = options;
    this.metadata = options.before;
  }

  /** C: the input offset to go on from. */
  get offset(): number {
    return this.options.taken.standing.offset;
  }

  async toLog(life: TaskLife, onStep?: (point: StepPoint) => void | Promise<void>): Promise<void> {
    const { batch, draft, input } = this.options;
    const outputs = [...batch.outputs, ...draft.outputs];
    this.outputs = outputs.length;
    for (const { key, value } of outputs) this.outputBytes += (key?.length ?? 0) + (value?.length ?? 0);
    const request: CommitRequest = {
      outputs,
      offsets: [{ input, offset: this.offset }],
      metadata: (ends) => {
        this.metadata = this.metadataWith(outputEnds(outputs, ends));
        return encodeMetadata({ ...this.metadata, committedAtMs: Date.now() });
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
  done(observer: TaskObserver | undefined): StepResult {
    const { batch, draft, taken, input, startedMs } = this.options;
    const { counts, newestEventTimeMs, newestArrivalTimeMs } = batch;
    observer?.committed?.(
      { kind: 'features', partition: input.partition },
      {
        ...{ records: taken.records, outputs: this.outputs, outputBytes: this.outputBytes },
        ...{ durationMs: performance.now() - startedMs, commitMs: this.commitMs, offset: this.offset },
        ...{ newestEventTimeMs, newestArrivalTimeMs, counts },
      },
    );
    return { records: taken.records, features: draft.features, waitingFor: taken.waitingFor };
  }

  private metadataWith(endOf: OutputEnd): CommitMetadata {
    const { before, batch, taken, input } = this.options;
    const end = (topic: string, previous: number): number => endOf({ topic, partition: input.partition }, previous);
    const counts = { ...before.counts };
    addCounts(counts, batch.counts);
    return {
      ...before,
      featuresEnd: end('sequence-features', before.featuresEnd),
      historyEnd: end('action-history', before.historyEnd),
      rejectedEnd: end('rejected-actions', before.rejectedEnd),
      activation: taken.standing.activation,
      counts,
    };
  }
}
