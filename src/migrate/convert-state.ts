/**
 * A user's state as another layout would have it, had it taken the same actions from the beginning. Windows and counters
 * are functions of the set of actions, not of their arrival (rule 1), so feeding them in order gives the same bits; where
 * the past is gone, what is sealed can still be sealed further, since counters go on from where they are.
 */
import { compareKeys, type Action } from '../../state/action.ts';
import { HISTORY_RING } from '../../state/history.ts';
import type { Layout, SequenceLayout } from '../../state/layout.ts';
import { seal, take, type Chunk } from '../../state/sequence.ts';
import { EMPTY_SEQUENCE, type SequenceState, type UserState } from '../../state/user-state.ts';

/** Where a sequence of the new layout comes from. */
export interface SequenceSource {
  /** Index of the old sequence. */
  readonly index: number;
  /** Whether it takes the same actions; else some of them. */
  readonly takesSame: boolean;
  /** Whether the old chunks are also the new ones, in the same place. */
  readonly keepsChunks: boolean;
}

export interface Conversion {
  readonly from: Layout;
  readonly to: Layout;
  /** In the order of the new layout. */
  readonly sources: readonly SequenceSource[];
}

/** What a user has sealed in one old sequence, oldest first; null: some of it is gone. */
export type SealedActions = readonly Action[] | null;

export interface Converted {
  readonly sequences: readonly SequenceState[];
  /** To be written, of all sequences. */
  readonly chunks: readonly Chunk[];
  /** Names of the sequences whose old chunks stay as they are. */
  readonly kept: readonly string[];
}

export interface Refusal {
  /** Name of the new sequence. */
  readonly sequence: string;
  readonly cause: 'ring' | 'missing';
}

/** Whether a sequence can be had without what was sealed before. */
export function needsHistory(state: UserState, conversion: Conversion, at: number): boolean {
  const source = conversion.sources[at]!;
  const { base, window } = state.sequences[source.index]!;
  if (base.sealed === 0) return false;
  const sealed = sealedOf(base.sealed + window.length, conversion.to.sequences[at]!);
  return !(source.keepsChunks && source.takesSame && sameHalfLives(conversion) && sealed >= base.sealed);
}

/** @param sealed - by index of the old sequence; asked for only where `needsHistory`. */
export function convert(
  state: UserState,
  conversion: Conversion,
  sealed: ReadonlyMap<number, SealedActions>,
): Converted | Refusal {
  const sequences: SequenceState[] = [];
  const chunks: Chunk[] = [];
  const kept: string[] = [];
  for (const [at, layout] of conversion.to.sequences.entries()) {
    const { index } = conversion.sources[at]!;
    const old = state.sequences[index]!;
    let made: { readonly sequence: SequenceState; readonly chunks: readonly Chunk[] };
    if (old.base.sealed > 0 && !needsHistory(state, conversion, at)) {
      made = sealFurther(old, layout, conversion.to.halfLivesMs);
      kept.push(layout.name);
    } else {
      const past = old.base.sealed === 0 ? [] : sealed.get(index);
      if (!isWhole(past, old)) {
        return { sequence: layout.name, cause: old.base.chunks > HISTORY_RING ? 'ring' : 'missing' };
      }
      made = takeAll([...past, ...old.window], layout, conversion.to.halfLivesMs);
    }
    sequences.push(made.sequence);
    chunks.push(...made.chunks);
  }
  return { sequences, chunks, kept };
}

/** Whether these are the actions that the base has counted. */
const isWhole = (past: SealedActions | undefined, { base }: SequenceState): past is readonly Action[] =>
  past?.length === base.sealed && (base.leftEdge === null || compareKeys(past.at(-1)!, base.leftEdge) === 0);

function takeAll(
  actions: readonly Action[],
  layout: SequenceLayout,
  halfLivesMs: readonly number[],
): { sequence: SequenceState; chunks: Chunk[] } {
  let sequence = EMPTY_SEQUENCE;
  const chunks: Chunk[] = [];
  for (const action of actions) {
    if (layout.actionTypes !== null && !layout.actionTypes.has(action.actionType)) continue;
    const taken = take(sequence, action, layout, halfLivesMs);
    ({ sequence } = taken);
    if (taken.chunk === null) continue;
    chunks.push(taken.chunk);
    // The ring holds no more.
    if (chunks.length > HISTORY_RING) chunks.shift();
  }
  return { sequence, chunks };
}

function sealFurther(
  { base: before, window }: SequenceState,
  layout: SequenceLayout,
  halfLivesMs: readonly number[],
): { sequence: SequenceState; chunks: Chunk[] } {
  const { sealSize, name } = layout;
  const chunks: Chunk[] = [];
  let base = before;
  const count = sealedOf(before.sealed + window.length, layout) - before.sealed;
  for (let at = 0; at < count; at += sealSize) {
    const actions = window.slice(at, at + sealSize);
    chunks.push({ sequence: name, chunk: base.chunks, actions });
    base = seal(base, actions, halfLivesMs);
  }
  return { sequence: { base, window: window.slice(count) }, chunks };
}

/** How many of `count` actions are sealed: C each time that the window holds K + C. */
const sealedOf = (count: number, { windowSize, sealSize }: SequenceLayout): number =>
  sealSize * Math.max(0, Math.floor((count - windowSize) / sealSize));

const sameHalfLives = ({ from, to }: Conversion): boolean => from.halfLivesMs.join() === to.halfLivesMs.join();
