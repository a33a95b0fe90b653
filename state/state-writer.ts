/**
 * A user's state as the Avro body that StateCodec writes too, without a detour over columns. Where a user's state is
 * written after each action, its windows stand for the most part in the record before: they are copied from there.
 */
import { compareUtf8, type Action } from './action.ts';
import type { AvroWriter } from './avro-writer.ts';
import type { Layout } from './layout.ts';
import type { SequenceState, UserState } from './user-state.ts';

/** Where the items of a column stand in a record. */
interface Span {
  from: number;
  to: number;
}

/** The columns of one window, as they were written. */
interface WrittenWindow {
  readonly window: readonly Action[];
  readonly actionTypes: readonly string[];
  readonly surfaces: readonly string[];
  /** All of them, the names of the sequence apart. */
  readonly columns: Span;
  readonly itemIds: Span;
  readonly gaps: Span;
  readonly typeIndex: Span;
  readonly surfaceIndex: Span;
}

/** A state that was written, to write the next one of the user from. */
export interface WrittenState {
  /** The record; its offsets are those of the writer. */
  readonly bytes: Buffer;
  readonly windows: readonly WrittenWindow[];
}

export class StateWriter {
  private readonly names: readonly string[];

  constructor(layout: Layout) {
    this.names = layout.sequences.map(({ name }) => name);
  }

  /** Writes the fields of the state at the writer's position; the windows are to be kept with the record's bytes. */
  write(to: AvroWriter, state: UserState, before: WrittenState | null): WrittenState['windows'] {
    to.string(state.userId);
    to.long(state.version);
    to.long(state.firstOffset);
    to.long(state.partition);
    const { envelope } = state;
    to.long(envelope.newestEventTimeMs);
    to.long(envelope.newestArrivalTimeMs);
    to.long(envelope.accepted);
    to.long(envelope.duplicate);
    to.long(envelope.late);
    to.long(envelope.future);
    to.long(envelope.rejected);
    to.long(state.sequences.length);
    const windows = state.sequences.map((sequence, index) => {
      to.string(this.names[index]!);
      const written = writeWindow(to, sequence.window, before?.bytes ?? null, before?.windows[index]);
      writeBase(to, sequence);
      return written;
    });
    to.byte(0);
    return windows;
  }
}

function writeBase(to: AvroWriter, { base }: SequenceState): void {
  const { leftEdge } = base;
  to.long(leftEdge === null ? 0 : 1);
  if (leftEdge !== null) {
    to.long(leftEdge.eventTimeMs);
    to.string(leftEdge.itemId);
    to.string(leftEdge.actionType);
  }
  to.long(base.sealed);
  to.long(base.chunks);
  to.strings(base.counterTypes);
  to.doubles(base.counters);
}

function writeWindow(
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
  const { columns } = before;
  const moved = to.at - columns.from;
  const move = ({ from, to: end }: Span): Span => ({ from: from + moved, to: end + moved });
  to.copy(bytes, columns.from, columns.to);
  return {
    ...before,
    columns: move(columns),
    itemIds: move(before.itemIds),
    gaps: move(before.gaps),
    typeIndex: move(before.typeIndex),
    surfaceIndex: move(before.surfaceIndex),
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
  const from = to.at;
  const itemIds = column(to, count, () => {
    to.string(newest.itemId);
    to.copy(bytes, before.itemIds.from, before.itemIds.to);
  });
  to.long(newest.eventTimeMs);
  const gaps = column(to, count, () => {
    to.byte(0);
    to.long(newest.eventTimeMs - window[count - 2]!.eventTimeMs);
    // The newest action's own gap, 0, takes one byte.
    to.copy(bytes, before.gaps.from + 1, before.gaps.to);
  });
  to.strings(actionTypes);
  const typeIndex = column(to, count, () => {
    to.long(type);
    to.copy(bytes, before.typeIndex.from, before.typeIndex.to);
  });
  to.strings(surfaces);
  const surfaceIndex = column(to, count, () => {
    to.long(surface);
    to.copy(bytes, before.surfaceIndex.from, before.surfaceIndex.to);
  });
  const columns = { from, to: to.at };
  return { window, actionTypes, surfaces, columns, itemIds, gaps, typeIndex, surfaceIndex };
}

function writeAll(to: AvroWriter, window: readonly Action[]): WrittenWindow {
  const count = window.length;
  const from = to.at;
  const actionTypes: string[] = [];
  const surfaces: string[] = [];
  const itemIds = column(to, count, () => {
    for (let at = count - 1; at >= 0; at -= 1) {
      const { itemId, actionType, surface } = window[at]!;
      to.string(itemId);
      if (!actionTypes.includes(actionType)) actionTypes.push(actionType);
      if (!surfaces.includes(surface)) surfaces.push(surface);
    }
  });
  const newestMs = count === 0 ? 0 : window[count - 1]!.eventTimeMs;
  to.long(newestMs);
  const gaps = column(to, count, () => {
    let newerMs = newestMs;
    for (let at = count - 1; at >= 0; at -= 1) {
      const { eventTimeMs } = window[at]!;
      to.long(newerMs - eventTimeMs);
      newerMs = eventTimeMs;
    }
  });
  // In order of their bytes: a function of the actions, not of how they arrived.
  actionTypes.sort(compareUtf8);
  surfaces.sort(compareUtf8);
  to.strings(actionTypes);
  const typeIndex = column(to, count, () => {
    for (let at = count - 1; at >= 0; at -= 1) to.long(actionTypes.indexOf(window[at]!.actionType));
  });
  to.strings(surfaces);
  const surfaceIndex = column(to, count, () => {
    for (let at = count - 1; at >= 0; at -= 1) to.long(surfaces.indexOf(window[at]!.surface));
  });
  const columns = { from, to: to.at };
  return { window, actionTypes, surfaces, columns, itemIds, gaps, typeIndex, surfaceIndex };
}

/** An array of so many items; where they stand. */
function column(to: AvroWriter, count: number, items: () => void): Span {
  if (count > 0) to.long(count);
  const from = to.at;
  items();
  const span = { from, to: to.at };
  to.byte(0);
  return span;
}
