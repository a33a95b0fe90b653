/** Scores the changed users of a commit and writes their features records. */
import { createHash } from 'node:crypto';
import { ByteBlocks } from '../base/byte-blocks.ts';
import { invariant } from '../base/errors.ts';
import type { FoldRow, Score, Scorer } from '../intent/scorer.ts';
import type { Codec } from '../serde/codec.ts';
import { descriptionHash, type Layout } from '../../state/layout.ts';
import type { StateCodec } from '../../state/state-codec.ts';
import type { UserState } from '../../state/user-state.ts';
import { RecordWriter } from './record-writer.ts';
import type { Revision } from './revision.ts';
import { cacheOf, foldRow, type ScoreCache } from './score-cache.ts';

export interface Featured {
  readonly revision: Revision;
  readonly state: UserState;
  readonly cache: ScoreCache | null;
  /**
   * The Avro body of the state alone, as the store keeps it; null where the revision is not emitted, or where another of
   * the user comes after it.
   */
  readonly stateBody: Buffer | null;
  /** The framed `sequence-features` record; null where the revision is not emitted. */
  readonly features: Buffer | null;
}

interface Job {
  readonly revision: Revision;
  readonly state: UserState;
  /** Null: nothing is left to fold. */
  readonly row: FoldRow | null;
}

export class Featurizer {
  /** Model, description and arithmetic: stands in every record. */
  readonly scorerHash: string;
  private readonly layout: Layout;
  private readonly scorer: Scorer;
  private readonly writer: RecordWriter;

  constructor(options: { layout: Layout; scorer: Scorer; stateCodec: StateCodec; codec: Pick<Codec, 'frame'> }) {
    this.layout = options.layout;
    this.scorer = options.scorer;
    const prefix = options.codec.frame('sequence-features-value', Buffer.alloc(0));
    this.writer = new RecordWriter({ ...options, prefix });
    this.scorerHash = createHash('sha256')
      .update(`${options.scorer.hash} ${descriptionHash(options.layout)}`)
      .digest('hex')
      .slice(0, 16);
  }

  /**
   * Folds all windows that need it in one go, then describes each user. Revisions whose fold goes on from another's come
   * in a later call than that; each keeps its own fold for those after it.
   *
   * @param into - where the records are to stand; to be released once no revision of their users is to come.
   */
  async features(revisions: readonly Revision[], into = new ByteBlocks()): Promise<Featured[]> {
    const jobs: Job[] = [];
    for (const revision of revisions) {
      const { state } = revision;
      if (state === null) continue;
      const { window } = state.sequences[this.layout.scored]!;
      if (revision.previous !== null) {
        revision.cache = revision.previous.cache;
        if (revision.isOneRecord) revision.written = revision.previous.written;
        revision.previous = null;
      }
      jobs.push({ revision, state, row: foldRow(window, revision.cache, revision.table, this.scorer.hash) });
    }
    const rows = jobs.flatMap(({ row }) => (row === null ? [] : [row]));
    const scores = rows.length === 0 ? [] : await this.scorer.fold(rows);
    invariant(scores.length === rows.length, 'the scorer gave another number of scores than rows');
    let next = 0;
    return jobs.map((job) => this.finish(job, job.row === null ? null : scores[next++]!, into));
  }

  private finish({ revision, state, row }: Job, scored: Score | null, into: ByteBlocks): Featured {
    const before = revision.cache;
    revision.isFolded = true;
    const cache = row === null || scored === null ? before : cacheOf(row, scored, before, this.scorer.hash);
    revision.cache = cache;
    if (!revision.isEmitted) {
      revision.written = null;
      return { revision, state, cache, stateBody: null, features: null };
    }
    const score = scored ?? before?.score ?? this.noScore();
    const { bytes, stateStart, stateEnd, written } = this.writer.write(
      state,
      {
        itemVersion: revision.table.version,
        itemsWithVector: cache?.withVector ?? 0,
        outcomes: this.scorer.outcomes,
        intent: score.intent,
        actionTypes: this.scorer.actionTypes,
        propensity: score.propensity,
        finite: score.finite,
        scorerHash: this.scorerHash,
      },
      revision.written,
      into,
    );
    revision.written = written;
    const stateBody = revision.isNewest ? bytes.subarray(stateStart, stateEnd) : null;
    return { revision, state, cache, stateBody, features: bytes };
  }

  /** A user whose scored window is empty: its actions belong to other sequences. */
  private noScore(): Score {
    return {
      hidden: new Float32Array(this.scorer.hiddenSize),
      intent: this.scorer.outcomes.map(() => new Float32Array(this.scorer.dimension)),
      propensity: new Float32Array(this.scorer.actionTypes.length),
      withVector: 0,
      finite: true,
    };
  }
}
