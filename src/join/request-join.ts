/**
 * The join at request time: candidate items scored from the newest `ranking-features` record of a user. It stands for
 * what a ranking service does, and shows what each side adds.
 */
import { FreshetError } from '../base/errors.ts';
import { partitionOf } from '../base/murmur2.ts';
import { userHash } from '../base/user-hash.ts';
import type { ItemVector } from '../intent/item-table.ts';
import { newestRecord } from '../log/newest.ts';
import type { RankingFeaturesRecord } from '../../topics/records.ts';
import type { ItemVersions } from '../intent/item-versions.ts';
import type { VersionContent } from '../intent/lineage-cache.ts';
import type { Log } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { itemsInForce, type ItemsInForce } from './items-in-force.ts';
import type { JoinWeights } from './join-weights.ts';

export interface ItemScore {
  readonly itemId: string;
  readonly hasVector: boolean;
  /** Intent to click · item vector; null without either of them. */
  readonly realtime: number | null;
  /** Long-term vector · item vector; null without either of them, or where they live in two spaces. */
  readonly longTerm: number | null;
  /** Both, weighed; null where one is. */
  readonly both: number | null;
}

/** The score by which items are ranked: the best that the user's sides allow. */
export type RankedBy = 'both' | 'realtime' | 'longTerm' | 'none';

export interface RankedItems {
  readonly rankedBy: RankedBy;
  readonly itemVersion: string | null;
  /** Best first; items with equal scores as they were asked for, those without a vector last. */
  readonly items: readonly ItemScore[];
}

export interface RequestJoinOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly itemVersions: Pick<ItemVersions, 'table' | 'reason'>;
  /** The item vectors in force; null before any activation. */
  readonly activation: VersionContent | null;
  /** Partitions of `ranking-features`. */
  readonly partitions: number;
  readonly weights: JoinWeights;
}

/** The outcome whose intent scores a candidate. */
const OUTCOME = 'click';

/** Fails with UNKNOWN_USER, and as `itemsInForce` and `rankItems` do. */
export async function requestJoin(
  userId: string,
  itemIds: readonly string[],
  options: RequestJoinOptions,
): Promise<RankedItems & { readonly features: RankingFeaturesRecord }> {
  const features = await readRankingFeatures(userId, options);
  const items = await itemsInForce(options.activation, options.itemVersions);
  return { features, ...rankItems(features, itemIds, items, options.weights) };
}

/** The newest record of a user, read from the end of its partition. Fails with UNKNOWN_USER. */
export async function readRankingFeatures(
  userId: string,
  { log, codec, partitions }: Pick<RequestJoinOptions, 'log' | 'codec' | 'partitions'>,
): Promise<RankingFeaturesRecord> {
  const key = Buffer.from(userId);
  const at = { topic: 'ranking-features', partition: partitionOf(key, partitions) };
  const record = await newestRecord(log, at, key);
  if (record === undefined || record.value === null) {
    throw new FreshetError('UNKNOWN_USER', 'no ranking features', { position: { ...at, userHash: userHash(userId) } });
  }
  await codec.learn([record]);
  const position = { ...at, offset: record.offset };
  return codec.decode<RankingFeaturesRecord>('ranking-features-value', record.value, record.headers, position);
}

/** Scores and ranks items. Fails with VECTOR_INVALID if vectors of one space differ in dimension. */
export function rankItems(
  features: Pick<RankingFeaturesRecord, 'realtime' | 'longTerm'>,
  itemIds: readonly string[],
  { table, space }: ItemsInForce,
  weights: JoinWeights,
): RankedItems {
  const { realtime, longTerm } = features;
  // Where the model's output was not finite the intent is zeros: no opinion, not a score of 0.
  const intent =
    realtime?.finite === true ? realtime.intent.find(({ outcome }) => outcome === OUTCOME)?.vector : undefined;
  const lasting = longTerm !== null && longTerm.space === space ? longTerm.vector : undefined;
  const items = itemIds.map((itemId): ItemScore => {
    const vector = table.vector(itemId);
    const scores = { realtime: scoreOf(intent, vector), longTerm: scoreOf(lasting, vector) };
    const both =
      scores.realtime === null || scores.longTerm === null
        ? null
        : weights.realtime * scores.realtime + weights.longTerm * scores.longTerm;
    return { itemId, hasVector: vector !== undefined, ...scores, both };
  });
  const rankedBy = rankedByOf(intent !== undefined, lasting !== undefined);
  const value = (item: ItemScore): number => (rankedBy === 'none' ? null : item[rankedBy]) ?? -Infinity;
  // toSorted is stable; the difference of two infinities would be NaN, hence the comparison.
  const ranked = items.toSorted(
    (a, b) => Number(b.hasVector) - Number(a.hasVector) || Number(value(b) > value(a)) - Number(value(b) < value(a)),
  );
  return { rankedBy, itemVersion: table.version, items: ranked };
}

function rankedByOf(hasIntent: boolean, hasLasting: boolean): RankedBy {
  if (hasIntent) return hasLasting ? 'both' : 'realtime';
  return hasLasting ? 'longTerm' : 'none';
}

function scoreOf(vector: readonly number[] | undefined, item: ItemVector | undefined): number | null {
  if (vector === undefined || item === undefined) return null;
  if (vector.length !== item.values.length) {
    const detail = `a user vector has ${vector.length} numbers, the item vectors have ${item.values.length}`;
    throw new FreshetError('VECTOR_INVALID', detail);
  }
  let sum = 0;
  for (const [index, value] of vector.entries()) sum += value * item.values[index]!;
  return sum * item.scale;
}
