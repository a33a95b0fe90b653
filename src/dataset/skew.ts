/**
 * `freshet skew`: what the ranker was given, compared with what backfill gives a model to learn from for the same
 * request. Two passes of small results on disk: each record is asked about as of its time and as of its own version.
 */
import { mkdtemp, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { userHash } from '../base/user-hash.ts';
import { openStorage, type Storage } from '../log/embedded-storage.ts';
import type { FeatureContext } from '../task/feature-context.ts';
import { layoutOf } from '../../state/layout.ts';
import type { SequenceFeaturesRecord } from '../../topics/records.ts';
import { DatedFeatures, type Answer, type Lag } from './dated-features.ts';
import { realtimeOf } from './feature-values.ts';
import { RequestOrder } from './request-order.ts';
import { readServed, requestsOf, servedFeaturesOf, type ServedSource } from './served.ts';
import { compared, verdicts, type Comparison, type SkewCause } from './skew-verdict.ts';

export interface SkewOptions extends FeatureContext {
  readonly source: ServedSource;
  readonly lag: Lag;
  readonly onProgress?: (progress: { readonly served: number; readonly compared: number }) => void;
}

export interface FeatureSkew {
  readonly compared: number;
  readonly equal: number;
  readonly causes: Readonly<Partial<Record<SkewCause, number>>>;
}

export interface SkewReport {
  /** Records that were read, and those that could not be, by cause. */
  readonly served: number;
  readonly rejected: Readonly<Record<string, number>>;
  /** Records that tell neither when they were served nor of which version they are: there is nothing to compare them with. */
  readonly undated: number;
  /** Records that are right in all features. */
  readonly equal: number;
  readonly features: Readonly<Record<string, FeatureSkew>>;
  /** The first ones of each cause and feature. */
  readonly examples: readonly SkewExample[];
}

export interface SkewExample {
  readonly feature: string;
  readonly cause: SkewCause;
  /** Number of the record in its source, from 1. */
  readonly number: number;
  readonly user: string;
  readonly servedVersion: number | null;
  /** What could be served at its time; null: nothing, or no time is known. */
  readonly servableVersion: number | null;
}

interface Waiting {
  readonly user: string;
  readonly version: number | null;
  readonly comparison: Comparison;
}

const MAX_EXAMPLES = 50;
const READ_AT_ONCE = 256;

/** Throws as `backfill` does. */
export async function measureSkew(options: SkewOptions): Promise<SkewReport> {
  const { config } = options;
  await mkdir(config.dataDir, { recursive: true });
  const folder = await mkdtemp(join(config.dataDir, 'skew-'));
  try {
    const results = await openStorage(join(folder, 'results'), {});
    try {
      const read = await compareAll(options, folder, results);
      return { ...read, ...(await summary(results)) };
    } finally {
      await results.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function compareAll(
  options: SkewOptions,
  folder: string,
  results: Storage,
): Promise<Pick<SkewReport, 'served' | 'rejected' | 'undated'>> {
  const { config, source, lag, onProgress } = options;
  const { partitions, maxIdBytes } = config;
  const order = await RequestOrder.open({ folder: join(folder, 'order'), partitions, lagMs: lag.featuresMs });
  const rejected: Record<string, number> = {};
  let served = 0;
  let undated = 0;
  let done = 0;
  try {
    for await (const each of readServed(source, { ...options, maxIdBytes })) {
      if ('cause' in each) {
        rejected[each.cause] = (rejected[each.cause] ?? 0) + 1;
        continue;
      }
      const requests = requestsOf(each, (served += 1));
      if (requests.length === 0) undated += 1;
      for (const request of requests) await order.add(request);
    }
    await order.flush();
    for (let partition = 0; partition < partitions; partition += 1) {
      const dated = await DatedFeatures.open({
        ...options,
        ...{ order, partition, folder: join(folder, `partition-${partition}`) },
      });
      try {
        for await (const answers of dated.answers()) {
          await results.batch(answers.map((answer) => result(answer, options)));
          onProgress?.({ served, compared: (done += answers.length) });
        }
      } finally {
        await dated.close();
      }
    }
  } finally {
    await order.close();
  }
  return { served, rejected, undated };
}

function result({ request, features, longTerm }: Answer, { codec, config }: SkewOptions) {
  const served = servedFeaturesOf(request);
  const record =
    features === null ? null : codec.decode<SequenceFeaturesRecord>('sequence-features-value', features.features!);
  const waiting: Waiting = {
    user: userHash(request.userId),
    version: served.realtime?.version ?? null,
    comparison: compared(served, record === null ? null : realtimeOf(record, layoutOf(config)), longTerm),
  };
  const key = Buffer.allocUnsafe(8);
  key.writeBigUInt64BE(BigInt(request.number));
  return { type: 'put' as const, key, value: Buffer.from(JSON.stringify(waiting)) };
}

/** Both comparisons of a record stand side by side. */
async function summary(results: Storage): Promise<Pick<SkewReport, 'equal' | 'features' | 'examples'>> {
  const features = new Map<string, { compared: number; equal: number; causes: Partial<Record<SkewCause, number>> }>();
  const examples: SkewExample[] = [];
  const shown = new Set<string>();
  let equal = 0;
  for await (const [number, at, own] of pairs(results)) {
    const { user, version } = (at ?? own)!;
    let isEqual = true;
    for (const [feature, verdict] of verdicts(version ?? undefined, at?.comparison, own?.comparison)) {
      let sum = features.get(feature);
      if (sum === undefined) features.set(feature, (sum = { compared: 0, equal: 0, causes: {} }));
      sum.compared += 1;
      if (verdict === 'equal') {
        sum.equal += 1;
        continue;
      }
      isEqual = false;
      sum.causes[verdict] = (sum.causes[verdict] ?? 0) + 1;
      if (shown.has(`${verdict} ${feature}`) || examples.length === MAX_EXAMPLES) continue;
      shown.add(`${verdict} ${feature}`);
      const servableVersion = at?.comparison.version ?? null;
      examples.push({ feature, cause: verdict, number, user, servedVersion: version, servableVersion });
    }
    if (isEqual) equal += 1;
  }
  return { equal, features: Object.fromEntries([...features].sort(([a], [b]) => (a < b ? -1 : 1))), examples };
}

async function* pairs(results: Storage): AsyncGenerator<[number, Waiting | undefined, Waiting | undefined]> {
  const iterator = results.iterator();
  let held: [number, Waiting | undefined, Waiting | undefined] | undefined;
  try {
    for (;;) {
      const entries = await iterator.nextv(READ_AT_ONCE);
      if (entries.length === 0) break;
      for (const [key, value] of entries) {
        const place = Number(key.readBigUInt64BE());
        const number = Math.floor(place / 2);
        if (held !== undefined && held[0] !== number) yield held;
        if (held === undefined || held[0] !== number) held = [number, undefined, undefined];
        held[1 + (place % 2)] = JSON.parse(value.toString()) as Waiting;
      }
    }
    if (held !== undefined) yield held;
  } finally {
    await iterator.close();
  }
}
