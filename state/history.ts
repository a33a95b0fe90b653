/** The lifelong history: sealed chunks in a ring, so that disk and erase have a bound. */
import type { HistoryChunkRecord } from '../topics/records.ts';
import { toColumns } from './columns.ts';
import type { Layout } from './layout.ts';
import type { Chunk } from './sequence.ts';
import type { UserState } from './user-state.ts';

/** H: chunk n takes the place of chunk n − H of the same user and sequence. */
export const HISTORY_RING = 1024;

/** User id and sequence name, each behind its length in bytes (32-bit big-endian), then n mod H (32-bit big-endian). */
export function historyKey(userId: string, sequence: string, chunk: number): Buffer {
  const user = Buffer.from(userId);
  const name = Buffer.from(sequence);
  const key = Buffer.allocUnsafe(12 + user.length + name.length);
  let at = key.writeUInt32BE(user.length, 0);
  at += user.copy(key, at);
  at = key.writeUInt32BE(name.length, at);
  at += name.copy(key, at);
  key.writeUInt32BE(chunk % HISTORY_RING, at);
  return key;
}

export const historyRecord = (userId: string, chunk: Chunk): HistoryChunkRecord => ({
  userId,
  sequence: chunk.sequence,
  chunk: chunk.chunk,
  ...toColumns(chunk.actions),
});

/** The keys that hold a user's history: what an erase has to tombstone. */
export function historyKeys(state: UserState, layout: Layout): Buffer[] {
  return layout.sequences.flatMap((sequence, index) => {
    const { chunks } = state.sequences[index]!.base;
    return Array.from({ length: Math.min(chunks, HISTORY_RING) }, (_, back) =>
      historyKey(state.userId, sequence.name, chunks - 1 - back),
    );
  });
}
