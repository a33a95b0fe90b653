/**
 * Brings the store of a join to what the log has committed. It is restored from the join's own output, which holds the
 * newest pair of every user: the inputs would not do, since both are compacted, and what stood before a committed
 * offset may be gone in favour of what stands behind it.
 */
import { FreshetError, type Position } from '../base/errors.ts';
import { isErased, type Committed, type Log, type TaskWriter, type TopicPartition } from '../log/log.ts';
import { records } from '../log/newest.ts';
import type { Codec } from '../serde/codec.ts';
import { hasRecords } from '../task/read-on.ts';
import { decodeJoinMetadata, type JoinMetadata } from './join-metadata.ts';
import type { JoinPosition, JoinStore, SidesChange } from './join-store.ts';
import type { RankingRecords, Side } from './ranking-record.ts';

/** The partition of the three topics that a join reads and writes. */
export interface JoinPartitions {
  readonly features: TopicPartition;
  readonly embeddings: TopicPartition;
  readonly ranking: TopicPartition;
}

export interface JoinRestoreOptions {
  readonly log: Log;
  readonly writer: Pick<TaskWriter, 'committed'>;
  readonly codec: Pick<Codec, 'learn'>;
  readonly records: RankingRecords;
  readonly store: JoinStore;
  readonly at: JoinPartitions;
  readonly layoutHash: string;
  /** Of the output; infinite where nothing is ever compacted. */
  readonly deleteRetentionMs: number;
  /** Ends the restore between two chunks, with the signal's reason; the next one goes on from the store's position. */
  readonly signal: AbortSignal;
  readonly onProgress: (restored: number, total: number) => void;
}

export interface RestoredJoin {
  /** C: what is committed, which the store then holds. */
  readonly position: JoinPosition;
  readonly rankingStart: number;
  readonly counts: JoinMetadata['counts'];
  /** Records of `ranking-features` read. */
  readonly records: number;
}

/** Records of one batch into the store: bounds memory. */
const CHUNK_RECORDS = 2_000;

export async function restoreJoin(options: JoinRestoreOptions): Promise<RestoredJoin> {
  const { log, writer, store, at, deleteRetentionMs } = options;
  const [features, embeddings] = [await writer.committed(at.features), await writer.committed(at.embeddings)];
  const [first, end] = [await log.startOffset(at.ranking), await log.endOffset(at.ranking)];
  if (features === undefined || embeddings === undefined) return startEmpty(first, end, options);
  // A process that slept between the two: the offsets are of two commits, and no position of one.
  if (features.metadata !== embeddings.metadata) {
    throw new FreshetError('FENCED', 'another owner has committed between two reads', { position: at.ranking });
  }
  const metadata = decodeJoinMetadata(features.metadata, at.features);
  const { rankingStart, rankingEnd, counts } = metadata;
  await check(metadata, first, end, features, embeddings, options);
  const position = { featuresOffset: features.offset, embeddingsOffset: embeddings.offset, rankingEnd };
  const held = store.position();
  const same = held !== undefined && isSame(held, position);
  if (same && store.isWhole()) return { position, rankingStart, counts, records: 0 };
  // At the committed position and not whole: the log has lost the commit that the store was in.
  const behind = held !== undefined && !same && isBehind(held, position) && !store.isOlderThan(deleteRetentionMs / 2);
  let read = behind ? await readTail(held.rankingEnd, position, options) : undefined;
  if (read === undefined) {
    if (!store.isEmpty()) await store.wipe();
    read = (await readTail(undefined, position, options))!;
  }
  return { position, rankingStart, counts, records: read };
}

