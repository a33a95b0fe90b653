/**
 * The embedded log: topics, partitions and offsets in one LevelDB, for one process. Every write is one synced batch of
 * records and the manifest, made and written while no other is: offsets are dense and a commit is whole or absent.
 *
 * - Nothing is ever deleted but old manifests: the first offset of a partition is 0. Records are blanked by an erase, on
 *   a log that nothing else has open (embedded-erase.ts).
 * - An open log writes no key twice (see embedded-manifest.ts), so the snapshot that `getMany` holds meets google/leveldb#320
 *   nowhere, and reads run beside writes.
 * - After a failed write LevelDB's own log may be half-written. The instance then refuses further writes, reads go on,
 *   and the next open finds that commit whole or not at all.
 */
import type { TopicDeclaration } from '../../topics/index.ts';
import { FreshetError, invariant } from '../base/errors.ts';
import { absentTopics, encodeManifest, findPartition, manifestKey } from './embedded-manifest.ts';
import { committedBy, enterCommit, fence, movedEnds, nextManifest, ownTask } from './embedded-manifest.ts';
import type { Manifest } from './embedded-manifest.ts';
import { SerialQueue } from './embedded-queue.ts';
import { RecordEncoder, decodeRecord, recordKey } from './embedded-record.ts';
import { gap, recoverManifest } from './embedded-recovery.ts';
import { logError, openStorage, type Storage, type StorageBatch, type StorageOptions } from './embedded-storage.ts';
import { Waiters } from './embedded-waiters.ts';
import { isErased, partitionName } from './log.ts';
import type { AwaitedPosition, CommitRequest, Committed, Log, LogRecord, NewRecord } from './log.ts';
import type { ReadLimits, TaskWriter, TopicPartition } from './log.ts';

/** A batch is in memory three times while it is written: as records, as LevelDB's batch and in its memtable. */
const MAX_BATCH_BYTES = 128 * 1024 * 1024;
/** One `getMany`: few enough to bound what is fetched in vain, many enough to pay for its way through the thread pool. */
const MIN_FETCH_RECORDS = 8;
const MAX_FETCH_RECORDS = 512;
/** Kafka's default of `offset.metadata.max.bytes`: what works here must work there. */
const MAX_METADATA_BYTES = 4_096;

export class EmbeddedLog implements Log {
  readonly #storage: Storage;
  readonly #writes = new SerialQueue();
  readonly #encoder = new RecordEncoder();
  readonly #waiters = new Waiters();
  #manifest: Manifest;
  #failedWrite: FreshetError | undefined;
  #closing: Promise<void> | undefined;

  private constructor(storage: Storage, manifest: Manifest) {
    this.#storage = storage;
    this.#manifest = manifest;
  }

  /**
   * Opens or creates the log in `folder`, which is its alone. Fails with DATA_DIR_IN_USE, DISK_FULL, LOG_FORMAT,
   * LOG_CORRUPT, LOG_GAP (the data does not reach, or exceeds, the end offsets) or STORAGE_FAILED.
   */
  static async open(folder: string, options: StorageOptions = {}): Promise<EmbeddedLog> {
    const storage = await openStorage(folder, options);
    try {
      return new EmbeddedLog(storage, await recoverManifest(storage));
    } catch (error) {
      await storage.close();
      throw logError(error, `the log in ${folder} cannot be read`);
    }
  }

  async createTopics(topics: readonly TopicDeclaration[]): Promise<void> {
    this.#assertOpen();
    if (absentTopics(this.#manifest, topics).length === 0) return;
    await this.#write((next) => {
      for (const { name, partitions } of absentTopics(next, topics)) {
        next.topics.push({ name, partitions: Array.from({ length: partitions }, () => ({ end: 0, largestBytes: 0 })) });
      }
    });
  }

