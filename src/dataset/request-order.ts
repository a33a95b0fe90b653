/**
 * Requests in the order in which a pass over the log comes to them, for any number of them: they wait on disk, sorted.
 * Two orders a partition: of those that a position places, and of those that a time does. Where a lag is simulated, one
 * that has both is in both, since only the pass can tell which comes first.
 */
import { partitionOf } from '../base/murmur2.ts';
import { openStorage, type Storage } from '../log/embedded-storage.ts';
import { decodeRequest, encodeRequest, type Request } from './request.ts';

const KEY_BYTES = 21;
const READ_AT_ONCE = 512;
const MEBIBYTE = 1024 * 1024;
/** Written at once: LevelDB holds a batch whole in memory, several times over. */
const BATCH_BYTES = MEBIBYTE;

export type PlacedBy = 'position' | 'time';

export interface RequestOrderOptions {
  /** A folder of its own. */
  readonly folder: string;
  readonly partitions: number;
  /** From an arrival until the features know of it. */
  readonly lagMs: number;
}

export class RequestOrder {
  private readonly storage: Storage;
  private readonly options: RequestOrderOptions;
  private batch: { readonly type: 'put'; readonly key: Buffer; readonly value: Buffer }[] = [];
  private batchBytes = 0;

  private constructor(storage: Storage, options: RequestOrderOptions) {
    this.storage = storage;
    this.options = options;
  }

  static async open(options: RequestOrderOptions): Promise<RequestOrder> {
    return new RequestOrder(await openStorage(options.folder, { writeBufferBytes: 8 * MEBIBYTE }), options);
  }

  /** To be followed by `flush` before anything is read. */
  async add(request: Request): Promise<void> {
    const { lagMs, partitions } = this.options;
    const { position, timeMs, number } = request;
    const partition = partitionOf(Buffer.from(request.userId), partitions);
    const value = encodeRequest(request);
    if (position !== null) this.put(keyOf(partition, 'position', position, number), value);
    if (timeMs !== null && (position === null || lagMs > 0)) {
      this.put(keyOf(partition, 'time', Math.max(0, timeMs - lagMs), number), value);
    }
    if (this.batchBytes >= BATCH_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    const { batch } = this;
    this.batch = [];
    this.batchBytes = 0;
    await this.storage.batch(batch);
  }

  /** Those of a partition, in one of its orders. Nothing may be added meanwhile. */
  async *read(partition: number, by: PlacedBy): AsyncGenerator<Request> {
    const after = by === 'position' ? keyOf(partition, 'time', 0, 0) : keyOf(partition + 1, 'position', 0, 0);
    const iterator = this.storage.iterator({ gte: keyOf(partition, by, 0, 0), lt: after });
    try {
      for (;;) {
        const entries = await iterator.nextv(READ_AT_ONCE);
        if (entries.length === 0) return;
        for (const [key, value] of entries) yield decodeRequest(Number(key.readBigUInt64BE(13)), value);
      }
    } finally {
      await iterator.close();
    }
  }

  close(): Promise<void> {
    return this.storage.close();
  }

  private put(key: Buffer, value: Buffer): void {
    this.batch.push({ type: 'put', key, value });
    this.batchBytes += key.length + value.length;
  }
}

/** Partition (u32), order (u8), place (u64), number (u64), big-endian: the order of the bytes is that of the pass. */
function keyOf(partition: number, by: PlacedBy, place: number, number: number): Buffer {
  const key = Buffer.allocUnsafe(KEY_BYTES);
  key.writeUInt32BE(partition, 0);
  key.writeUInt8(by === 'position' ? 0 : 1, 4);
  key.writeBigUInt64BE(BigInt(place), 5);
  key.writeBigUInt64BE(BigInt(number), 13);
  return key;
}
