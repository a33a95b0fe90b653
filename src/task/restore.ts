/**
 * Brings a task's store to what the log has committed. The store is a cache of the features topic: L is how far it has
 * come, C is what is committed. L = C goes on at once, L < C reads the tail, anything doubtful wipes and reads all.
 *
 * A tail says all that happened since L only as long as its tombstones are there: the topic is compacted, and drops a
 * tombstone `delete.retention.ms` after it has cleaned up to it.
 */
import { FreshetError, type Position } from '../base/errors.ts';
import { isErased, type Committed, type Log, type TopicPartition } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import type { StateCodec } from '../../state/state-codec.ts';
import type { SequenceFeaturesRecord } from '../../topics/records.ts';
import { decodeMetadata, type CommitMetadata } from './commit-metadata.ts';
import { hasRecords } from './read-on.ts';
import type { StorePosition, UserChange, UserStore } from './user-store.ts';

export interface RestoreOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly stateCodec: StateCodec;
  readonly store: UserStore;
  readonly input: TopicPartition;
  readonly layoutHash: string;
  /** Of the features topic; infinite where nothing is ever compacted. */
  readonly deleteRetentionMs: number;
  /** Ends the restore between two reads, with the signal's reason; the next one goes on from the store's position. */
  readonly signal: AbortSignal;
  readonly onProgress: (restored: number, total: number) => void;
}

export interface Restored {
  /** C: the input offset to go on from. */
  readonly offset: number;
  readonly metadata: CommitMetadata;
  /** Features records read. */
  readonly records: number;
}

const READ_LIMITS = { maxRecords: 2_000, maxBytes: 8 * 1024 * 1024 };

export async function restore(committed: Committed | undefined, options: RestoreOptions): Promise<Restored> {
  const { log, store, input, deleteRetentionMs } = options;
  const features: TopicPartition = { topic: 'sequence-features', partition: input.partition };
  const featuresEnd = await log.endOffset(features);
  const featuresStart = await log.startOffset(features);
  if (committed === undefined) return startEmpty({ featuresStart, featuresEnd }, features, options);

  const metadata = decodeMetadata(committed.metadata, input);
  await check(committed, metadata, { featuresStart, featuresEnd }, features, options);
  const held = store.position();
  // The offset alone does not tell: after a reset the same one is reached again, with other features behind it.
  const same = held?.offset === committed.offset && held.featuresEnd === metadata.featuresEnd;
  if (same && store.isWhole()) return { offset: committed.offset, metadata, records: 0 };
  // At the committed position and not whole: the log has lost the commit that the store was in.
  const behind = !same && held !== undefined && isBehind(held, committed.offset, metadata);
  const from = behind && !store.isOlderThan(deleteRetentionMs / 2) ? held : undefined;
  let records = from && (await readTail(from.featuresEnd, metadata, committed.offset, features, options));
  if (records === undefined) {
    if (!store.isEmpty()) await store.wipe();
    records = (await readTail(undefined, metadata, committed.offset, features, options))!;
  }
  await store.commit([], { offset: committed.offset, featuresEnd: metadata.featuresEnd });
  return { offset: committed.offset, metadata, records };
}

/** Of the present generation's features, those behind the store's hold every user that changed since. */
const isBehind = (held: StorePosition, offset: number, { featuresEnd }: CommitMetadata): boolean =>
  held.offset <= offset && held.featuresEnd <= featuresEnd;

interface Ends {
  readonly featuresStart: number;
  readonly featuresEnd: number;
}

/** Nothing was ever committed: nothing may have been written either, but for what was aborted. */
async function startEmpty(ends: Ends, features: TopicPartition, options: RestoreOptions): Promise<Restored> {
  const { log, store, input, layoutHash } = options;
  if (await hasRecords(log, features)) {
    throw new FreshetError('FEATURES_ORPHANED', 'the topic is not empty', { position: features });
  }
  if (!store.isEmpty()) await store.wipe();
  const metadata = { ...ends, historyEnd: 0, rejectedEnd: 0, activation: null, layout: layoutHash, counts: {} };
  return { offset: await log.startOffset(input), metadata, records: 0 };
}