  async topics(): Promise<ReadonlyMap<string, number>> {
    this.#assertOpen();
    return new Map(this.#manifest.topics.map(({ name, partitions }) => [name, partitions.length]));
  }

  async startOffset(at: TopicPartition): Promise<number> {
    this.#assertOpen();
    findPartition(this.#manifest, at);
    return 0;
  }

  async endOffset(at: TopicPartition): Promise<number> {
    this.#assertOpen();
    return findPartition(this.#manifest, at).state.end;
  }

  knownEnd(at: TopicPartition): number {
    return findPartition(this.#manifest, at).state.end;
  }

  async read(at: TopicPartition, offset: number, limits: ReadLimits): Promise<LogRecord[]> {
    const { topicId, state } = findPartition(this.#manifest, at);
    if (!Number.isInteger(offset) || offset < 0 || offset > state.end) {
      throw new FreshetError('OFFSET_OUT_OF_RANGE', `the partition holds 0 to ${state.end}`, {
        position: { ...at, offset },
      });
    }
    const { end } = state;
    const records: LogRecord[] = [];
    let bytes = 0;
    for (let next = offset; next < end && records.length < limits.maxRecords;) {
      if (records.length > 0 && bytes >= limits.maxBytes) break;
      const fitting = Math.floor((limits.maxBytes - bytes) / state.largestBytes);
      const wanted = Math.min(limits.maxRecords - records.length, MAX_FETCH_RECORDS);
      const count = Math.min(end - next, wanted, Math.max(MIN_FETCH_RECORDS, fitting));
      for (const record of await this.#fetch(at, topicId, next, count)) {
        if (limits.erased !== true && isErased(record)) continue;
        bytes += (record.key?.length ?? 0) + (record.value?.length ?? 0);
        if (bytes > limits.maxBytes && records.length > 0) return records;
        records.push(record);
      }
      next += count;
    }
    return records;
  }

  async append(records: readonly NewRecord[]): Promise<number[]> {
    return this.#write((next, batch) => this.#put(next, batch, records));
  }

  async openWriter(taskId: string): Promise<TaskWriter> {
    const epoch = await this.#write((next) => fence(next, taskId));
    let open = true;
    const assertOpen = (): void => invariant(open, `the writer of task ${taskId} is closed`);
    return {
      committed: async (input) => {
        assertOpen();
        this.#assertOpen();
        return ownTask(this.#manifest, taskId, epoch).committed.get(partitionName(input));
      },
      commit: async (request) => {
        assertOpen();
        await this.#write((next, batch) => this.#commit(next, batch, taskId, epoch, request));
      },
      close: async () => {
        open = false;
      },
    };
  }

  async committed(appId: string, input: TopicPartition): Promise<Committed | undefined> {
    this.#assertOpen();
    return committedBy(this.#manifest, appId, input);
  }

  async waitForRecords(positions: readonly AwaitedPosition[], timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const arrived = (): boolean =>
      this.#closing !== undefined ||
      positions.some(({ at, offset }) => findPartition(this.#manifest, at).state.end > offset);
    await this.#waiters.wait(arrived, timeoutMs, signal);
  }

  close(): Promise<void> {
    this.#closing ??= this.#writes.idle().then(() => this.#storage.close());
    this.#waiters.wake();
    return this.#closing;
  }

  #commit(next: Manifest, batch: StorageBatch, taskId: string, epoch: number, request: CommitRequest): void {
    const task = ownTask(next, taskId, epoch);
    this.#put(next, batch, request.outputs);
    const metadata = request.metadata(movedEnds(this.#manifest, next));
    const metadataBytes = Buffer.byteLength(metadata);
    invariant(metadataBytes <= MAX_METADATA_BYTES, `${metadataBytes} bytes of metadata, ${MAX_METADATA_BYTES} allowed`);
    enterCommit(next, taskId, task, request.offsets, metadata);
  }

  /** Puts records at the ends of their partitions; returns their offsets. */
  #put(next: Manifest, batch: StorageBatch, records: readonly NewRecord[]): number[] {
    let batchBytes = 0;
    return records.map((record) => {
      const { topicId, state } = findPartition(next, record);
      const offset = state.end;
      const { key, value } = this.#encoder.encode(topicId, offset, record);
      batchBytes += key.length + value.length;
      invariant(batchBytes <= MAX_BATCH_BYTES, `a batch of more than ${MAX_BATCH_BYTES} bytes`);
      batch.put(key, value);
      state.end = offset + 1;
      state.largestBytes = Math.max(state.largestBytes, value.length);
      return offset;
    });
  }

  /** Lets `change` prepare the next manifest and its batch, makes them durable, and only then true for readers. */
  #write<T>(change: (next: Manifest, batch: StorageBatch) => T): Promise<T> {
    this.#assertOpen();
    return this.#writes.run(async () => {
      if (this.#failedWrite !== undefined) throw this.#failedWrite;
      const next = nextManifest(this.#manifest);
      const batch = this.#storage.batch();
      let result: T;
      try {
        result = change(next, batch);
        const { key, value } = encodeManifest(next);
        batch.put(key, value).del(manifestKey(this.#manifest.batch));
      } catch (error) {
        await batch.close();
        throw error;
      }
      try {
        await batch.write({ sync: true });
      } catch (error) {
        this.#failedWrite = logError(error, 'a write failed, and the log takes no more until it is opened again');
        throw this.#failedWrite;
      }
      this.#manifest = next;
      this.#waiters.wake();
      return result;
    });
  }

  async #fetch(at: TopicPartition, topicId: number, offset: number, count: number): Promise<LogRecord[]> {
    this.#assertOpen();
    const keys = Array.from({ length: count }, (_, index) => recordKey(topicId, at.partition, offset + index));
    const values = await this.#storage.getMany(keys).catch((error: unknown) => {
      throw logError(error, 'a read failed', { ...at, offset });
    });
    return keys.map((key, index) => {
      const value = values[index];
      if (value === undefined) throw gap('the record is missing', at, offset + index);
      return decodeRecord({ key, value }, at, offset + index);
    });
  }

  #assertOpen(): void {
    invariant(this.#closing === undefined, 'the log is closed');
  }
}
