/** A few users as ranking would meet them at the end of the log: window, intent, items, and what one more action does. */
import { partitionOf } from '../base/murmur2.ts';
import { newestRecord, records } from '../log/newest.ts';
import { rankForUser, withAction, type RankedItem, type UserRankingOptions } from '../quality/rank-for-user.ts';
import type { Deployment } from '../run/deployment.ts';
import type { Action } from '../../state/action.ts';
import type { Layout } from '../../state/layout.ts';
import { StateCodec } from '../../state/state-codec.ts';
import type { RankingFeaturesRecord, SequenceFeaturesRecord } from '../../topics/records.ts';

/** What the stories share: the models and popularity as of the end of the log. */
export type StoryTime = Pick<
  UserRankingOptions,
  'layout' | 'popularity' | 'table' | 'scorer' | 'rankers' | 'reference' | 'timeMs'
>;

export interface Story {
  readonly userId: string;
  /** The newest actions of the window, newest first. */
  readonly newest: readonly Action[];
  readonly windowLength: number;
  readonly sealed: number;
  readonly sessionLength: number;
  /** The most probable next action type and its probability. */
  readonly nextAction: { readonly type: string; readonly probability: number };
  readonly candidates: number;
  /** The candidates that the intent to click alone puts first. */
  readonly intentFavours: readonly string[];
  readonly withoutRealtime: readonly RankedItem[];
  readonly withRealtime: readonly RankedItem[];
  /** A hypothetical action: what ranking would show then, and by how much the intent turned. */
  readonly oneMore: {
    readonly action: Action;
    readonly withRealtime: readonly RankedItem[];
    readonly turnDegrees: number;
  };
}

const TOP = 5;
/** The item that the hypothetical action is on: one that the user would see, but not first. */
const ONE_MORE_PLACE = TOP - 1;

/** How much realtime changes a user's list: the probability it moves from one item to another, 0 to 1. */
export function shift({ withoutRealtime, withRealtime }: Story): number {
  const without = new Map(withoutRealtime.map(({ itemId, probability }) => [itemId, probability]));
  return (
    withRealtime.reduce((sum, { itemId, probability }) => sum + Math.abs(probability - (without.get(itemId) ?? 0)), 0) /
    2
  );
}

/** Undefined for a user without features or a long-term vector. */
export async function tell(userId: string, deployment: Deployment, time: StoryTime): Promise<Story | undefined> {
  const features = await newest<SequenceFeaturesRecord>('sequence-features', userId, deployment);
  const ranking = await newest<RankingFeaturesRecord>('ranking-features', userId, deployment);
  if (features === undefined || ranking === undefined || ranking.longTerm === null) return undefined;
  const state = new StateCodec(time.layout).fromRecord(features);
  const options = { ...time, state, longTerm: Float32Array.from(ranking.longTerm.vector), top: TOP };
  const before = await rankForUser(options);
  const liked = before.withRealtime[ONE_MORE_PLACE];
  if (liked === undefined) return undefined;
  const action = { eventTimeMs: time.timeMs, itemId: liked.itemId, actionType: 'like', surface: 'web' };
  const next = withAction(state, action, time.layout);
  const after = await rankForUser({ ...options, state: next, timeMs: time.timeMs + 1_000 });
  const { window, base } = state.sequences[time.layout.scored]!;
  const windows = [window, next.sequences[time.layout.scored]!.window];
  const [now, then] = (
    await time.scorer.fold(windows.map((actions) => ({ ...FROM_ZEROS, actions, table: time.table })))
  ).map((score) => score.intent[0]!);
  const probability = Math.max(...features.propensity);
  return {
    userId,
    newest: window.slice(-TOP).reverse(),
    windowLength: window.length,
    sealed: base.sealed,
    sessionLength: features.session.length,
    nextAction: { type: features.propensityTypes[features.propensity.indexOf(probability)]!, probability },
    candidates: before.candidates,
    intentFavours: favoured(now!, time, window),
    withoutRealtime: before.withoutRealtime,
    withRealtime: before.withRealtime,
    oneMore: { action, withRealtime: after.withRealtime, turnDegrees: angle(now!, then!) },
  };
}

const FROM_ZEROS = { hidden: null, previousEventTimeMs: null };

function favoured(intent: Float32Array, { popularity, table, timeMs }: StoryTime, window: readonly Action[]): string[] {
  return popularity
    .candidates(timeMs, window)
    .flatMap((itemId) => {
      const vector = table.vector(itemId);
      return vector === undefined ? [] : { itemId, score: dot(intent, vector.values) };
    })
    .sort((a, b) => b.score - a.score)
    .slice(0, 3)
    .map(({ itemId }) => itemId);
}

function dot(a: Float32Array, b: Float32Array | Int8Array): number {
  return a.reduce((sum, value, at) => sum + value * b[at]!, 0);
}

const angle = (a: Float32Array, b: Float32Array): number =>
  (Math.acos(Math.min(1, dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)))) * 180) / Math.PI;

/** Users to tell of, most active first: those who acted within a day of the end and have a window worth showing. */
export async function storyUsers(deployment: Deployment, layout: Layout, endMs: number): Promise<string[]> {
  const { log, codec, config } = deployment;
  const users: { userId: string; length: number }[] = [];
  for (let partition = 0; partition < config.partitions; partition += 1) {
    const at = { topic: 'sequence-features', partition };
    const end = await log.endOffset(at);
    const start = Math.max(await log.startOffset(at), end - RECENT);
    const seen = new Set<string>();
    // Backwards: the first record met of a user is the newest, and the last commits hold those who came last.
    for (const record of (await Array.fromAsync(records(log, at, start, end))).reverse()) {
      const userId = record.key!.toString();
      if (record.value === null || seen.has(userId)) continue;
      seen.add(userId);
      const features = codec.decode<SequenceFeaturesRecord>('sequence-features-value', record.value, record.headers);
      const length = features.sequences[layout.scored]!.itemIds.length;
      const isRecent = features.envelope.newestEventTimeMs > endMs - 86_400_000;
      if (isRecent && length >= 20) users.push({ userId, length });
    }
  }
  return users.sort((a, b) => b.length - a.length || (a.userId < b.userId ? -1 : 1)).map(({ userId }) => userId);
}

const RECENT = 400;

async function newest<T>(
  topic: 'sequence-features' | 'ranking-features',
  userId: string,
  { log, codec, config }: Deployment,
): Promise<T | undefined> {
  const key = Buffer.from(userId);
  const record = await newestRecord(log, { topic, partition: partitionOf(key, config.partitions) }, key);
  if (record === undefined || record.value === null) return undefined;
  return codec.decode<T>(`${topic}-value`, record.value, record.headers);
}
