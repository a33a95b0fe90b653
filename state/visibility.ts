/** Which actions of a window readers are shown. Nothing leaves the window for being hidden. */
import type { Action } from './action.ts';
import type { Layout } from './layout.ts';

/**
 * Positions to skip, newest first from 0, ascending: pairs of an undo and the newest earlier action it undoes that no
 * other undo has taken, and actions older than the sequence's age. An undo without a partner in the window is shown.
 */
export function hiddenPositions(window: readonly Action[], layout: Layout, maxAgeMs: number | null): number[] {
  // Most windows hide nothing: there is no set before there is something in it.
  let hidden = undonePairs(window, layout.undo);
  const newest = window.at(-1);
  if (maxAgeMs !== null && newest !== undefined) {
    for (let at = 0; at < window.length && window[at]!.eventTimeMs < newest.eventTimeMs - maxAgeMs; at += 1) {
      hidden ??= new Set();
      hidden.add(at);
    }
  }
  return hidden === null ? [] : [...hidden].map((at) => window.length - 1 - at).sort((a, b) => a - b);
}

/** Indexes into the window, oldest first. */
function undonePairs(window: readonly Action[], undo: ReadonlyMap<string, string>): Set<number> | null {
  let hidden = null as Set<number> | null;
  for (let at = 0; at < window.length; at += 1) {
    const { actionType, itemId } = window[at]!;
    const undone = undo.get(actionType);
    if (undone === undefined) continue;
    for (let earlier = at - 1; earlier >= 0; earlier -= 1) {
      const candidate = window[earlier]!;
      if (candidate.actionType !== undone || candidate.itemId !== itemId || hidden?.has(earlier) === true) continue;
      hidden ??= new Set();
      hidden.add(earlier).add(at);
      break;
    }
  }
  return hidden;
}
