/**
 * The proof at open that the store holds exactly what some batch left: every record matches its checksum, the batches'
 * numbers have no gap, count and digest are those of the last batch. LevelDB drops a damaged record of its write-ahead
 * log without a word and goes on behind the hole; only this notices.
 */
import type { ClassicLevel } from 'classic-level';
import { ENTRY_KIND, META_KEY, META_KIND, SEQUENCE_KIND, decodeMeta, sequenceOfKey, unseal } from './store-record.ts';
import type { StoreMeta } from './store-record.ts';

export type LevelStore = ClassicLevel<Buffer, Buffer>;

/** Why a store was begun anew. Stable: metrics and tests rely on the codes. */
export type RebuildCode =
  | 'new'
  | 'layout_changed'
  | 'files_missing'
  | 'open_failed'
  | 'unreadable'
  | 'meta_missing'
  | 'checksum'
  | 'sequence_gap'
  | 'count_mismatch'
  | 'digest_mismatch'
  | 'batches_lost';

export interface RebuildReason {
  readonly code: RebuildCode;
  readonly detail: string;
}

/** Batch numbers kept: the newest so many, about as many as a write-ahead log of the smallest batches holds. */
export const SEQUENCE_WINDOW = 65_536;

const CHUNK_ENTRIES = 1_024;
const CHUNK_BYTES = 1024 * 1024;

const reason = (code: RebuildCode, detail: string): RebuildReason => ({ code, detail });

/** Reads the whole store. Returns its meta record, or what is wrong. Throws what LevelDB throws. */
export async function proveStore(db: LevelStore, layoutHash: string): Promise<StoreMeta | RebuildReason> {
  const sealed = await db.get(META_KEY);
  if (sealed === undefined) return reason('meta_missing', 'the record of what the store holds is missing');
  const meta = decodeMeta(sealed);
  if (meta === undefined) return reason('checksum', 'the record of what the store holds is damaged');
  if (meta.layoutHash !== layoutHash)
    return reason('layout_changed', `written as ${meta.layoutHash}, now ${layoutHash}`);

  const found = await scan(db);
  if (found.damaged > 0) return reason('checksum', `${found.damaged} records do not match their checksums`);
  const expected = Math.min(meta.batch, SEQUENCE_WINDOW);
  if (found.gap || found.batches !== expected || (expected > 0 && found.lastBatch !== meta.batch)) {
    return reason('sequence_gap', `${found.batches} of the last ${expected} batches are there, up to ${meta.batch}`);
  }
  if (found.count !== meta.count) return reason('count_mismatch', `${found.count} entries instead of ${meta.count}`);
  if (found.digest !== meta.digest) return reason('digest_mismatch', 'an entry is not the one committed last');
  return meta;
}

/**
 * The records in the order of their keys, from a kind on to the end or to the next kind, in chunks of at most 1,024
 * records and about 1 MB. Holds an iterator: no write may happen until it has ended.
 */
export async function* chunksOf(db: LevelStore, kind?: number): AsyncGenerator<[Buffer, Buffer][], void> {
  const range = kind === undefined ? {} : { gte: Buffer.from([kind]), lt: Buffer.from([kind + 1]) };
  const iterator = db.iterator({ ...range, highWaterMarkBytes: CHUNK_BYTES });
  try {
    for (;;) {
      const chunk = await iterator.nextv(CHUNK_ENTRIES);
      if (chunk.length === 0) return;
      yield chunk;
    }
  } finally {
    await iterator.close();
  }
}

interface Found {
  damaged: number;
  count: number;
  digest: bigint;
  batches: number;
  lastBatch: number;
  gap: boolean;
}

async function scan(db: LevelStore): Promise<Found> {
  const found: Found = { damaged: 0, count: 0, digest: 0n, batches: 0, lastBatch: 0, gap: false };
  for await (const chunk of chunksOf(db)) {
    // Below 2^53 within a chunk, so numbers are exact and a bigint is needed only once.
    let sum = 0;
    for (const [key, sealed] of chunk) sum += scanRecord(found, key, sealed);
    found.digest = BigInt.asUintN(64, found.digest + BigInt(sum));
  }
  return found;
}

/** Enters one record; returns the checksum of an entry, 0 for the others. */
function scanRecord(found: Found, key: Buffer, sealed: Buffer): number {
  const opened = unseal(key, sealed);
  if (opened === undefined) {
    found.damaged += 1;
    return 0;
  }
  if (key[0] === ENTRY_KIND) {
    found.count += 1;
    return opened.sum;
  }
  if (key[0] === SEQUENCE_KIND) {
    const batch = sequenceOfKey(key);
    found.gap ||= found.batches > 0 && batch !== found.lastBatch + 1;
    found.batches += 1;
    found.lastBatch = batch;
  } else if (key[0] !== META_KIND) {
    found.damaged += 1;
  }
  return 0;
}
