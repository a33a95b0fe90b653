/** One action into one sequence: inserted in order, merged with its duplicate, or late; then sealed if it is time. */
import { compareKeys, compareUtf8, type Action } from './action.ts';
import { Counters } from './counters.ts';
import type { SequenceLayout } from './layout.ts';
import type { Base, SequenceState } from './user-state.ts';

/** Actions that left a window together, on their way to the lifelong history. */
export interface Chunk {
  readonly sequence: string;
  /** Number of the chunk, from 0. */
  readonly chunk: number;
  /** Oldest first. */
  readonly actions: readonly Action[];
}

/** What a cached fold over the window has to do: nothing, one more step, or start again. */
export type FoldEffect = 'none' | 'append' | 'refold';

export interface Taken {
  readonly outcome: 'accepted' | 'duplicate' | 'late';
  readonly sequence: SequenceState;
  readonly chunk: Chunk | null;
  readonly fold: FoldEffect;
}

export function take(
  sequence: SequenceState,
  action: Action,
  layout: SequenceLayout,
  halfLivesMs: readonly number[],
): Taken {
  const { base, window } = sequence;
  if (base.leftEdge !== null && compareKeys(action, base.leftEdge) <= 0) {
    return { outcome: 'late', sequence, chunk: null, fold: 'none' };
  }
  const at = position(window, action);
  const held = window[at];
  if (held !== undefined && compareKeys(held, action) === 0) return merge(sequence, at, held, action);

  const longer = window.toSpliced(at, 0, action);
  if (longer.length < layout.windowSize + layout.sealSize) {
    const fold = at === window.length ? 'append' : 'refold';
    return { outcome: 'accepted', sequence: { base, window: longer }, chunk: null, fold };
  }
  const actions = longer.slice(0, layout.sealSize);
  return {
    outcome: 'accepted',
    sequence: { base: seal(base, actions, halfLivesMs), window: longer.slice(layout.sealSize) },
    chunk: { sequence: layout.name, chunk: base.chunks, actions },
    fold: 'refold',
  };
}

/** The same key again: of each attribute the greater bytes win, so that the order of arrival does not matter. */
function merge(sequence: SequenceState, at: number, held: Action, action: Action): Taken {
  if (compareUtf8(action.surface, held.surface) <= 0) {
    return { outcome: 'duplicate', sequence, chunk: null, fold: 'none' };
  }
  const window = sequence.window.with(at, { ...held, surface: action.surface });
  return { outcome: 'duplicate', sequence: { base: sequence.base, window }, chunk: null, fold: 'refold' };
}

/** The base once the oldest actions of the window have left it together. */
export function seal(base: Base, actions: readonly Action[], halfLivesMs: readonly number[]): Base {
  const counters = new Counters(halfLivesMs, { ...base, atMs: base.leftEdge?.eventTimeMs ?? null });
  counters.add(actions);
  const { eventTimeMs, itemId, actionType } = actions.at(-1)!;
  return {
    leftEdge: { eventTimeMs, itemId, actionType },
    sealed: base.sealed + actions.length,
    chunks: base.chunks + 1,
    counterTypes: counters.counterTypes,
    counters: counters.counters,
  };
}

/** Index of the first action whose key is not below that of `action`; most actions arrive in order, at the end. */
function position(window: readonly Action[], action: Action): number {
  let high = window.length;
  if (high === 0 || compareKeys(window[high - 1]!, action) < 0) return high;
  let low = 0;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(window[middle]!, action) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
