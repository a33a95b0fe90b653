/** What shapes the state of a user, and what only shapes its description. */
import { createHash } from 'node:crypto';

/** Bumped when the reducer's meaning changes: a state of another version is another application. */
export const STATE_VERSION = 1;

export interface SequenceLayout {
  readonly name: string;
  /** Action types the sequence takes; null takes all. */
  readonly actionTypes: ReadonlySet<string> | null;
  /** K: readers see the newest K actions. */
  readonly windowSize: number;
  /** C: at K + C actions the C oldest are sealed together. */
  readonly sealSize: number;
  /** Actions older than this before the newest are hidden; null hides none. */
  readonly maxAgeMs: number | null;
}

export interface Layout {
  readonly sequences: readonly SequenceLayout[];
  /** Index of the one sequence that is scored. */
  readonly scored: number;
  /** Half-lives of the decayed counters, milliseconds. */
  readonly halfLivesMs: readonly number[];
  /** Undoing action type → the type it undoes. */
  readonly undo: ReadonlyMap<string, string>;
  /** Neighbours further apart belong to two sessions. */
  readonly sessionGapMs: number;
  /** An event further ahead of its arrival is rejected as future. */
  readonly maxFutureMs: number;
}

/** The part of the configuration that a layout is made of. */
export interface LayoutOptions {
  readonly sequences: readonly {
    readonly name: string;
    readonly actionTypes: 'all' | readonly string[];
    readonly windowSize: number;
    readonly sealSize: number;
    readonly maxAgeMs: number | null;
  }[];
  readonly scoredSequence: string;
  readonly counterHalfLivesMs: readonly number[];
  readonly undo: Readonly<Record<string, string>>;
  readonly sessionGapMs: number;
  readonly maxFutureMs: number;
}

export function layoutOf(options: LayoutOptions): Layout {
  return {
    sequences: options.sequences.map((sequence) => ({
      ...sequence,
      actionTypes: sequence.actionTypes === 'all' ? null : new Set(sequence.actionTypes),
    })),
    scored: options.sequences.findIndex((sequence) => sequence.name === options.scoredSequence),
    halfLivesMs: options.counterHalfLivesMs,
    undo: new Map(Object.entries(options.undo)),
    sessionGapMs: options.sessionGapMs,
    maxFutureMs: options.maxFutureMs,
  };
}

/**
 * Names what an application id has written: another hash needs another application id. Action types are not in it:
 * adding one is compatible.
 */
export const stateLayoutHash = (layout: Layout): string =>
  hash([
    STATE_VERSION,
    layout.halfLivesMs,
    layout.sequences.map((sequence) => [sequence.name, sequence.windowSize, sequence.sealSize]),
  ]);

/** Names what a description depends on beside state and model; part of the scorer hash in every record. */
export const descriptionHash = (layout: Layout): string =>
  hash([layout.scored, [...layout.undo], layout.sessionGapMs, layout.sequences.map((sequence) => sequence.maxAgeMs)]);

const hash = (parts: unknown): string => createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
