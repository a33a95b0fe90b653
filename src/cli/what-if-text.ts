/** A what-if for people. */
import type { Quality } from '../quality/evaluate.ts';
import type { Metric } from '../quality/metrics.ts';
import type { Arm } from '../quality/rankers.ts';
import type { Change } from '../replay/what-if-config.ts';
import type { CheckedLimit } from '../replay/what-if-limits.ts';
import type { ChangedUser, FeatureSummary } from '../replay/what-if-summary.ts';
import type { WhatIfCounts } from '../replay/what-if.ts';
import { grouped } from './progress.ts';

export interface WhatIfResult extends WhatIfCounts {
  readonly changes: readonly Change[];
  /** The scorers' hashes. */
  readonly models: { readonly base: string; readonly variant: string };
  /** Versions compared: each user's newest, and the sample. */
  readonly compared: number;
  /** Share of them in which some feature differs. */
  readonly changed: number;
  readonly features: readonly FeatureSummary[];
  readonly mostChanged: readonly ChangedUser[];
  readonly quality: { readonly base: Quality; readonly variant: Quality } | null;
  readonly limits: readonly CheckedLimit[];
  readonly seconds: number;
}

/** Counters are many, one an action type and half-life: of each sequence those that change most are shown. */
const SHOWN_COUNTERS = 3;

export function whatIfText(result: WhatIfResult): string {
  const { changes, records, users, onlyBase, onlyVariant, compared, changed, mostChanged, quality, limits } = result;
  const features = result.features.filter((feature) => feature.changed > 0);
  const shown = shownFeatures(features);
  const width = Math.max(...shown.map(({ feature }) => feature.length), 8);
  const left = features.length - shown.length;
  const only =
    onlyBase + onlyVariant === 0
      ? ''
      : `; ${grouped(onlyBase)} only in the base, ${grouped(onlyVariant)} only in the variant`;
  return [
    ...changes.map(({ path, value }) => `what if ${path} = ${JSON.stringify(value)}`),
    `  ${grouped(records)} records, ${grouped(users)} users${only}`,
    `  ${grouped(compared)} versions compared, ${percent(changed)} of them differ; ${result.features.length - features.length} features never do`,
    ...(features.length === 0
      ? []
      : ['', `  ${'feature'.padEnd(width)}  changed        p50        p90        p99        max`]),
    ...shown.map((feature) => `  ${featureText(feature, width)}`),
    ...(left === 0 ? [] : [`  … and ${left} more counters, see --json`]),
    ...(mostChanged.length === 0 ? [] : ['', '  changed most       intent   actions shown']),
    ...mostChanged.slice(0, 5).map(({ user, intent, shown: { base, variant } }) => {
      return `  ${user.padEnd(16)} ${number(intent).padStart(8)}   ${base} → ${variant}`;
    }),
    ...(quality === null ? [] : qualityLines(quality)),
    ...(limits.length === 0 ? [] : ['']),
    ...limits.map(({ metric, value, limit, passed }) => {
      return `  ${passed ? 'over  ' : 'within'} ${metric} ${number(value)}, limit ${number(limit)}`;
    }),
    ...(result.complete ? [] : ['Interrupted.']),
  ].join('\n');
}

function shownFeatures(features: readonly FeatureSummary[]): FeatureSummary[] {
  const isCounter = ({ feature }: FeatureSummary): boolean => feature.includes('.counters.');
  const most = features.filter(isCounter).sort((a, b) => b.changed - a.changed || b.p99 - a.p99);
  const kept = new Set(most.slice(0, SHOWN_COUNTERS));
  return features.filter((each) => !isCounter(each) || kept.has(each));
}

const featureText = ({ feature, measure, changed, p50, p90, p99, max }: FeatureSummary, width: number): string =>
  [
    feature.padEnd(width),
    percent(changed).padStart(8),
    ...[p50, p90, p99, max].map((value) => number(value).padStart(10)),
    measure === 'absolute' ? '' : measure,
  ]
    .join(' ')
    .trimEnd();

const ARM_NAMES: Readonly<Record<Arm, string>> = {
  np: 'baseline, not personal',
  'np+longterm': '+ long-term vector',
  'np+intent': '+ realtime intent',
  hybrid: '+ both',
};

function qualityLines({ base, variant }: { base: Quality; variant: Quality }): string[] {
  const rows = base.arms.map((before) => {
    const after = variant.arms.find(({ arm }) => arm === before.arm)!;
    const cell = (metric: Metric): string => `${before[metric].toFixed(4)} → ${after[metric].toFixed(4)}`;
    return `  ${ARM_NAMES[before.arm].padEnd(24)} ${cell('mrr')}   ${cell('recall10')}`;
  });
  const gain = ({ differences }: Quality): string => {
    const { mean, low, high } = differences.find(
      ({ arm, other, metric }) => arm === 'np+intent' && other === 'np' && metric === 'mrr',
    )!;
    return `${signed(mean)} [${signed(low)}, ${signed(high)}]`;
  };
  return [
    '',
    `  ranking quality, ${grouped(base.requests)} → ${grouped(variant.requests)} requests`,
    `  ${''.padEnd(24)} MRR               HIT@10`,
    ...rows,
    `  what intent adds to MRR: ${gain(base)} → ${gain(variant)}`,
  ];
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
const signed = (value: number): string => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(4)}`;

/** Three digits that count, large numbers whole. */
const number = (value: number): string => {
  if (value === 0) return '0';
  return value >= 1_000 ? grouped(value) : String(Number(value.toPrecision(3)));
};
