/**
 * The input of the chaos test: users of very different activity, with everything that real loggers do, and worse.
 * Seeded; made in parts, so that work is under way whatever happens.
 */
import { partitionOf } from '../../../src/base/murmur2.ts';
import { ContentHash } from '../../../src/base/content-hash.ts';
import type { NewRecord } from '../../../src/log/log.ts';
import type { Codec } from '../../../src/serde/codec.ts';
import { randomFrom, type Random } from '../random.ts';

const USERS = 3_000;
const ITEMS = 2_000;
const TYPES = ['view', 'view', 'view', 'like', 'bookmark', 'comment', 'follow', 'unlike', 'unfollow'];
const SURFACES = ['web', 'android', ''];
const START_MS = Date.UTC(2026, 0, 1);
const STEP_MS = 700;
const DAY_MS = 86_400_000;
/** A key that kafkajs takes for an abort marker. */
const ABORT_LIKE_USER = '\0\0\0\0';

export interface ChaosInputOptions {
  readonly codec: Pick<Codec, 'encode'>;
  readonly partitions: number;
  readonly seed: number;
  readonly dimension: number;
  readonly space: string;
}

export class ChaosInput {
  private readonly options: ChaosInputOptions;
  private readonly random: Random;
  private timeMs = START_MS;
  private last: NewRecord | undefined;

  constructor(options: ChaosInputOptions) {
    this.options = options;
    this.random = randomFrom(options.seed);
  }

  actions(count: number): NewRecord[] {
    return Array.from({ length: count }, () => this.record());
  }

  /** The rows of a version of item vectors for most items, and its manifest behind them. */
  itemVersion(version: string): NewRecord[] {
    const { codec, dimension, space } = this.options;
    const hash = new ContentHash();
    const row = (itemId: string, value: object): NewRecord => ({
      topic: 'item-embeddings',
      partition: 0,
      timestampMs: START_MS,
      key: Buffer.from(`${version}/${itemId}`),
      value: codec.encode('item-embeddings-value', {
        version,
        itemId,
        vector: null,
        scale: 0,
        manifest: null,
        ...value,
      }),
    });
    const rows = Array.from({ length: Math.floor(ITEMS * 0.9) }, (_, item) => {
      const itemId = `item-${item}`;
      const vector = Buffer.from(
        Int8Array.from({ length: dimension }, () => Math.floor(this.random() * 255) - 127).buffer,
      );
      hash.add(itemId, Math.fround(1 / 127), vector);
      return row(itemId, { vector, scale: 1 / 127 });
    });
    const manifest = { base: null, rowCount: rows.length, contentHash: hash.digest(), space, dimension };
    return [...rows, row('', { manifest })];
  }

  private record(): NewRecord {
    this.timeMs += Math.floor(this.random() * 2 * STEP_MS);
    const dice = this.random();
    if (dice < 0.04 && this.last !== undefined) return { ...this.last, timestampMs: this.timeMs };
    const record = this.action(dice);
    this.last = record;
    return record;
  }

  private action(dice: number): NewRecord {
    const userId = this.userId();
    const eventTimeMs = this.eventTimeMs();
    const value = (more: object = {}): Buffer =>
      this.options.codec.encode('user-actions-value', {
        userId,
        itemId: `item-${this.skewed(ITEMS)}`,
        actionType: this.oneOf(TYPES),
        eventTimeMs,
        surface: this.oneOf(SURFACES) || null,
        ...more,
      });
    if (dice < 0.043) return this.to(userId, value().subarray(0, 9)); // truncated
    if (dice < 0.046) return this.to(userId, value({ actionType: 'teleport' }));
    if (dice < 0.049) return this.to(userId, value({ eventTimeMs: this.timeMs + DAY_MS }));
    if (dice < 0.052) return this.to(userId, value({ userId: `not ${userId}` }));
    if (dice < 0.0525) return this.to(userId, null); // an erase
    return this.to(userId, value());
  }

  private to(userId: string, value: Buffer | null): NewRecord {
    const key = Buffer.from(userId);
    const partition = partitionOf(key, this.options.partitions);
    return { topic: 'user-actions', partition, timestampMs: this.timeMs, key, value };
  }

  private userId(): string {
    const user = this.skewed(USERS);
    return user === 17 ? ABORT_LIKE_USER : `user-${user}`;
  }

  /** Mostly now; sometimes some minutes ago; seldom so long ago that the window of a busy user has sealed it. */
  private eventTimeMs(): number {
    const dice = this.random();
    if (dice < 0.02) return Math.max(START_MS, this.timeMs - Math.floor(this.random() * 600_000));
    if (dice < 0.03) return START_MS + Math.floor(this.random() * 1_000);
    return this.timeMs;
  }

  /** Few are drawn very often, most seldom. */
  private skewed(count: number): number {
    return Math.floor(count * this.random() ** 3);
  }

  private oneOf<T>(values: readonly T[]): T {
    return values[Math.floor(this.random() * values.length)]!;
  }
}
