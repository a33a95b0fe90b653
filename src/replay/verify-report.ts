/** What a verification has found, over all partitions. */
import { userHash } from '../base/user-hash.ts';
import type { Gap } from './passage.ts';

/**
 * Why a record is not what the replay makes.
 *
 * - `input missing`: an input record cannot be read, or is gone.
 * - `altered input`: an input record tells something else now than when it was consumed.
 * - `altered record`: the features record itself does.
 * - `model`, `config`, `item version`: it was made by another one of these.
 * - `output missing`: input was consumed and its user's features are not there.
 * - `code`: none of these.
 */
export type Cause =
  | 'input missing'
  | 'altered input'
  | 'altered record'
  | 'model'
  | 'config'
  | 'item version'
  | 'output missing'
  | 'code';

/** One cause, with the first place where it shows. */
export interface CauseFound {
  readonly cause: Cause;
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  /** The first field that differs; empty where a record is missing or extra. */
  readonly field: string;
  /** Records that it explains. */
  records: number;
}

/** One of the first records that differ, for a person. */
export interface Difference {
  readonly kind: 'differing' | 'missing' | 'extra';
  readonly partition: number;
  readonly userHash: string;
  readonly version: number;
  /** In `sequence-features`; null: there is no record. */
  readonly offset: number | null;
  readonly cause: Cause;
  readonly fields: readonly string[];
}

/**
 * Why a record cannot be verified.
 *
 * - `unknown past`: its user's state before the start is not in the features any more.
 * - `seeded`: its user was converted from another application's.
 * - `superseded`: a reset went back behind it; what was made since is compared.
 */
export type WhyUnverifiable = 'unknown past' | 'seeded' | 'superseded';

export interface Unverifiable {
  readonly why: WhyUnverifiable;
  readonly partition: number;
  records: number;
}

export interface VerifyCounts {
  /** Records compared: equal, differing and extra ones. */
  compared: number;
  equal: number;
  differing: number;
  /** Newest versions that are not there. */
  missing: number;
  /** Records that the replay does not make. */
  extra: number;
  /** Records of which nothing can be said: `unverifiableBy` tells why. */
  unverifiable: number;
}

const MAX_DIFFERENCES = 20;
/** Beyond that many only their number is told. */
const MAX_CAUSES = 1_000;

export class VerifyReport implements VerifyCounts {
  compared = 0;
  equal = 0;
  differing = 0;
  missing = 0;
  extra = 0;
  unverifiable = 0;
  records = 0;
  tombstones = 0;
  /** False: interrupted. Begun again at the offsets of `next`, a verification compares the rest. */
  complete = true;
  /** By partition. */
  readonly next = new Map<number, number>();
  /** Causes that are not in `causes`. */
  furtherCauses = 0;
  readonly causes: CauseFound[] = [];
  readonly unverifiableBy: Unverifiable[] = [];
  readonly differences: Difference[] = [];
  readonly gaps: ({ readonly topic: string; readonly partition: number } & Gap)[] = [];

  get isEqual(): boolean {
    return this.differing + this.missing + this.extra === 0 && this.gaps.length === 0;
  }

  /** A cause that is new; it explains nothing yet. */
  addCause(found: Omit<CauseFound, 'records'>): CauseFound {
    const cause = { ...found, records: 0 };
    if (this.causes.length < MAX_CAUSES) this.causes.push(cause);
    else this.furtherCauses += 1;
    return cause;
  }

  addUnverifiable(why: WhyUnverifiable, partition: number): void {
    this.unverifiable += 1;
    let found = this.unverifiableBy.find((each) => each.why === why && each.partition === partition);
    if (found === undefined) this.unverifiableBy.push((found = { why, partition, records: 0 }));
    found.records += 1;
  }

  addDifference(userId: string, difference: Omit<Difference, 'userHash'>): void {
    if (this.differences.length < MAX_DIFFERENCES) this.differences.push({ ...difference, userHash: userHash(userId) });
  }

  /** The last line of `--json`. */
  summary(): object {
    const { compared, equal, differing, missing, extra, unverifiable, causes, furtherCauses } = this;
    const { unverifiableBy, records, tombstones, gaps, complete } = this;
    return {
      compared,
      equal,
      differing,
      missing,
      extra,
      unverifiable,
      unverifiableBy,
      causes,
      furtherCauses,
      records,
      tombstones,
      gaps,
      complete,
      next: Object.fromEntries(this.next),
    };
  }
}