/** Nothing was ever committed: nothing may have been written either, but for what was aborted. */
async function startEmpty(first: number, end: number, { log, store, at }: JoinRestoreOptions): Promise<RestoredJoin> {
  if (await hasRecords(log, at.ranking)) {
    throw new FreshetError('FEATURES_ORPHANED', 'the topic is not empty', { position: at.ranking });
  }
  if (!store.isEmpty()) await store.wipe();
  const position = {
    featuresOffset: await log.startOffset(at.features),
    embeddingsOffset: await log.startOffset(at.embeddings),
    rankingEnd: end,
  };
  return { position, rankingStart: first, counts: {}, records: 0 };
}

async function check(
  { layout, rankingStart, rankingEnd, movedTo }: JoinMetadata,
  first: number,
  end: number,
  features: Committed,
  embeddings: Committed,
  { log, at, layoutHash }: JoinRestoreOptions,
): Promise<void> {
  if (movedTo !== undefined) throw new FreshetError('APP_MOVED', movedTo, { position: at.ranking });
  if (layout !== layoutHash) {
    const detail = `layout ${layout} was joined, ${layoutHash} is configured`;
    throw new FreshetError('LAYOUT_CHANGED', detail, { position: at.ranking });
  }
  if (first > rankingStart) {
    const detail = `it begins at ${first}, but was written from ${rankingStart} on`;
    throw new FreshetError('OUTPUT_TRUNCATED', detail, { position: at.ranking });
  }
  if (end < rankingEnd) {
    const detail = `it ends at ${end}, committed was ${rankingEnd}`;
    throw new FreshetError('OUTPUT_TRUNCATED', detail, { position: at.ranking });
  }
  for (const [input, { offset }] of [[at.features, features] as const, [at.embeddings, embeddings] as const]) {
    const [from, to] = [await log.startOffset(input), await log.endOffset(input)];
    if (offset >= from && offset <= to) continue;
    const position: Position = { ...input, offset };
    throw new FreshetError('OFFSET_OUT_OF_RANGE', `the input holds offsets ${from} to ${to}`, { position });
  }
}

/** Undefined where an erase has blanked records behind `since`: the tombstone of a user that the store holds may be gone. */
async function readTail(
  since: number | undefined,
  position: JoinPosition,
  options: JoinRestoreOptions,
): Promise<number | undefined> {
  const { log, codec, store, at, signal, onProgress } = options;
  const start = since ?? (await log.startOffset(at.ranking));
  const { rankingEnd } = position;
  // Of several records of a user in one chunk the last is the newest.
  const changes = new Map<string, SidesChange>();
  let read = 0;
  for await (const record of records(log, at.ranking, start, rankingEnd, { erased: since !== undefined })) {
    if (isErased(record)) return undefined;
    const userId = record.key!.toString();
    await codec.learn([record]);
    const sides = record.value === null ? null : options.records.sides(record);
    assertBelow(sides?.realtime, position.featuresOffset, at.features);
    assertBelow(sides?.longTerm, position.embeddingsOffset, at.embeddings);
    changes.set(userId, { userId, sides });
    read += 1;
    if (read % CHUNK_RECORDS > 0) continue;
    await store.add(changes.values());
    changes.clear();
    onProgress(record.offset + 1 - start, rankingEnd - start);
    signal.throwIfAborted();
  }
  await store.commit(changes.values(), position);
  if (read > 0) onProgress(rankingEnd - start, rankingEnd - start);
  return read;
}

function assertBelow(side: Side | null | undefined, committedOffset: number, input: TopicPartition): void {
  if (side === null || side === undefined || side.offset < committedOffset) return;
  const detail = `a joined record is not below the committed offset ${committedOffset}`;
  throw new FreshetError('INPUT_RECREATED', detail, { position: { ...input, offset: side.offset } });
}

const isSame = (held: JoinPosition, committed: JoinPosition): boolean =>
  isBehind(held, committed) && isBehind(committed, held);

const isBehind = (held: JoinPosition, committed: JoinPosition): boolean =>
  held.featuresOffset <= committed.featuresOffset &&
  held.embeddingsOffset <= committed.embeddingsOffset &&
  held.rankingEnd <= committed.rankingEnd;
