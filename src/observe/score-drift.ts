/** How far the scores that a worker makes have moved from those at training. It looks on; no score is changed by it. */
import {
  bucketOf,
  quantitiesOf,
  quantityNames,
  stabilityIndex,
  type ScoreDistribution,
} from '../intent/score-distribution.ts';
import type { FoldRow, Score, Scorer } from '../intent/scorer.ts';

/** What is compared is the newest 5,000 to 10,000 scores: two blocks, of which the older goes when the newer is full. */
const BLOCK_SCORES = 5_000;
/** With fewer the index says more about chance than about the scores. */
const SCORES_MIN = 1_000;

interface Watched {
  readonly name: string;
  /** Place among a score's quantities. */
  readonly place: number;
  readonly edges: readonly number[];
  readonly shares: readonly number[];
  /** Scores a bucket, of the newer block and of the older one. */
  newer: Uint32Array;
  older: Uint32Array;
}

export class ScoreDrift {
  /** Scores that were compared since the start. */
  compared = 0;
  private readonly watched: readonly Watched[];
  private readonly values: Float64Array;
  private inNewer = 0;
  private inOlder = 0;

  constructor(scorer: Pick<Scorer, 'outcomes' | 'actionTypes'>, { quantities }: ScoreDistribution) {
    const names = quantityNames(scorer);
    this.values = new Float64Array(names.length);
    this.watched = quantities.map(({ name, edges, shares }) => ({
      ...{ name, edges, shares, place: names.indexOf(name) },
      newer: new Uint32Array(shares.length),
      older: new Uint32Array(shares.length),
    }));
  }

  add(score: Score): void {
    if (!score.finite) return;
    quantitiesOf(score, this.values);
    for (const { newer, place, edges } of this.watched) newer[bucketOf(this.values[place]!, edges)]! += 1;
    this.compared += 1;
    this.inNewer += 1;
    if (this.inNewer === BLOCK_SCORES) this.turn();
  }

  /** The population stability index by quantity; none as long as there are too few scores. */
  *indices(): Generator<{ readonly quantity: string; readonly index: number }> {
    if (this.inNewer + this.inOlder < SCORES_MIN) return;
    for (const { name, newer, older, shares } of this.watched) {
      const counts = newer.map((count, bucket) => count + older[bucket]!);
      yield { quantity: name, index: stabilityIndex(counts, shares) };
    }
  }

  private turn(): void {
    for (const each of this.watched) [each.newer, each.older] = [each.older.fill(0), each.newer];
    this.inOlder = this.inNewer;
    this.inNewer = 0;
  }
}

/** The scorer, with `look` told each of its scores. */
export const watchedScorer = (scorer: Scorer, look: (score: Score) => void): Scorer => ({
  hash: scorer.hash,
  space: scorer.space,
  dimension: scorer.dimension,
  hiddenSize: scorer.hiddenSize,
  outcomes: scorer.outcomes,
  actionTypes: scorer.actionTypes,
  trainedScores: scorer.trainedScores,
  async fold(rows: readonly FoldRow[]): Promise<Score[]> {
    const scores = await scorer.fold(rows);
    for (const score of scores) look(score);
    return scores;
  },
});
