/**
 * A log in memory, for tests of what reads or writes topics: offsets dense from 0, commits whole or absent, and fenced
 * writers, as of the embedded log. What is in it outlives `close`: a log opened on the same `MemoryStorage` finds it.
 */
import type { TopicDeclaration } from '../../topics/index.ts';
import { FreshetError, invariant } from '../base/errors.ts';
import { absentTopics, EMPTY_MANIFEST, findPartition } from '../log/embedded-manifest.ts';
import { committedBy, enterCommit, fence, movedEnds, nextManifest, ownTask } from '../log/embedded-manifest.ts';
import type { Manifest } from '../log/embedded-manifest.ts';
import { Waiters } from '../log/embedded-waiters.ts';
import { partitionName } from '../log/log.ts';
import type { AwaitedPosition, CommitRequest, Committed, Log, LogRecord, NewRecord } from '../log/log.ts';
import type { ReadLimits, TaskWriter, TopicPartition } from '../log/log.ts';

/** What a log holds; empty at first. */
export class MemoryStorage {
  manifest: Manifest = EMPTY_MANIFEST;
  /** By `partitionName`. */
  readonly records = new Map<string, LogRecord[]>();
}

export class MemoryLog implements Log {
  private readonly storage: MemoryStorage;
  private readonly waiters = new Waiters();
  private closed = false;

  constructor(storage = new MemoryStorage()) {
    this.storage = storage;
  }

  async createTopics(topics: readonly TopicDeclaration[]): Promise<void> {
    this.write((next) => {
      for (const { name, partitions } of absentTopics(next, topics)) {
        next.topics.push({ name, partitions: Array.from({ length: partitions }, () => ({ end: 0, largestBytes: 0 })) });
      }
    });
  }

  async topics(): Promise<ReadonlyMap<string, number>> {
    return new Map(this.manifest.topics.map(({ name, partitions }) => [name, partitions.length]));
  }

  async startOffset(at: TopicPartition): Promise<number> {
    findPartition(this.manifest, at);
    return 0;
  }

  async endOffset(at: TopicPartition): Promise<number> {
    return findPartition(this.manifest, at).state.end;
  }

  knownEnd(at: TopicPartition): number {
    return findPartition(this.manifest, at).state.end;
  }

  async read(at: TopicPartition, offset: number, { maxRecords, maxBytes }: ReadLimits): Promise<LogRecord[]> {
    const { end } = findPartition(this.manifest, at).state;
    if (!Number.isInteger(offset) || offset < 0 || offset > end) {
      throw new FreshetError('OFFSET_OUT_OF_RANGE', `the partition holds 0 to ${end}`, { position: { ...at, offset } });
    }
    const read: LogRecord[] = [];
    let bytes = 0;
    for (const record of (this.storage.records.get(partitionName(at)) ?? []).slice(offset, offset + maxRecords)) {
      bytes += (record.key?.length ?? 0) + (record.value?.length ?? 0);
      if (bytes > maxBytes && read.length > 0) break;
      read.push(record);
    }
    return read;
  }

  async append(records: readonly NewRecord[]): Promise<number[]> {
    return this.write((next) => this.put(next, records));
  }

  async openWriter(taskId: string): Promise<TaskWriter> {
    const epoch = this.write((next) => fence(next, taskId));
    let open = true;
    const assertOpen = (): void => invariant(open, `the writer of task ${taskId} is closed`);
    return {
      committed: async (input) => {
        assertOpen();
        return ownTask(this.manifest, taskId, epoch).committed.get(partitionName(input));
      },
      commit: async (request) => {
        assertOpen();
        this.write((next) => {
          this.commit(next, taskId, epoch, request);
        });
      },
      close: async () => {
        open = false;
      },
    };
  }

  async committed(appId: string, input: TopicPartition): Promise<Committed | undefined> {
    return committedBy(this.manifest, appId, input);
  }

  async waitForRecords(positions: readonly AwaitedPosition[], timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const arrived = (): boolean =>
      this.closed || positions.some(({ at, offset }) => findPartition(this.manifest, at).state.end > offset);
    await this.waiters.wait(arrived, timeoutMs, signal);
  }

  async close(): Promise<void> {
    this.closed = true;
    this.waiters.wake();
  }

  private get manifest(): Manifest {
    invariant(!this.closed, 'the log is closed');
    return this.storage.manifest;
  }

  /** What `change` makes becomes true at once, or not at all if it throws. */
  private write<T>(change: (next: Manifest) => T): T {
    const next = nextManifest(this.manifest);
    const result = change(next);
    this.storage.manifest = next;
    this.waiters.wake();
    return result;
  }

  private commit(next: Manifest, taskId: string, epoch: number, request: CommitRequest): void {
    const task = ownTask(next, taskId, epoch);
    const metadata = request.metadata(movedEnds(this.manifest, this.ended(next, request.outputs)));
    enterCommit(next, taskId, task, request.offsets, metadata);
    this.put(next, request.outputs);
  }

  /** The manifest after these records, of which none is put yet: metadata that fails must leave no trace. */
  private ended(manifest: Manifest, outputs: readonly NewRecord[]): Manifest {
    const ended = nextManifest(manifest);
    for (const record of outputs) findPartition(ended, record).state.end += 1;
    return ended;
  }

  private put(next: Manifest, records: readonly NewRecord[]): number[] {
    for (const record of records) findPartition(next, record);
    return records.map(({ topic, partition, timestampMs, key, value, headers = {} }) => {
      const { state } = findPartition(next, { topic, partition });
      const name = partitionName({ topic, partition });
      const held = this.storage.records.get(name) ?? [];
      held.push({
        offset: state.end,
        timestampMs,
        ...{ key: copied(key), value: copied(value), headers: { ...headers } },
      });
      this.storage.records.set(name, held);
      return state.end++;
    });
  }
}

/** What is in a log does not change with the buffer that was written. */
const copied = (bytes: Buffer | null): Buffer | null => (bytes === null ? null : Buffer.from(bytes));
