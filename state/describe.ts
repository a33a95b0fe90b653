/** What readers are told of a user: derived from state and score alone. Pure: ages are as of the newest event. */
import type { DescriptionRecord, SequenceViewRecord, SessionRecord } from '../topics/records.ts';
import type { Action } from './action.ts';
import { Counters } from './counters.ts';
import type { Layout, SequenceLayout } from './layout.ts';
import type { SequenceState, UserState } from './user-state.ts';
import { hiddenPositions } from './visibility.ts';

/** The model's view of the scored window. */
export interface ScoredWindow {
  /** The item-vector version in force; null before any activation. */
  readonly itemVersion: string | null;
  readonly itemsWithVector: number;
  readonly outcomes: readonly string[];
  /** [O][D], one vector an outcome. */
  readonly intent: readonly Float32Array[];
  readonly actionTypes: readonly string[];
  /** [A], one probability an action type. */
  readonly propensity: Float32Array;
  readonly finite: boolean;
  readonly scorerHash: string;
}

/** The part of a description that needs no score. */
export type StateDescription = Pick<DescriptionRecord, 'views' | 'session' | 'scoredSequence'>;

export function describeState(state: UserState, layout: Layout): StateDescription {
  return {
    views: layout.sequences.map((sequence, index) => viewOf(state.sequences[index]!, sequence, layout)),
    session: sessionOf(state.sequences[layout.scored]!.window, layout.sessionGapMs),
    scoredSequence: layout.sequences[layout.scored]!.name,
  };
}

export function describe(state: UserState, score: ScoredWindow, layout: Layout): DescriptionRecord {
  return {
    ...describeState(state, layout),
    itemVersion: score.itemVersion,
    itemsWithVector: score.itemsWithVector,
    intent: score.outcomes.map((outcome, index) => ({ outcome, vector: numbers(score.intent[index]!) })),
    propensityTypes: score.actionTypes as string[],
    propensity: numbers(score.propensity),
    finite: score.finite,
    scorerHash: score.scorerHash,
  };
}

/** Array.from walks an iterator: 16 times as slow, a fifth of describe. */
function numbers(values: Float32Array): number[] {
  const array = new Array<number>(values.length);
  for (let at = 0; at < values.length; at += 1) array[at] = values[at]!;
  return array;
}

function viewOf({ base, window }: SequenceState, sequence: SequenceLayout, layout: Layout): SequenceViewRecord {
  const counters = new Counters(layout.halfLivesMs, { ...base, atMs: base.leftEdge?.eventTimeMs ?? null });
  const newest = window.at(-1);
  if (newest !== undefined) counters.addAsOf(window, newest.eventTimeMs);
  return {
    name: sequence.name,
    hiddenPositions: hiddenPositions(window, layout, sequence.maxAgeMs),
    counters: counters.counters,
    counterTypes: counters.counterTypes,
  };
}

/** The run of actions that ends with the newest, no two neighbours further apart than the session gap. */
function sessionOf(window: readonly Action[], sessionGapMs: number): SessionRecord {
  if (window.length === 0) return { length: 0, ageMs: 0, gapMs: -1 };
  const last = window.length - 1;
  const newestMs = window[last]!.eventTimeMs;
  let first = last;
  while (first > 0 && window[first]!.eventTimeMs - window[first - 1]!.eventTimeMs <= sessionGapMs) first -= 1;
  return {
    length: window.length - first,
    ageMs: newestMs - window[first]!.eventTimeMs,
    gapMs: last === 0 ? -1 : newestMs - window[last - 1]!.eventTimeMs,
  };
}
