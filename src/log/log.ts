/**
 * The log port: topics, partitions, dense offsets, and commits that carry outputs and an input offset together. What
 * stands here is what every implementation must give; test/log-conformance.ts is its specification in code.
 */
import type { TopicDeclaration } from '../../topics/index.ts';

export type Headers = Readonly<Record<string, Buffer>>;

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

/**
 * A record as it is read. Offsets increase in a partition; they are dense, 0, 1, 2, …, on the embedded log, while on
 * Kafka the markers of transactions take some, and compaction leaves holes.
 */
export interface LogRecord {
  readonly offset: number;
  readonly timestampMs: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Headers;
}

/** A record to be written. A null value is a tombstone in a compacted topic and an erase in `user-actions`. */
export interface NewRecord {
  readonly topic: string;
  readonly partition: number;
  readonly timestampMs: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers?: Headers;
}

/** What a task has committed: the offset of the next input record, and a string of the task's own (JSON). */
export interface Committed {
  readonly offset: number;
  readonly metadata: string;
}

export interface CommitRequest {
  /** Written in order; any number of topics and partitions. */
  readonly outputs: readonly NewRecord[];
  /** The input offset to go on from. A task with several inputs commits each of them in the same step. */
  readonly offsets: readonly { readonly input: TopicPartition; readonly offset: number }[];
  /**
   * The metadata stored with every one of `offsets`. It is given the end offset (exclusive) that each output partition
   * has once `outputs` are in, keyed `topic-partition`, so that a reader can tell later whether something was lost.
   */
  readonly metadata: (outputEnds: ReadonlyMap<string, number>) => string;
  /**
   * Called when everything is sent and nothing is decided yet, for tests that stop processes there. A log that sends and
   * decides in one does not call it.
   */
  readonly onSent?: () => void | Promise<void>;
}

/**
 * The sole writer of one task, e.g. `freshet-user-actions-3`. Opening a second one with the same id fences the first:
 * its later commits fail with FENCED and change nothing. An id begins with the application id and a hyphen; each input
 * belongs to one task of an application.
 */
export interface TaskWriter {
  /** Reads what was committed, after fencing: no earlier owner can change it any more. */
  committed(input: TopicPartition): Promise<Committed | undefined>;
  /**
   * Outputs and offsets become visible and durable together, or not at all. After LOG_UNAVAILABLE nothing was
   * committed, after COMMIT_UNKNOWN all of it or nothing: in either case, and after FENCED, the writer is of no more
   * use, and a new one says what is committed.
   */
  commit(request: CommitRequest): Promise<void>;
  close(): Promise<void>;
}

export interface ReadLimits {
  readonly maxRecords: number;
  /** Keys and values together; at least one record is returned whatever its size. */
  readonly maxBytes: number;
  /**
   * Whether records that an erase has blanked are among those read (`isErased`). By default they are passed over, as what
   * Kafka has compacted away. Kafka's log has none.
   */
  readonly erased?: boolean;
  /** Whether values may be views into all that was fetched with them: for who keeps none of them for long. */
  readonly views?: boolean;
}

/** A place in the log where a record is waited for. */
export interface AwaitedPosition {
  readonly at: TopicPartition;
  readonly offset: number;
}

export interface Log {
  /** Creates what is absent. Fails with PARTITIONS_CHANGED if a topic exists with another number of partitions. */
  createTopics(topics: readonly TopicDeclaration[]): Promise<void>;
  /** The topics that exist, with their number of partitions. */
  topics(): Promise<ReadonlyMap<string, number>>;
  /** First offset still readable. */
  startOffset(at: TopicPartition): Promise<number>;
  /** Offset after the last committed record, or after what stands behind it; never past a transaction that is open. */
  endOffset(at: TopicPartition): Promise<number>;
  /**
   * The end as the last answer about this partition gave it, without asking again: how much waits there, about. It may
   * lie behind what has come since. Undefined before anything was read.
   */
  knownEnd(at: TopicPartition): number | undefined;
  /**
   * Committed records from `offset` on, in order; empty at the end. LOG_GAP and LOG_CORRUPT name the position;
   * OFFSET_OUT_OF_RANGE if `offset` is before the start or after the end.
   */
  read(at: TopicPartition, offset: number, limits: ReadLimits): Promise<LogRecord[]>;
  /**
   * Appends outside any task (loaders, publishers): durable once it resolves. Returns each record's offset. When it
   * fails on Kafka, some of the records may be there, of each partition the first ones: whoever appends must be able to
   * do it again, with duplicates.
   */
  append(records: readonly NewRecord[]): Promise<number[]>;
  openWriter(taskId: string): Promise<TaskWriter>;
  /** What the tasks of an application have committed, without fencing any: for standbys and for who looks on. */
  committed(appId: string, input: TopicPartition): Promise<Committed | undefined>;
  /**
   * Resolves once one of the partitions may have a record at or after its offset, after `timeoutMs`, or on `signal`.
   * It may resolve in vain: only `read` tells.
   */
  waitForRecords(positions: readonly AwaitedPosition[], timeoutMs: number, signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** Header of what is left of a record that was erased from the embedded log. */
export const ERASED_HEADER = 'freshet-erased';

/** Whether a record is what an erase has left: its offset and its timestamp. */
export const isErased = ({ key, value, headers }: Pick<LogRecord, 'key' | 'value' | 'headers'>): boolean =>
  key === null && value === null && headers[ERASED_HEADER] !== undefined;

/** The key under which `CommitRequest.metadata` finds a partition's end. */
export const partitionName = (at: TopicPartition): string => `${at.topic}-${at.partition}`;
