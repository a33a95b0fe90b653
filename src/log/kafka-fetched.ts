/**
 * The committed records of one fetch, read in pieces. Aborted transactions are told by the list that comes with a
 * fetch, as the Java consumer does it: a producer's records are void from the first offset of its aborted transaction
 * up to its abort marker. Markers are told by the attributes of their batch, never by their key.
 */
import { BATCH_HEADER_BYTES, openBatch, readBatchHeader } from './kafka-batch-decoder.ts';
import type { BatchHeader, BatchRecords } from './kafka-batch-decoder.ts';
import type { AbortedTransaction, FetchedPartition } from './kafka-fetch.ts';
import type { LogRecord, ReadLimits, TopicPartition } from './log.ts';

/** Key of a marker, behind the record's own length, attributes, timestamp and offset: version i16, type i16. */
const ABORT_MARKER = 0;

export class FetchedRecords {
  readonly lastStableOffset: number;
  readonly bytes: number;
  readonly #at: TopicPartition;
  /** By first offset, those not yet met. */
  readonly #aborted: AbortedTransaction[];
  readonly #abortedProducers = new Set<bigint>();
  #batches: Buffer;
  #open: { readonly header: BatchHeader; readonly records: BatchRecords } | undefined;
  #nextOffset: number;

  constructor(at: TopicPartition, offset: number, fetched: FetchedPartition) {
    this.lastStableOffset = fetched.lastStableOffset;
    this.bytes = fetched.batches.length;
    this.#at = at;
    this.#aborted = fetched.aborted.toSorted((a, b) => a.firstOffset - b.firstOffset);
    this.#batches = fetched.batches;
    this.#nextOffset = offset;
  }

  /** Where the next record is looked for: after the last one read, and after all that is none. */
  get nextOffset(): number {
    return this.#nextOffset;
  }

  /** Adds to `records` up to the limits, which count what is already there. Returns whether more is left. */
  async take(records: LogRecord[], bytesSoFar: number, limits: ReadLimits): Promise<{ left: boolean; bytes: number }> {
    let bytes = bytesSoFar;
    for (;;) {
      const open = (this.#open ??= await this.#openNext());
      if (open === undefined) return { left: false, bytes };
      const next = open.records.peekBytes(this.#nextOffset);
      if (next === undefined) {
        this.#close(open.header);
        continue;
      }
      if (records.length >= limits.maxRecords) return { left: true, bytes };
      if (records.length > 0 && bytes + next > limits.maxBytes) return { left: true, bytes };
      const record = open.records.next(limits.views);
      this.#nextOffset = record.offset + 1;
      bytes += next;
      records.push(record);
    }
  }

  #close(header: BatchHeader): void {
    this.#nextOffset = Math.max(this.#nextOffset, header.nextOffset);
    this.#batches = this.#batches.subarray(header.bytes);
    this.#open = undefined;
  }

  /** The next batch that holds records; passes over those that do not. */
  async #openNext(): Promise<{ header: BatchHeader; records: BatchRecords } | undefined> {
    for (;;) {
      const header = readBatchHeader(this.#batches, this.#at);
      if (header === undefined) return undefined;
      if (!this.#isVoid(header)) return { header, records: await openBatch(this.#batches, header, this.#at) };
      this.#close(header);
    }
  }

  /** Of a marker, or of an aborted transaction. Batches must come in order. */
  #isVoid(header: BatchHeader): boolean {
    while (this.#aborted[0] !== undefined && this.#aborted[0].firstOffset < header.nextOffset) {
      this.#abortedProducers.add(this.#aborted.shift()!.producerId);
    }
    if (header.isControl) {
      if (this.#isAbortMarker(header)) this.#abortedProducers.delete(header.producerId);
      return true;
    }
    return header.isTransactional && this.#abortedProducers.has(header.producerId);
  }

  /** A marker is one record, whose lengths and deltas take a byte each. */
  #isAbortMarker(header: BatchHeader): boolean {
    return header.count > 0 && this.#batches.readInt16BE(BATCH_HEADER_BYTES + MARKER_TYPE_AT) === ABORT_MARKER;
  }
}

/** length · attributes · timestamp delta · offset delta · key length · version i16, then the type. */
const MARKER_TYPE_AT = 5 + 2;
