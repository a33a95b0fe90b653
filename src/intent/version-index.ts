/**
 * Where each item-vector version stands in `item-embeddings`: its offsets and its manifest, not its rows. Most versions
 * of a topic are never asked for, so reading past one costs a look at its keys.
 */
import { FreshetError } from '../base/errors.ts';
import type { Log, LogRecord, TopicPartition } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import type { ItemEmbeddingRecord, ItemManifest } from '../../topics/records.ts';

export type Reader = Pick<Codec, 'decode' | 'learn'>;

export interface VersionEntry {
  /** By partition: the first and the last offset of the version's records; others' may lie between. */
  readonly extents: Map<number, { readonly first: number; last: number }>;
  /** Where the newest manifest stands; null: it is not written yet. */
  manifestAt: { readonly at: TopicPartition; readonly offset: number } | null;
  /** That manifest, once it was asked for. */
  manifest: ItemManifest | null;
  /** Records seen; a verdict on the version holds as long as this number does. */
  recordCount: number;
}

/** A row or a tombstone of a version, as it stands in the log. */
export interface VersionRow {
  readonly itemId: string;
  readonly at: TopicPartition;
  readonly record: LogRecord;
}

const TOPIC = 'item-embeddings';
const SUBJECT = 'item-embeddings-value';
const SLASH = 0x2f;
const READ_LIMITS = { maxRecords: 1_024, maxBytes: 4 * 1_024 * 1_024 };
/** About 50 MB of entries: half a year of a version a minute. */
const VERSIONS_MAX = 262_144;

export class VersionIndex {
  readonly #log: Log;
  readonly #codec: Reader;
  readonly #entries = new Map<string, VersionEntry>();
  /** Next offset to read, by partition. */
  readonly #offsets: number[] = [];

  constructor(log: Log, codec: Reader) {
    this.#log = log;
    this.#codec = codec;
  }

  get(version: string): VersionEntry | undefined {
    return this.#entries.get(version);
  }

  /** Reads what was appended since the last call. */
  async advance(): Promise<void> {
    const partitions = (await this.#log.topics()).get(TOPIC) ?? 0;
    for (let partition = 0; partition < partitions; partition += 1) {
      const at = { topic: TOPIC, partition };
      const end = await this.#log.endOffset(at);
      let offset = Math.max(this.#offsets[partition] ?? 0, await this.#log.startOffset(at));
      while (offset < end) {
        const records = await this.#log.read(at, offset, READ_LIMITS);
        for (const record of records) this.#take(at, record);
        offset = (records.at(-1)?.offset ?? end - 1) + 1;
        this.#offsets[partition] = offset;
      }
    }
  }

  /** The version's newest manifest; null: it is not in the log. Throws as `decode`. */
  async manifest(entry: VersionEntry): Promise<ItemManifest | null> {
    if (entry.manifest !== null || entry.manifestAt === null) return entry.manifest;
    const { at, offset } = entry.manifestAt;
    const [record] = await this.#log.read(at, offset, { maxRecords: 1, maxBytes: 1 });
    if (record === undefined || record.offset !== offset || record.value === null) return null; // compacted meanwhile
    await this.#codec.learn([record]);
    entry.manifest = this.decode({ at, record }, record.value).manifest;
    return entry.manifest;
  }

  /** The version's rows, oldest first in each partition; an item may come more than once, the newest counts. */
  async *rows(version: string, entry: VersionEntry): AsyncGenerator<VersionRow> {
    const prefix = Buffer.from(`${version}/`);
    for (const [partition, { first, last }] of entry.extents) {
      const at = { topic: TOPIC, partition };
      for (let offset = Math.max(first, await this.#log.startOffset(at)); offset <= last;) {
        const maxRecords = Math.min(READ_LIMITS.maxRecords, last - offset + 1);
        const records = await this.#log.read(at, offset, { ...READ_LIMITS, maxRecords });
        if (records.length === 0) break;
        await this.#codec.learn(records);
        for (const record of records) {
          const { key } = record;
          if (key === null || key.length <= prefix.length || prefix.compare(key, 0, prefix.length) !== 0) continue;
          if (record.offset <= last) yield { itemId: key.toString('utf8', prefix.length), at, record };
        }
        offset = (records.at(-1)?.offset ?? last) + 1;
      }
    }
  }

  /** Throws RECORD_UNDECODABLE and SCHEMA_UNKNOWN with the record's position. */
  decode({ record, at }: Pick<VersionRow, 'record' | 'at'>, value: Buffer): ItemEmbeddingRecord {
    return this.#codec.decode(SUBJECT, value, record.headers, { ...at, offset: record.offset });
  }

  #take(at: TopicPartition, { key, value, offset }: LogRecord): void {
    const slash = key?.indexOf(SLASH) ?? -1;
    if (key === null || slash < 1) return; // no key of a version: no publisher of ours wrote it
    const version = key.toString('latin1', 0, slash);
    const isManifest = slash === key.length - 1;
    if (value === null && isManifest) {
      this.#entries.delete(version);
      return;
    }
    const entry = this.#entries.get(version) ?? (value === null ? undefined : this.#add(version));
    if (entry === undefined) return; // a tombstone of a row, after that of the manifest
    entry.recordCount += 1;
    const extent = entry.extents.get(at.partition);
    if (extent === undefined) entry.extents.set(at.partition, { first: offset, last: offset });
    else extent.last = offset;
    if (isManifest) {
      entry.manifestAt = { at, offset };
      entry.manifest = null;
    }
  }

  #add(version: string): VersionEntry {
    if (this.#entries.size === VERSIONS_MAX) {
      throw new FreshetError('ITEM_VERSION_INCOMPLETE', `${TOPIC} holds more than ${VERSIONS_MAX} versions`, {
        remedy: 'Write tombstones for the versions that no activation needs, the manifest last.',
      });
    }
    const entry = { extents: new Map(), manifestAt: null, manifest: null, recordCount: 0 };
    this.#entries.set(version, entry);
    return entry;
  }
}
