/** Scores the changed users of a batch and writes their features records. */
import { createHash } from 'node:crypto';
import type { Type } from 'avsc';
import { invariant } from '../base/errors.ts';
import type { FoldRow, Score, Scorer } from '../intent/scorer.ts';
import type { Codec } from '../serde/codec.ts';
import { boundedType } from '../serde/bounded-type.ts';
import { encodeBody } from '../serde/encode-body.ts';
import { describe } from '../../state/describe.ts';
import { descriptionHash, type Layout } from '../../state/layout.ts';
import type { StateCodec } from '../../state/state-codec.ts';
import type { UserState } from '../../state/user-state.ts';
import { shippedSchema } from '../../topics/index.ts';
import type { BatchUser } from './batch.ts';
import { cacheOf, foldRow, type ScoreCache } from './score-cache.ts';

export interface Featured {
  readonly user: BatchUser;
  readonly state: UserState;
  readonly cache: ScoreCache | null;
  /** The Avro body of the state alone, as the store keeps it. */
  readonly stateBody: Buffer;
  /** The framed `sequence-features` record. */
  readonly features: Buffer;
}

export class Featurizer {
  /** Model, description and arithmetic: stands in every record. */
  readonly scorerHash: string;
  private readonly layout: Layout;
  private readonly scorer: Scorer;
  private readonly stateCodec: StateCodec;
  private readonly codec: Pick<Codec, 'frame'>;
  private readonly descriptionType: Type;

  constructor(options: { layout: Layout; scorer: Scorer; stateCodec: StateCodec; codec: Pick<Codec, 'frame'> }) {
    this.layout = options.layout;
    this.scorer = options.scorer;
    this.stateCodec = options.stateCodec;
    this.codec = options.codec;
    this.descriptionType = descriptionType();
    this.scorerHash = createHash('sha256')
      .update(`${options.scorer.hash} ${descriptionHash(options.layout)}`)
      .digest('hex')
      .slice(0, 16);
  }

  /** Folds all windows that need it in one go, then describes each user. Users without a state are left out. */
  async features(users: Iterable<BatchUser>): Promise<Featured[]> {
    const jobs: { user: BatchUser; state: UserState; row: FoldRow | null }[] = [];
    for (const user of users) {
      if (user.state === null) continue;
      const { window } = user.state.sequences[this.layout.scored]!;
      jobs.push({ user, state: user.state, row: foldRow(window, user.cache, user.table, this.scorer.hash) });
    }
    const rows = jobs.flatMap(({ row }) => (row === null ? [] : [row]));
    const scores = rows.length === 0 ? [] : await this.scorer.fold(rows);
    invariant(scores.length === rows.length, 'the scorer gave another number of scores than rows');
    let next = 0;
    return jobs.map(({ user, state, row }) => this.finish(user, state, row, row === null ? null : scores[next++]!));
  }

  private finish(user: BatchUser, state: UserState, row: FoldRow | null, scored: Score | null): Featured {
    const cache = row === null || scored === null ? user.cache : cacheOf(row, scored, user.cache, this.scorer.hash);
    const score = scored ?? user.cache?.score ?? this.noScore();
    const description = describe(
      state,
      {
        itemVersion: user.table.version,
        itemsWithVector: cache?.withVector ?? 0,
        outcomes: this.scorer.outcomes,
        intent: score.intent,
        actionTypes: this.scorer.actionTypes,
        propensity: score.propensity,
        finite: score.finite,
        scorerHash: this.scorerHash,
      },
      this.layout,
    );
    const encoded = this.stateCodec.encode(state);
    const body = Buffer.concat([encoded, encodeBody('sequence-features', this.descriptionType, description)]);
    const features = this.codec.frame('sequence-features-value', body);
    const bodyStart = features.length - body.length;
    // A view of the record: thousands of users wait for the commit, and their states would stand in memory twice.
    return { user, state, cache, stateBody: features.subarray(bodyStart, bodyStart + encoded.length), features };
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

/** The schema of the fields behind the state: Avro bodies of two records in a row are that of their fields together. */
function descriptionType(): Type {
  const schema = shippedSchema('sequence-features-value');
  const first = schema.fields.findIndex((field) => field.name === 'views');
  invariant(first > 0, 'sequence-features has no description');
  return boundedType({ ...schema, name: 'Description', fields: schema.fields.slice(first) });
}
