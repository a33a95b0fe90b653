/** A window as the columns of a record: written out, or copied for the most part from the record before. */
import { compareUtf8, type Action } from './action.ts';
import type { AvroWriter } from './avro-writer.ts';

/**
 * The columns of one window, as they were written; in numbers, as one is made for every record: where the first of them
 * begins, where the items of each begin and end, and where the last one ends.
 */
export interface WrittenWindow {
  readonly window: readonly Action[];
  readonly actionTypes: readonly string[];
  readonly surfaces: readonly string[];
  readonly start: number;
  readonly itemIds: number;
  readonly itemIdsEnd: number;
  readonly gaps: number;
  readonly gapsEnd: number;
  readonly typeIndex: number;
  readonly typeIndexEnd: number;
  readonly surfaceIndex: number;
  readonly surfaceIndexEnd: number;
  readonly end: number;
}

export function writeWindow(
  to: AvroWriter,
  window: readonly Action[],
  bytes: Buffer | null,
  before: WrittenWindow | undefined,
): WrittenWindow {
  if (bytes === null || before === undefined) return writeAll(to, window);
  if (window === before.window) return copyAll(to, bytes, before);
  const newest = window.at(-1);
  // Windows are never changed in place, and a record changes one place of them.
  const isAppend = window.length === before.window.length + 1 && window.at(-2) === before.window.at(-1);
  if (!isAppend || window.length < 2 || newest === undefined) return writeAll(to, window);
  const type = before.actionTypes.indexOf(newest.actionType);
  const surface = before.surfaces.indexOf(newest.surface);
  return type < 0 || surface < 0 ? writeAll(to, window) : writeAppended(to, window, bytes, before, type, surface);
}

function copyAll(to: AvroWriter, bytes: Buffer, before: WrittenWindow): WrittenWindow {
  const moved = to.at - before.start;
  to.copy(bytes, before.start, before.end);
  return {
    window: before.window,
    actionTypes: before.actionTypes,
    surfaces: before.surfaces,
    start: before.start + moved,
    itemIds: before.itemIds + moved,
    itemIdsEnd: before.itemIdsEnd + moved,
    gaps: before.gaps + moved,
    gapsEnd: before.gapsEnd + moved,
    typeIndex: before.typeIndex + moved,
    typeIndexEnd: before.typeIndexEnd + moved,
    surfaceIndex: before.surfaceIndex + moved,
    surfaceIndexEnd: before.surfaceIndexEnd + moved,
    end: before.end + moved,
  };
}

function writeAppended(
  to: AvroWriter,
  window: readonly Action[],
  bytes: Buffer,
  before: WrittenWindow,
  type: number,
  surface: number,
): WrittenWindow {
  const count = window.length;
  const newest = window[count - 1]!;
  const { actionTypes, surfaces } = before;
  const start = to.at;
  const itemIds = beginColumn(to, count);
  to.string(newest.itemId);
  to.copy(bytes, before.itemIds, before.itemIdsEnd);
  const itemIdsEnd = endColumn(to);
  to.long(newest.eventTimeMs);
  const gaps = beginColumn(to, count);
  to.byte(0);
  to.long(newest.eventTimeMs - window[count - 2]!.eventTimeMs);
  // The newest action's own gap, 0, takes one byte.
  to.copy(bytes, before.gaps + 1, before.gapsEnd);
  const gapsEnd = endColumn(to);
  to.strings(actionTypes);
  const typeIndex = beginColumn(to, count);
  to.long(type);
  to.copy(bytes, before.typeIndex, before.typeIndexEnd);
  const typeIndexEnd = endColumn(to);
  to.strings(surfaces);
  const surfaceIndex = beginColumn(to, count);
  to.long(surface);
  to.copy(bytes, before.surfaceIndex, before.surfaceIndexEnd);
  const surfaceIndexEnd = endColumn(to);
  const columns = { itemIds, itemIdsEnd, gaps, gapsEnd, typeIndex, typeIndexEnd, surfaceIndex, surfaceIndexEnd };
  return { window, actionTypes, surfaces, start, ...columns, end: to.at };
}

function writeAll(to: AvroWriter, window: readonly Action[]): WrittenWindow {
  const count = window.length;
  const start = to.at;
  const actionTypes: string[] = [];
  const surfaces: string[] = [];
  const itemIds = beginColumn(to, count);
  for (let at = count - 1; at >= 0; at -= 1) {
    const { itemId, actionType, surface } = window[at]!;
    to.string(itemId);
    if (!actionTypes.includes(actionType)) actionTypes.push(actionType);
    if (!surfaces.includes(surface)) surfaces.push(surface);
  }
  const itemIdsEnd = endColumn(to);
  let newerMs = count === 0 ? 0 : window[count - 1]!.eventTimeMs;
  to.long(newerMs);
  const gaps = beginColumn(to, count);
  for (let at = count - 1; at >= 0; at -= 1) {
    const { eventTimeMs } = window[at]!;
    to.long(newerMs - eventTimeMs);
    newerMs = eventTimeMs;
  }
  const gapsEnd = endColumn(to);
  // In order of their bytes: a function of the actions, not of how they arrived.
  sortUtf8(actionTypes);
  sortUtf8(surfaces);
  to.strings(actionTypes);
  const typeIndex = beginColumn(to, count);
  for (let at = count - 1; at >= 0; at -= 1) to.long(actionTypes.indexOf(window[at]!.actionType));
  const typeIndexEnd = endColumn(to);
  to.strings(surfaces);
  const surfaceIndex = beginColumn(to, count);
  for (let at = count - 1; at >= 0; at -= 1) to.long(surfaces.indexOf(window[at]!.surface));
  const surfaceIndexEnd = endColumn(to);
  const columns = { itemIds, itemIdsEnd, gaps, gapsEnd, typeIndex, typeIndexEnd, surfaceIndex, surfaceIndexEnd };
  return { window, actionTypes, surfaces, start, ...columns, end: to.at };
}

/** By insertion: of the few strings that there are, one or two for the most part, Array's own makes copies. */
function sortUtf8(values: string[]): void {
  for (let next = 1; next < values.length; next += 1) {
    const value = values[next]!;
    let at = next;
    for (; at > 0 && compareUtf8(values[at - 1]!, value) > 0; at -= 1) values[at] = values[at - 1]!;
    values[at] = value;
  }
}

/** Before the items of an array; where they begin. */
function beginColumn(to: AvroWriter, count: number): number {
  if (count > 0) to.long(count);
  return to.at;
}

/** Behind the items of an array; where they end. */
function endColumn(to: AvroWriter): number {
  const end = to.at;
  to.byte(0);
  return end;
}
