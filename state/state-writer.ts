/**
 * A user's state as the Avro body that StateCodec writes too, without a detour over columns. Where a user's state is
 * written after each action, its windows stand for the most part in the record before: they are copied from there.
 */
import type { AvroWriter } from './avro-writer.ts';
import type { Layout } from './layout.ts';
import type { SequenceState, UserState } from './user-state.ts';
import { writeWindow, type WrittenWindow } from './window-writer.ts';

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
