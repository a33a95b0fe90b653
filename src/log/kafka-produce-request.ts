/**
 * Requests that write one record batch, each in one buffer from its first field to the batch's last byte. The buffers
 * are used again: garbage of half a megabyte a request keeps V8's collector busier than all else that a task makes.
 */
import { BATCH_HEADER_BYTES, recordBytesMax, writeBatch, type BatchProducer } from './kafka-batch-encoder.ts';
import { EncoderClass, HEADER_ROOM_BYTES, type EncoderLike } from './kafka-internals.ts';
import type { NewRecord } from './log.ts';

/** The records of one request take no more, unless it is a single one: half of what a broker takes by default. */
export const MAX_SLICE_BYTES = 512 * 1024;
/** Fields of the request before the batch, the two names apart, at most. */
const FIELD_BYTES = 64;
/** Of names that are as long as most. */
const NAME_BYTES = 1_024;
const POOLED_BYTES = HEADER_ROOM_BYTES + FIELD_BYTES + NAME_BYTES + BATCH_HEADER_BYTES + MAX_SLICE_BYTES;
const MAX_POOLED = 8;
const ALL_REPLICAS = -1;

/** Buffers of POOLED_BYTES that no request uses. */
const pool: Buffer[] = [];

export interface ProduceTarget {
  readonly transactionalId: string | null;
  readonly timeoutMs: number;
  /** The broker's name. */
  readonly topic: string;
  readonly partition: number;
}

export class ProduceRequest {
  private readonly encoder: EncoderLike;

  /** @param records - of one partition; in MAX_SLICE_BYTES by `recordBytesMax`, or one that is larger. */
  constructor(target: ProduceTarget, records: readonly NewRecord[], producer: BatchProducer) {
    const names = Buffer.byteLength(target.topic) + Buffer.byteLength(target.transactionalId ?? '');
    const before = HEADER_ROOM_BYTES + FIELD_BYTES + names + BATCH_HEADER_BYTES;
    const bytes = records.reduce((sum, record) => sum + recordBytesMax(record), before);
    const isPooled = bytes <= POOLED_BYTES;
    const buffer = (isPooled ? pool.pop() : undefined) ?? Buffer.allocUnsafeSlow(isPooled ? POOLED_BYTES : bytes);
    this.encoder = new EncoderClass(1);
    this.encoder.buf = buffer;
    this.encoder.start = HEADER_ROOM_BYTES;
    this.encoder.offset = HEADER_ROOM_BYTES;
    this.encoder
      .writeString(target.transactionalId)
      .writeInt16(ALL_REPLICAS)
      .writeInt32(target.timeoutMs)
      .writeInt32(1)
      .writeString(target.topic)
      .writeInt32(1)
      .writeInt32(target.partition);
    const lengthAt = this.encoder.offset;
    const end = writeBatch(buffer, lengthAt + 4, records, producer);
    buffer.writeInt32BE(end - lengthAt - 4, lengthAt);
    this.encoder.offset = end;
  }

  /** The whole of it but for the header; the same bytes each time. */
  encode(): EncoderLike {
    return this.encoder;
  }

  /** To be called once the request was answered at its first sending: nothing reads its bytes any more. */
  release(): void {
    const { buf } = this.encoder;
    if (buf.length === POOLED_BYTES && pool.length < MAX_POOLED) pool.push(buf);
  }
}
