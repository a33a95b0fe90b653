/**
 * Brings a task's store to what the log has committed. The store is a cache of the features topic: L is how far it has
 * come, C is what is committed. L = C goes on at once, L < C reads the tail, anything doubtful wipes and reads all.
 */
import { FreshetError, type Position } from '../base/errors.ts';
import type { Committed, Log, TopicPartition } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import type { StateCodec } from '../../state/state-codec.ts';
import type { SequenceFeaturesRecord } from '../../topics/records.ts';
import { decodeMetadata, type CommitMetadata } from './commit-metadata.ts';
import type { UserChange, UserStore } from './user-store.ts';

export interface RestoreOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly stateCodec: StateCodec;
  readonly store: UserStore;
  readonly input: TopicPartition;
  readonly layoutHash: string;
  readonly onProgress?: (restored: number, total: number) => void;
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
  const { log, store, input } = options;
  const features: TopicPartition = { topic: 'sequence-features', partition: input.partition };
  const featuresEnd = await log.endOffset(features);
  if (committed === undefined) return startEmpty(featuresEnd, features, options);

  const metadata = decodeMetadata(committed.metadata, input);
  await check(committed, metadata, featuresEnd, features, options);
  const held = store.position();
  const same = held?.offset === committed.offset;
  if (same && store.isWhole()) return { offset: committed.offset, metadata, records: 0 };
  // At the committed offset and not whole: the log has lost the commit that the store was in.
  const from = held !== undefined && held.offset < committed.offset ? held : undefined;
  if (from === undefined && !store.isEmpty()) await store.wipe();
  const start = from?.featuresEnd ?? (await log.startOffset(features));
  const records = await readTail(start, metadata.featuresEnd, committed.offset, features, options);
  await store.commit([], { offset: committed.offset, featuresEnd: metadata.featuresEnd });
  return { offset: committed.offset, metadata, records };
}

/** Nothing was ever committed: nothing may have been written either. */
async function startEmpty(featuresEnd: number, features: TopicPartition, options: RestoreOptions): Promise<Restored> {
  const { log, store, input, layoutHash } = options;
  if (featuresEnd > (await log.startOffset(features))) {
    throw new FreshetError('FEATURES_ORPHANED', 'the topic is not empty', { position: features });
  }
  if (!store.isEmpty()) await store.wipe();
  const metadata = { featuresEnd, historyEnd: 0, rejectedEnd: 0, activation: null, layout: layoutHash, counts: {} };
  return { offset: await log.startOffset(input), metadata, records: 0 };
}

async function check(
  committed: Committed,
  metadata: CommitMetadata,
  featuresEnd: number,
  features: TopicPartition,
  { log, input, layoutHash }: RestoreOptions,
): Promise<void> {
  if (metadata.layout !== layoutHash) {
    throw new FreshetError('LAYOUT_CHANGED', `layout ${metadata.layout} was written, ${layoutHash} is configured`, {
      position: input,
    });
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

async function readTail(
  start: number,
  end: number,
  committedOffset: number,
  features: TopicPartition,
  { log, codec, stateCodec, store, onProgress }: RestoreOptions,
): Promise<number> {
  let records = 0;
  for (let offset = start; offset < end;) {
    const read = await log.read(features, offset, READ_LIMITS);
    const tail = read.filter((record) => record.offset < end);
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
      if (decoded.version >= committedOffset) {
        const detail = `version ${decoded.version} is not below the committed offset ${committedOffset}`;
        throw new FreshetError('INPUT_RECREATED', detail, { position: { ...features, offset: record.offset } });
      }
      const stateBody = stateCodec.encode(stateCodec.fromRecord(decoded));
      changes.set(userId, { userId, stateBody, cache: null });
    }
    offset = tail.at(-1)!.offset + 1;
    await store.add(changes.values());
    records += tail.length;
    onProgress?.(offset - start, end - start);
  }
  return records;
}
