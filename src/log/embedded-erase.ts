/**
 * Blanks records of an embedded log: a record keeps its offset and its timestamp, key, value and headers go, and the files
 * are compacted until LevelDB holds their bytes nowhere.
 *
 * It works on a log that nothing else has open, as it writes keys again. LevelDB 1.20 may keep two versions of a key where
 * a snapshot lives across a write (google/leveldb#320); here a read has ended before the next write begins.
 *
 * Each write is one synced batch. A process that is killed leaves a log that is whole, with some of the records blanked or
 * some bytes still in a file; the same call goes on.
 */
import type { TopicName } from '../../topics/index.ts';
import { encodeManifest, manifestKey, nextManifest, type Manifest } from './embedded-manifest.ts';
import { RecordEncoder, decodeRecord, erasedRecord, recordKey } from './embedded-record.ts';
import { gap, recoverManifest } from './embedded-recovery.ts';
import { logError, openStorage, type Storage } from './embedded-storage.ts';
import { isErased, type LogRecord, type TopicPartition } from './log.ts';

const CHUNK_RECORDS = 512;
/** Before and after every key of the log. */
const BOUNDS = [Buffer.from([0x00]), Buffer.from([0xff])] as const;

export interface EraseOptions {
  /** Whether a record is to be blanked; it is asked of every record that is not blank yet, in log order. */
  readonly isOwn: (at: TopicPartition, record: LogRecord) => boolean;
  readonly onProgress?: (records: number, total: number) => void;
}

/** Records blanked by topic. Fails as `EmbeddedLog.open` and with LOG_GAP or LOG_CORRUPT of a record it meets. */
export async function eraseRecords(folder: string, options: EraseOptions): Promise<Map<TopicName, number>> {
  const storage = await openStorage(folder, {});
  try {
    const blanked = await new Eraser(storage, await recoverManifest(storage), options).run();
    // What is blanked stands in newer tables than what was there before, and is compacted with it down to the last level.
    await storage.compactRange(...BOUNDS);
    return blanked;
  } catch (error) {
    throw logError(error, `records of the log in ${folder} cannot be erased`);
  } finally {
    await storage.close();
  }
}

class Eraser {
  private readonly storage: Storage;
  private readonly options: EraseOptions;
  private readonly encoder = new RecordEncoder();
  private readonly blanked = new Map<TopicName, number>();
  private manifest: Manifest;
  private seen = 0;

  constructor(storage: Storage, manifest: Manifest, options: EraseOptions) {
    this.storage = storage;
    this.manifest = manifest;
    this.options = options;
  }

  async run(): Promise<Map<TopicName, number>> {
    const { topics } = this.manifest;
    const total = topics.flatMap(({ partitions }) => partitions).reduce((sum, { end }) => sum + end, 0);
    for (const [topicId, { name, partitions }] of topics.entries()) {
      for (const [partition, { end }] of partitions.entries()) {
        for (let offset = 0; offset < end; offset += CHUNK_RECORDS) {
          const count = Math.min(CHUNK_RECORDS, end - offset);
          const own = await this.ownOf({ topic: name, partition }, topicId, offset, count);
          if (own.length > 0) await this.blank({ topic: name, partition }, topicId, own);
          this.options.onProgress?.((this.seen += count), total);
        }
      }
    }
    return this.blanked;
  }

  private async ownOf(at: TopicPartition, topicId: number, from: number, count: number): Promise<LogRecord[]> {
    const keys = Array.from({ length: count }, (_, index) => recordKey(topicId, at.partition, from + index));
    const values = await this.storage.getMany(keys);
    const records = keys.map((key, index) => {
      const value = values[index];
      if (value === undefined) throw gap('the record is missing', at, from + index);
      return decodeRecord({ key, value }, at, from + index);
    });
    return records.filter((record) => !isErased(record) && this.options.isOwn(at, record));
  }

  private async blank(at: TopicPartition, topicId: number, own: readonly LogRecord[]): Promise<void> {
    const next = { ...nextManifest(this.manifest), erased: this.manifest.erased + own.length };
    const batch = this.storage.batch();
    for (const record of own) {
      const { key, value } = this.encoder.encode(topicId, record.offset, erasedRecord(at, record));
      batch.put(key, value);
    }
    const { key, value } = encodeManifest(next);
    batch.put(key, value).del(manifestKey(this.manifest.batch));
    await batch.write({ sync: true });
    this.manifest = next;
    const topic = at.topic as TopicName;
    this.blanked.set(topic, (this.blanked.get(topic) ?? 0) + own.length);
  }
}
