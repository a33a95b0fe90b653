/**
 * Two configurations over one stretch of the log, side by side: each user's newest features of both are compared, and a
 * sample of the versions before, if asked for.
 */
import { join } from 'node:path';
import { murmur2 } from '../base/murmur2.ts';
import type { Codec } from '../serde/codec.ts';
import { layoutOf, type Layout } from '../../state/layout.ts';
import type { EmitRule } from '../task/batch.ts';
import type { FeatureContext } from '../task/feature-context.ts';
import type { SequenceFeaturesRecord } from '../../topics/records.ts';
import { inputLog } from './input-log.ts';
import { PartitionReplay } from './partition-replay.ts';
import type { Stretch } from './range.ts';
import { asRecorded, type ActionReader } from './recorded-rejections.ts';
import type { UserFilter } from './user-filter.ts';
import type { LaidOut } from './what-if-differences.ts';
import type { WhatIfSummary } from './what-if-summary.ts';

/** What may differ between the two. */
export type Side = Pick<FeatureContext, 'config' | 'scorer'>;

export interface WhatIfOptions extends Omit<FeatureContext, keyof Side> {
  readonly base: Side;
  readonly variant: Side;
  readonly stretches: readonly Stretch[];
  readonly users: UserFilter | undefined;
  /** Share of the versions from the stretch's start on that are compared besides the newest, 0 to 1. */
  readonly sample: number;
  /** For the time of the replays. */
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly summary: WhatIfSummary;
  readonly onProgress: (progress: {
    readonly partition: number;
    readonly records: number;
    readonly left: number;
  }) => void;
}

export interface WhatIfCounts {
  readonly records: number;
  readonly users: number;
  /** Users that only one of the two keeps: the other takes none of their actions. */
  readonly onlyBase: number;
  readonly onlyVariant: number;
  readonly complete: boolean;
}

const USERS_AT_A_TIME = 1_000;
/** Both hold their users in memory. */
const CACHE_USERS = 10_000;

export async function compareSides(options: WhatIfOptions): Promise<WhatIfCounts> {
  const { stretches, signal, folder } = options;
  const counts = { records: 0, users: 0, onlyBase: 0, onlyVariant: 0 };
  for (const stretch of stretches) {
    if (signal.aborted) break;
    const reader = await asRecorded(options, { topic: 'user-actions', partition: stretch.partition });
    const sides = await Promise.all(
      (['base', 'variant'] as const).map((name) => {
        const own = { ...options, folder: join(folder, `${name}-${stretch.partition}`) };
        return SideReplay.open(options[name], stretch, reader, own);
      }),
    );
    const [base, variant] = sides as [SideReplay, SideReplay];
    try {
      await comparePartition(base, variant, stretch, counts, options);
    } finally {
      for (const side of sides) await side.replay.discard();
    }
  }
  return { ...counts, complete: !signal.aborted };
}

type Counts = { -readonly [K in 'records' | 'users' | 'onlyBase' | 'onlyVariant']: number };

async function comparePartition(
  base: SideReplay,
  variant: SideReplay,
  { partition, from, to }: Stretch,
  counts: Counts,
  { summary, sample, signal, onProgress }: WhatIfOptions,
): Promise<void> {
  const emit = sampled(sample, from);
  while (!signal.aborted) {
    const step = await base.replay.step({ to, emit });
    if (step.records === 0) break;
    const same = await variant.replay.step({ to: step.next, maxRecords: Infinity, emit });
    if (sample > 0) {
      const versions = new Map(same.featured.map((each) => [each.state.version, each.features!]));
      for (const { state, features } of step.featured) {
        const other = versions.get(state.version);
        if (other !== undefined) summary.add(base.decode(features!), variant.decode(other), false);
      }
    }
    counts.records += step.records;
    onProgress({ partition, records: counts.records, left: to - step.next });
  }
  for await (const userIds of base.userIds()) {
    const found = await variant.features(userIds);
    for (const [userId, features] of await base.features(userIds)) {
      const other = found.get(userId);
      counts.users += 1;
      if (other === undefined) counts.onlyBase += 1;
      else summary.add(features, other, true);
    }
  }
  for await (const userIds of variant.userIds()) {
    const missing = await base.replay.unknownAmong(userIds);
    counts.onlyVariant += missing.length;
    counts.users += missing.length;
  }
}

class SideReplay {
  readonly replay: PartitionReplay;
  private readonly codec: Codec;
  private readonly layout: Layout;

  private constructor(replay: PartitionReplay, codec: Codec, layout: Layout) {
    this.replay = replay;
    this.codec = codec;
    this.layout = layout;
  }

  /** Both begin at the beginning of the log: the features of one configuration give no state of another. */
  static async open(
    side: Side,
    { partition, to }: Stretch,
    reader: ActionReader,
    options: WhatIfOptions,
  ): Promise<SideReplay> {
    const input = { topic: 'user-actions', partition };
    const { users, codec } = options;
    const log = inputLog({ source: reader.log, input, end: to, keeps: users?.isAbout.bind(users) });
    const read = { log, inputCodec: reader.codec };
    const replay = await PartitionReplay.open({ ...options, ...side, ...read, partition, cacheUsers: CACHE_USERS });
    await replay.begin(await log.startOffset(input));
    return new SideReplay(replay, codec, layoutOf(side.config));
  }

  decode(features: Buffer): LaidOut {
    const { codec, layout } = this;
    return { features: codec.decode<SequenceFeaturesRecord>('sequence-features-value', features), layout };
  }

  async features(userIds: readonly string[]): Promise<Map<string, LaidOut>> {
    const featured = await this.replay.features(userIds);
    return new Map(Array.from(featured, ([userId, { features }]) => [userId, this.decode(features!)]));
  }

  async *userIds(): AsyncGenerator<string[]> {
    let userIds: string[] = [];
    for await (const { userId } of this.replay.states()) {
      userIds.push(userId);
      if (userIds.length < USERS_AT_A_TIME) continue;
      yield userIds;
      userIds = [];
    }
    if (userIds.length > 0) yield userIds;
  }
}

/** By user and offset alone, so that both sides are asked for the same versions; those before `from` are left out. */
function sampled(share: number, from: number): EmitRule {
  const limit = share * 2 ** 32;
  if (limit === 0) return () => false;
  return (userId, offset) => offset > from && murmur2(Buffer.from(`${offset} ${userId}`)) >>> 0 < limit;
}
