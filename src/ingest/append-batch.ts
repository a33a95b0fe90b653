import type { Log, NewRecord } from '../log/log.ts';

/** A batch closes after this many records or bytes of keys and values, whichever comes first. */
export const BATCH_RECORDS = 5_000;
export const BATCH_BYTES = 4 * 1024 * 1024;

/** Records on their way into the log, in order. Holds one batch at most, and one record beyond its bytes. */
export class AppendBatch {
  readonly #log: Log;
  #records: NewRecord[] = [];
  #bytes = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  add(record: NewRecord): void {
    this.#records.push(record);
    this.#bytes += (record.key?.length ?? 0) + (record.value?.length ?? 0);
  }

  /** Whether it is time to flush, counting what else the caller holds back until then. */
  isFull(besides = { rows: 0, bytes: 0 }): boolean {
    return this.#records.length + besides.rows >= BATCH_RECORDS || this.#bytes + besides.bytes >= BATCH_BYTES;
  }

  /** Appends what is there: durable once it resolves. */
  async flush(): Promise<void> {
    if (this.#records.length === 0) return;
    await this.#log.append(this.#records);
    this.#records = [];
    this.#bytes = 0;
  }
}
