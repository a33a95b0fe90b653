/** One served record against what the log says: for each feature whether it is right, and if not, why. */
import {
  isScored,
  realtimeValues,
  type FeatureValues,
  type RealtimeFeatures,
  type ServedFeatures,
} from './feature-values.ts';
import type { LongTermSideRecord } from '../../topics/records.ts';

export type SkewCause =
  /** An older version was served than could be. */
  | 'stale'
  /** The feature was servable and was not served. */
  | 'missing'
  /** It was served before it could be: it knows more than the log had at that time, the lag taken off. */
  | 'ahead'
  /** Right but for the model or the item vectors, which were others. */
  | 'version'
  /** None of these: whoever computed or carried it did so otherwise. */
  | 'code';

/** Of one side of the comparison, small enough to wait on disk for the other. */
export interface Comparison {
  /** Of what the log says; null: nothing of the user. */
  readonly version: number | null;
  readonly names: readonly string[];
  readonly equal: readonly string[];
  /** Of the served ones, those that stand there at all. */
  readonly served: readonly string[];
  /** Whether model and item vectors are the same. */
  readonly isSameModel: boolean;
  readonly longTerm: SkewCause | 'equal' | null;
}

export function compared(
  served: ServedFeatures,
  features: RealtimeFeatures | null,
  longTerm: LongTermSideRecord | null,
): Comparison {
  const given = served.realtime === undefined || served.realtime === null ? NONE : realtimeValues(served.realtime);
  const right = features === null ? NONE : realtimeValues(features);
  const names = [...new Set([...right.keys(), ...given.keys()])];
  return {
    version: features?.version ?? null,
    names,
    equal: names.filter((name) => given.get(name) === right.get(name)),
    served: [...given.keys()],
    isSameModel:
      given.get('scorerHash') === right.get('scorerHash') && given.get('itemVersion') === right.get('itemVersion'),
    longTerm: longTermVerdict(served.longTerm ?? null, longTerm),
  };
}

const NONE: FeatureValues = new Map();

function longTermVerdict(
  served: Partial<LongTermSideRecord> | null,
  right: LongTermSideRecord | null,
): Comparison['longTerm'] {
  if (served === null) return right === null ? null : 'missing';
  if (right === null) return 'ahead';
  if (served.vector === undefined) return 'missing';
  if (JSON.stringify(served.vector) === JSON.stringify(right.vector) && served.version === right.version)
    return 'equal';
  if (served.offset === undefined || served.offset === right.offset) return 'code';
  return served.offset < right.offset ? 'stale' : 'ahead';
}

/**
 * @param at - against what could be served at its time; undefined where no time is known.
 * @param own - against its own version; undefined where it has none.
 */
export function verdicts(
  version: number | undefined,
  at: Comparison | undefined,
  own: Comparison | undefined,
): Map<string, SkewCause | 'equal'> {
  const found = new Map<string, SkewCause | 'equal'>();
  const first = at ?? own;
  if (first === undefined) return found;
  const isOwn = (name: string): boolean => own?.equal.includes(name) === true;
  for (const name of first.names) {
    if (first.equal.includes(name)) found.set(name, 'equal');
    else if (!first.served.includes(name)) found.set(name, 'missing');
    else if (first.version === null) found.set(name, 'ahead');
    else if (version !== first.version && isOwn(name)) found.set(name, version! < first.version ? 'stale' : 'ahead');
    else found.set(name, isScored(name) && own?.isSameModel !== true ? 'version' : 'code');
  }
  if (at?.longTerm !== undefined && at.longTerm !== null) found.set('longTerm', at.longTerm);
  return found;
}
