/** How far two features records of one user and version are apart, feature by feature. */
import { fromColumns } from '../../state/columns.ts';
import type { Layout, SequenceLayout } from '../../state/layout.ts';
import type { IntentRecord, SequenceFeaturesRecord } from '../../topics/records.ts';

/** Cosine: 1 − the cosine of the angle, 0 to 2. Share: of the actions that either shows, those that only one shows. */
export type Measure = 'cosine' | 'absolute' | 'share';

export interface Difference {
  readonly feature: string;
  readonly measure: Measure;
  /** 0: equal. */
  readonly value: number;
}

/** A features record with the layout that it was made by. */
export interface LaidOut {
  readonly features: SequenceFeaturesRecord;
  readonly layout: Layout;
}

/** Every feature that either record has; one that a record lacks counts as zero there. */
export function differences(base: LaidOut, variant: LaidOut): Difference[] {
  const [a, b] = [base.features, variant.features];
  const numbers = (feature: string, x: number, y: number): Difference => ({
    feature,
    measure: 'absolute',
    value: Math.abs(x - y),
  });
  return [
    ...[...names(a.intent, b.intent)].map((outcome) => ({
      feature: `intent.${outcome}`,
      measure: 'cosine' as const,
      value: cosineDistance(vectorOf(a.intent, outcome), vectorOf(b.intent, outcome)),
    })),
    ...[...new Set([...a.propensityTypes, ...b.propensityTypes])].map((type) => {
      const [x, y] = [a, b].map(({ propensityTypes, propensity }) => propensity[propensityTypes.indexOf(type)] ?? 0);
      return numbers(`propensity.${type}`, x!, y!);
    }),
    numbers('itemsWithVector', a.itemsWithVector, b.itemsWithVector),
    numbers('itemVersion', 0, a.itemVersion === b.itemVersion ? 0 : 1),
    numbers('finite', Number(a.finite), Number(b.finite)),
    numbers('session.length', a.session.length, b.session.length),
    numbers('session.ageMs', a.session.ageMs, b.session.ageMs),
    numbers('session.gapMs', a.session.gapMs, b.session.gapMs),
    ...(['accepted', 'duplicate', 'late', 'future', 'rejected'] as const).map((outcome) =>
      numbers(`envelope.${outcome}`, a.envelope[outcome], b.envelope[outcome]),
    ),
    ...[...names(a.sequences, b.sequences)].flatMap((name) => sequenceDifferences(name, base, variant)),
  ];
}

function sequenceDifferences(name: string, base: LaidOut, variant: LaidOut): Difference[] {
  const [a, b] = [shownOf(base, name), shownOf(variant, name)];
  const either = new Set([...a.actions, ...b.actions]).size;
  const both = a.actions.size + b.actions.size - either;
  const absolute = (feature: string, x: number, y: number): Difference => ({
    feature: `${name}.${feature}`,
    measure: 'absolute',
    value: Math.abs(x - y),
  });
  return [
    { feature: `${name}.window`, measure: 'share', value: either === 0 ? 0 : (either - both) / either },
    absolute('length', a.actions.size, b.actions.size),
    absolute('sealed', a.sealed, b.sealed),
    ...[...new Set([...a.counters.keys(), ...b.counters.keys()])].map((counter) =>
      absolute(`counters.${counter}`, a.counters.get(counter) ?? 0, b.counters.get(counter) ?? 0),
    ),
  ];
}

interface Shown {
  /** The actions that readers are shown, by their keys. */
  readonly actions: ReadonlySet<string>;
  readonly sealed: number;
  /** By type and half-life, e.g. `view.1d`. */
  readonly counters: ReadonlyMap<string, number>;
}

const NOTHING: Shown = { actions: new Set(), sealed: 0, counters: new Map() };

function shownOf({ features, layout }: LaidOut, name: string): Shown {
  const index = features.sequences.findIndex((sequence) => sequence.name === name);
  const sequence = features.sequences[index];
  const view = features.views[index];
  if (sequence === undefined || view === undefined) return NOTHING;
  const hidden = new Set(view.hiddenPositions);
  const counters = new Map<string, number>();
  for (const [at, type] of view.counterTypes.entries()) {
    for (const [place, halfLifeMs] of layout.halfLivesMs.entries()) {
      counters.set(`${type}.${durationText(halfLifeMs)}`, view.counters[at * layout.halfLivesMs.length + place]!);
    }
  }
  const actions = newest(layout.sequences[index]!, fromColumns(sequence)).flatMap((action, position) =>
    hidden.has(position) ? [] : [`${action.eventTimeMs} ${action.actionType} ${action.itemId}`],
  );
  return { actions: new Set(actions), sealed: sequence.sealed, counters };
}

const newest = <T>({ windowSize }: SequenceLayout, oldestFirst: T[]): T[] => oldestFirst.reverse().slice(0, windowSize);

/** The length of the window that readers are shown, of the scored sequence. */
export const shownLength = ({ features, layout }: LaidOut): number =>
  shownOf({ features, layout }, features.scoredSequence).actions.size;

const names = (a: readonly { name?: string; outcome?: string }[], b: typeof a): Set<string> =>
  new Set([...a, ...b].map(({ name, outcome }) => name ?? outcome!));

const vectorOf = (intent: readonly IntentRecord[], outcome: string): readonly number[] =>
  intent.find((each) => each.outcome === outcome)?.vector ?? [];

/** 1 where one of the two has no direction; vectors of two spaces do not compare, which counts the same. */
function cosineDistance(a: readonly number[], b: readonly number[]): number {
  let [dot, squareA, squareB, isEqual] = [0, 0, 0, a.length === b.length];
  for (let at = 0; at < Math.max(a.length, b.length); at += 1) {
    const [x, y] = [a[at] ?? 0, b[at] ?? 0];
    if (x !== y) isEqual = false;
    dot += x * y;
    squareA += x * x;
    squareB += y * y;
  }
  if (isEqual) return 0;
  if (a.length !== b.length || squareA === 0 || squareB === 0) return 1;
  // Vectors that differ may lie in one direction: they have changed all the same.
  return Math.max(Number.EPSILON, 1 - dot / Math.sqrt(squareA * squareB));
}

const UNITS: readonly (readonly [string, number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
];

function durationText(ms: number): string {
  const [unit, size] = UNITS.find(([, each]) => ms % each === 0) ?? ['ms', 1];
  return `${ms / size}${unit}`;
}
