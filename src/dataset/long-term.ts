/**
 * The long-term vectors of a partition's users as the log goes by: of each the newest that its clock has come to. All
 * of them are kept on disk, those of the users who are asked about in memory.
 */
import { judgeEmbedding, type EmbeddingRules } from '../join/embedding.ts';
import { openStorage, type Storage } from '../log/embedded-storage.ts';
import type { Log, LogRecord, TopicPartition } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { readOn } from '../task/read-on.ts';
import type { LongTermSideRecord, UserEmbeddingRecord } from '../../topics/records.ts';

export interface LongTermOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly rules: EmbeddingRules;
  /** A folder of its own. */
  readonly folder: string;
}

const READ = { maxRecords: 512, maxBytes: 4 * 1024 * 1024 };
const HEAD_BYTES = 16;

export class LongTermVectors {
  private readonly options: LongTermOptions;
  private readonly storage: Storage;
  private readonly at: TopicPartition;
  private readonly end: number;
  private offset: number;
  private ahead: readonly LogRecord[] = [];
  /** Of the users that were asked about last; null: there is none. */
  private held = new Map<string, LongTermSideRecord | null>();
  private clockMs = -Infinity;

  private constructor(options: LongTermOptions, storage: Storage, at: TopicPartition, start: number, end: number) {
    this.options = options;
    this.storage = storage;
    this.at = at;
    this.offset = start;
    this.end = end;
  }

  static async open(options: LongTermOptions): Promise<LongTermVectors> {
    const { log, rules, folder } = options;
    const at = { topic: 'user-embeddings', partition: rules.partition };
    const [start, end] = [await log.startOffset(at), await log.endOffset(at)];
    return new LongTermVectors(options, await openStorage(folder, {}), at, start, end);
  }

  /** Says whose vectors will be asked for, until the next call. */
  async load(userIds: ReadonlySet<string>): Promise<void> {
    const keys = [...userIds];
    const stored = await this.storage.getMany(keys.map((userId) => Buffer.from(userId)));
    this.held = new Map(keys.map((userId, index) => [userId, this.decode(stored[index])]));
  }

  /** Takes what was written at or before a time of the log's clock, which is the newest timestamp so far. */
  async advance(timeMs: number): Promise<void> {
    for (;;) {
      const last = this.ahead.findIndex((record) => Math.max(this.clockMs, record.timestampMs) > timeMs);
      await this.take(last < 0 ? this.ahead : this.ahead.slice(0, last));
      this.ahead = last < 0 ? [] : this.ahead.slice(last);
      if (last >= 0 || this.offset >= this.end) return;
      const { records, next } = await readOn(this.options.log, this.at, this.offset, READ);
      await this.options.codec.learn(records);
      this.ahead = records.filter(({ offset }) => offset < this.end);
      this.offset = next;
    }
  }

  get(userId: string): LongTermSideRecord | null {
    return this.held.get(userId) ?? null;
  }

  close(): Promise<void> {
    return this.storage.close();
  }

  private async take(records: readonly LogRecord[]): Promise<void> {
    const batch = this.storage.batch();
    for (const record of records) {
      this.clockMs = Math.max(this.clockMs, record.timestampMs);
      const judged = judgeEmbedding(record, this.options.rules);
      if (judged.kind === 'bad') continue;
      const { userId } = judged;
      const isVector = judged.kind === 'vector';
      if (isVector) batch.put(Buffer.from(userId), this.encode(record, judged.embedding));
      else batch.del(Buffer.from(userId));
      if (!this.held.has(userId)) continue;
      this.held.set(userId, isVector ? this.side(record, judged.embedding) : null);
    }
    await (batch.length === 0 ? batch.close() : batch.write());
  }

  /** Offset and timestamp (f64 each), the value as this version of Freshet writes it. */
  private encode({ offset, timestampMs }: LogRecord, embedding: UserEmbeddingRecord): Buffer {
    const head = Buffer.allocUnsafe(HEAD_BYTES);
    head.writeDoubleLE(offset, 0);
    head.writeDoubleLE(timestampMs, 8);
    return Buffer.concat([head, this.options.codec.encode('user-embeddings-value', embedding)]);
  }

  private decode(stored: Buffer | undefined): LongTermSideRecord | null {
    if (stored === undefined) return null;
    const [offset, timestampMs] = [stored.readDoubleLE(0), stored.readDoubleLE(8)];
    const value = stored.subarray(HEAD_BYTES);
    return this.side({ offset, timestampMs }, this.options.codec.decode('user-embeddings-value', value));
  }

  private side(
    { offset, timestampMs }: Pick<LogRecord, 'offset' | 'timestampMs'>,
    { version, asOfMs, space, vector }: UserEmbeddingRecord,
  ): LongTermSideRecord {
    return { partition: this.at.partition, offset, timestampMs, version, asOfMs, space, vector };
  }
}
