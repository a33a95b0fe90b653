/**
 * Item vectors and long-term user vectors as a log goes by: at every midnight (UTC) that an action passes, a version cut
 * from what came before it. Item rows, manifest, activations and user vectors stand in the log before that action.
 *
 * Actions are expected in order of event time, as a loaded log has them; an action logged twice counts once.
 */
import { ContentHash } from '../base/content-hash.ts';
import { partitionOf } from '../base/murmur2.ts';
import { activationRecords } from '../ingest/activate.ts';
import { ITEM_TOPIC, itemKey } from '../ingest/item-version.ts';
import type { NewRecord } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import type { ItemEmbeddingRecord, ItemManifest, UserActionRecord, UserEmbeddingRecord } from '../../topics/records.ts';
import { ITEM_VECTOR_SCALE, ItemVectorBuilder, type ItemVectorRecipe } from './item-vectors.ts';
import { UserVectorBuilder, type UserVectorRecipe } from './user-vectors.ts';

const DAY_MS = 86_400_000;
/** Every so many versions one is complete; the others are changes on the one before. */
const COMPLETE_EVERY = 30;

export interface DailyVectorsOptions {
  readonly codec: Pick<Codec, 'encode'>;
  /** Partitions of the topics placed by user. */
  readonly partitions: number;
  readonly items: ItemVectorRecipe;
  readonly users: UserVectorRecipe;
}

export class DailyVectors {
  readonly items: ItemVectorBuilder;
  readonly users: UserVectorBuilder;
  private readonly options: DailyVectorsOptions;
  /** The midnight after the newest action. */
  private nextMidnightMs = -Infinity;
  private versions = 0;
  private base: string | null = null;
  /** What was counted at the newest event time. */
  private seen = { eventTimeMs: -1, keys: new Set<string>() };

  constructor(options: DailyVectorsOptions) {
    this.options = options;
    this.items = new ItemVectorBuilder(options.items);
    this.users = new UserVectorBuilder(options.users);
  }

  /** Takes an action; gives the records that stand before it in the log: none but at a midnight. */
  before(action: UserActionRecord): NewRecord[] {
    const midnightMs = Math.floor(action.eventTimeMs / DAY_MS) * DAY_MS;
    const passed = this.nextMidnightMs > -Infinity && midnightMs >= this.nextMidnightMs;
    const records = passed ? this.cut(new Date(midnightMs).toISOString().slice(0, 10), midnightMs) : [];
    this.nextMidnightMs = Math.max(this.nextMidnightMs, midnightMs + DAY_MS);
    this.add(action);
    return records;
  }

  /** Counts an action, once. */
  add({ userId, itemId, actionType, eventTimeMs }: UserActionRecord): void {
    if (eventTimeMs !== this.seen.eventTimeMs) this.seen = { eventTimeMs, keys: new Set() };
    const key = JSON.stringify([userId, itemId, actionType]);
    if (this.seen.keys.has(key)) return;
    this.seen.keys.add(key);
    this.items.add(userId, itemId, actionType);
    this.users.add(userId, itemId, actionType, eventTimeMs);
  }

  /** The records of a version with everything counted so far: items, manifest, activations, user vectors. */
  cut(version: string, asOfMs: number): NewRecord[] {
    const base = this.versions % COMPLETE_EVERY === 0 ? null : this.base;
    const changed = this.items.takeChanged();
    const rows = base === null ? this.items.all() : changed;
    this.versions += 1;
    this.base = version;
    return [...this.itemRecords(version, base, rows, asOfMs), ...this.userRecords(version, asOfMs)];
  }

  private itemRecords(
    version: string,
    base: string | null,
    rows: [string, Int8Array][],
    timestampMs: number,
  ): NewRecord[] {
    const { codec, partitions, items } = this.options;
    const hash = new ContentHash();
    const record = (value: ItemEmbeddingRecord): NewRecord => ({
      ...ITEM_TOPIC,
      timestampMs,
      key: itemKey(version, value.itemId),
      value: codec.encode('item-embeddings-value', value),
    });
    const records = rows.map(([itemId, vector]) => {
      hash.add(itemId, ITEM_VECTOR_SCALE, vector);
      return record({ version, itemId, vector: Buffer.from(vector.buffer), scale: ITEM_VECTOR_SCALE, manifest: null });
    });
    const { space, dimension } = items;
    const manifest: ItemManifest = { base, rowCount: rows.length, contentHash: hash.digest(), space, dimension };
    return [
      ...records,
      record({ version, itemId: '', vector: null, scale: 0, manifest }),
      ...activationRecords(codec, partitions, { version, ...manifest }, timestampMs),
    ];
  }

  /** The vectors of the users who acted since the last version; the others keep theirs. */
  private userRecords(version: string, asOfMs: number): NewRecord[] {
    const { codec, partitions, items } = this.options;
    return this.users.takeChanged().flatMap((userId) => {
      const vector = this.users.vector(userId, asOfMs, (itemId) => this.items.vector(itemId));
      if (vector === undefined) return [];
      const value: UserEmbeddingRecord = { userId, version, asOfMs, space: items.space, vector: Array.from(vector) };
      const key = Buffer.from(userId);
      return {
        topic: 'user-embeddings',
        partition: partitionOf(key, partitions),
        timestampMs: asOfMs,
        key,
        value: codec.encode('user-embeddings-value', value),
      };
    });
  }
}