async function check(
  committed: Committed,
  metadata: CommitMetadata,
  { featuresStart, featuresEnd }: Ends,
  features: TopicPartition,
  { log, input, layoutHash }: RestoreOptions,
): Promise<void> {
  if (metadata.unfinished !== undefined) {
    throw new FreshetError('STATE_MOVE_UNFINISHED', `freshet ${metadata.unfinished}`, { position: input });
  }
  if (metadata.movedTo !== undefined) throw new FreshetError('APP_MOVED', metadata.movedTo, { position: input });
  if (metadata.layout !== layoutHash) {
    throw new FreshetError('LAYOUT_CHANGED', `layout ${metadata.layout} was written, ${layoutHash} is configured`, {
      position: input,
    });
  }
  if (featuresStart > metadata.featuresStart) {
    const detail = `it begins at ${featuresStart}, but was written from ${metadata.featuresStart} on`;
    throw new FreshetError('OUTPUT_TRUNCATED', detail, { position: features });
  }
  const outputs = [
    [features, featuresEnd, metadata.featuresEnd],
    ...(await outputEnds(log, input.partition, metadata)),
  ] as const;
  for (const [position, end, committedEnd] of outputs) {
    if (end >= committedEnd) continue;
    throw new FreshetError('OUTPUT_TRUNCATED', `it ends at ${end}, committed was ${committedEnd}`, { position });
  }
  const [start, end] = [await log.startOffset(input), await log.endOffset(input)];
  if (committed.offset < start || committed.offset > end) {
    const position: Position = { ...input, offset: committed.offset };
    throw new FreshetError('OFFSET_OUT_OF_RANGE', `the input holds offsets ${start} to ${end}`, { position });
  }
}

/** The other topics that the task writes: where they end, and where they ended at the last commit. */
async function outputEnds(
  log: Log,
  partition: number,
  { historyEnd, rejectedEnd }: CommitMetadata,
): Promise<(readonly [TopicPartition, number, number])[]> {
  const [history, rejected] = [
    { topic: 'action-history', partition },
    { topic: 'rejected-actions', partition },
  ];
  return [
    [history, await log.endOffset(history), historyEnd],
    [rejected, await log.endOffset(rejected), rejectedEnd],
  ];
}

/** Undefined where an erase has blanked records behind `since`: the tombstone of a user that the store holds may be gone. */
async function readTail(
  since: number | undefined,
  { featuresStart, featuresEnd: end, generation }: CommitMetadata,
  committedOffset: number,
  features: TopicPartition,
  { log, codec, stateCodec, store, signal, onProgress }: RestoreOptions,
): Promise<number | undefined> {
  const start = since ?? featuresStart;
  // What an earlier generation wrote may be ahead; each such user was written or removed again when it ended.
  const generationStart = generation?.resets.at(-1)?.featuresEnd ?? 0;
  let records = 0;
  for (let offset = start; offset < end;) {
    signal.throwIfAborted();
    const read = await log.read(features, offset, { ...READ_LIMITS, erased: since !== undefined });
    if (read.some(isErased)) return undefined;
    const tail = read.filter((record) => record.offset < end);
    // The last offsets before the end may be of no record.
    if (tail.length === 0) break;
    await codec.learn(tail);
    // Of several records of a user in one read the last is the newest.
    const changes = new Map<string, UserChange>();
    for (const record of tail) {
      const userId = record.key!.toString();
      if (record.value === null) {
        changes.set(userId, { userId, stateBody: null, cache: null });
        continue;
      }
      const decoded = codec.decode<SequenceFeaturesRecord>('sequence-features-value', record.value, record.headers);
      if (decoded.version >= committedOffset && record.offset >= generationStart) {
        const detail = `version ${decoded.version} is not below the committed offset ${committedOffset}`;
        throw new FreshetError('INPUT_RECREATED', detail, { position: { ...features, offset: record.offset } });
      }
      const stateBody = stateCodec.encode(stateCodec.fromRecord(decoded));
      changes.set(userId, { userId, stateBody, cache: null });
    }
    offset = tail.at(-1)!.offset + 1;
    await store.add(changes.values());
    records += tail.length;
    onProgress(offset - start, end - start);
  }
  return records;
}
