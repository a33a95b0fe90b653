/** The part of a window that ranking is shown: what is hidden taken out, then the newest K. */
import { fromColumns, toColumns } from '../../state/columns.ts';
import type { ActionColumns } from '../../topics/records.ts';

/**
 * The visible actions of a window, packed as the whole window was: dictionaries of what occurs, gaps between neighbours.
 *
 * @param window - newest first.
 * @param hiddenPositions - positions in the window, ascending.
 * @param windowSize - K.
 */
export function visibleColumns(
  window: ActionColumns,
  hiddenPositions: readonly number[],
  windowSize: number,
): ActionColumns {
  // Columns are written in the one canonical form, so that of all actions need not be made again.
  if (hiddenPositions.length === 0 && window.itemIds.length <= windowSize) return window;
  const newest = window.itemIds.length - 1;
  const hidden = new Set(hiddenPositions);
  const visible = fromColumns(window).filter((_, index) => !hidden.has(newest - index));
  return toColumns(visible.slice(-windowSize));
}
