/** What ranking is given of a user as named values, so that two of them can be compared feature by feature. */
import { visibleColumns } from '../join/visible.ts';
import type { Layout } from '../../state/layout.ts';
import type { RankingFeaturesRecord, RealtimeSideRecord, SequenceFeaturesRecord } from '../../topics/records.ts';

/** As it may come from elsewhere: anything may be missing. */
export type ServedFeatures = {
  readonly [Side in 'realtime' | 'longTerm']?: Partial<RankingFeaturesRecord[Side]> | null;
};

export type RealtimeFeatures = Omit<RealtimeSideRecord, 'partition' | 'offset' | 'windowLength'>;

/** By name, as JSON; numbers are told apart to the bit. */
export type FeatureValues = ReadonlyMap<string, string>;

/** The realtime side that the join makes of a features record. */
export function realtimeOf(features: SequenceFeaturesRecord, layout: Layout): RealtimeFeatures {
  return {
    ...features,
    sequences: features.sequences.map((sequence, at) => {
      const { hiddenPositions, counterTypes, counters } = features.views[at]!;
      const columns = visibleColumns(sequence, hiddenPositions, layout.sequences[at]!.windowSize);
      return { ...columns, name: sequence.name, sealed: sequence.sealed, counterTypes, counters };
    }),
  };
}

/** Features that are missing have no value. */
export function realtimeValues(side: Partial<RealtimeFeatures>): FeatureValues {
  const values = new Map<string, string>();
  const set = (name: string, value: unknown): void => {
    if (value !== undefined) values.set(name, JSON.stringify(value));
  };
  for (const sequence of side.sequences ?? []) {
    const { name, itemIds, eventTimeMs, gapsMs, actionTypes, actionTypeIndex, surfaces, surfaceIndex } = sequence;
    set(`${name}.itemIds`, itemIds);
    set(
      `${name}.actionTypes`,
      actionTypeIndex?.map((index) => actionTypes?.[index] ?? null),
    );
    set(`${name}.eventTimesMs`, gapsMs === undefined ? undefined : timesOf(eventTimeMs, gapsMs));
    set(
      `${name}.surfaces`,
      surfaceIndex?.map((index) => surfaces?.[index] ?? null),
    );
    set(`${name}.sealed`, sequence.sealed);
    set(`${name}.counters`, sequence.counters === undefined ? undefined : [sequence.counterTypes, sequence.counters]);
  }
  set('session', side.session === undefined ? undefined : Object.entries(side.session).sort());
  for (const { outcome, vector } of side.intent ?? []) set(`intent.${outcome}`, vector);
  set('propensity', side.propensity === undefined ? undefined : [side.propensityTypes, side.propensity]);
  for (const name of ['finite', 'itemVersion', 'itemsWithVector', 'scorerHash'] as const) set(name, side[name]);
  return values;
}

/** Features that are the model's, or say which it was: another model or other item vectors give others. */
export const isScored = (name: string): boolean =>
  name.startsWith('intent.') || ['propensity', 'finite', 'itemVersion', 'itemsWithVector', 'scorerHash'].includes(name);

function timesOf(newestMs: number, gapsMs: readonly number[]): number[] {
  let timeMs = newestMs;
  return gapsMs.map((gapMs) => (timeMs -= gapMs));
}
