/**
 * A fold's result, kept beside a user's state: hidden = fold(zeros, window) under one item-vector version. It is never
 * part of the state: without it the window is folded again and gives the same bits.
 */
import type { FoldRow, Score, Scorer } from '../intent/scorer.ts';
import type { ItemTable } from '../intent/item-table.ts';
import type { Action } from '../../state/action.ts';

export interface ScoreCache {
  readonly itemVersion: string | null;
  readonly modelHash: string;
  /** Actions of the window that are folded. */
  readonly folded: number;
  /** How many of them have a vector. */
  readonly withVector: number;
  readonly hidden: Float32Array;
  /** The heads' output for `hidden`; not stored, absent after a read from the store. */
  readonly score: Score | null;
}

/** A user as the task holds it between commits. */
export interface CachedUser<State> {
  readonly state: State;
  readonly cache: ScoreCache | null;
}

/**
 * The row that brings a window's fold up to date: the steps that are missing if the cache still holds, else all of
 * them; null when nothing is missing and the score is at hand, or when there is nothing to fold.
 */
export function foldRow(
  window: readonly Action[],
  cache: ScoreCache | null,
  table: ItemTable,
  modelHash: string,
): FoldRow | null {
  if (window.length === 0) return null;
  const current = cache !== null && cache.itemVersion === table.version && cache.modelHash === modelHash;
  if (current && cache.folded === window.length && cache.score !== null) return null;
  if (!current || cache.folded === 0 || cache.folded === window.length || cache.score?.finite === false) {
    return { hidden: null, previousEventTimeMs: null, actions: window, table };
  }
  return {
    hidden: cache.hidden,
    previousEventTimeMs: window[cache.folded - 1]!.eventTimeMs,
    actions: window.slice(cache.folded),
    table,
  };
}

/** The cache after a row was scored. A hidden state that is not finite is never extended nor stored. */
export function cacheOf(row: FoldRow, score: Score, before: ScoreCache | null, modelHash: string): ScoreCache {
  const extended = row.hidden === null ? null : before;
  return {
    itemVersion: row.table.version,
    modelHash,
    folded: (extended?.folded ?? 0) + row.actions.length,
    withVector: (extended?.withVector ?? 0) + score.withVector,
    hidden: score.hidden,
    score,
  };
}

/** Nothing is folded yet; it tells under which item vectors the user's last record was taken. */
export const unfolded = (itemVersion: string | null, scorer: Pick<Scorer, 'hash' | 'hiddenSize'>): ScoreCache => ({
  itemVersion,
  modelHash: scorer.hash,
  folded: 0,
  withVector: 0,
  hidden: new Float32Array(scorer.hiddenSize),
  score: null,
});

/** What is kept in the store: without the score, and nothing of a hidden state that is not finite. */
export const storable = (cache: ScoreCache | null): ScoreCache | null =>
  cache === null || cache.score?.finite === false ? null : { ...cache, score: null };

/** Lengths (u16 each) of version and model hash, both as UTF-8, folded (u32), withVector (u32), hidden (f32 LE). */
export function encodeCache(cache: ScoreCache | null): Buffer {
  if (cache === null) return Buffer.alloc(0);
  const version = cache.itemVersion ?? '';
  const versionBytes = Buffer.byteLength(version);
  const hashBytes = Buffer.byteLength(cache.modelHash);
  const bytes = Buffer.allocUnsafe(12 + versionBytes + hashBytes + cache.hidden.length * 4);
  let at = bytes.writeUInt16LE(versionBytes, 0);
  at = bytes.writeUInt16LE(hashBytes, at);
  at += bytes.write(version, at);
  at += bytes.write(cache.modelHash, at);
  at = bytes.writeUInt32LE(cache.folded, at);
  at = bytes.writeUInt32LE(cache.withVector, at);
  bytes.set(bytesOf(cache.hidden), at);
  return bytes;
}

export function decodeCache(bytes: Buffer): ScoreCache | null {
  if (bytes.length === 0) return null;
  const versionEnd = 4 + bytes.readUInt16LE(0);
  const hashEnd = versionEnd + bytes.readUInt16LE(2);
  const version = bytes.toString('utf8', 4, versionEnd);
  const hidden = new Float32Array((bytes.length - hashEnd - 8) / 4);
  bytesOf(hidden).set(bytes.subarray(hashEnd + 8));
  return {
    itemVersion: version === '' ? null : version,
    modelHash: bytes.toString('utf8', versionEnd, hashEnd),
    folded: bytes.readUInt32LE(hashEnd),
    withVector: bytes.readUInt32LE(hashEnd + 4),
    hidden,
    score: null,
  };
}

/** Little-endian, as the machines that Freshet runs on. */
const bytesOf = (array: Float32Array): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
