/** `freshet replay --what-if`: what a change of model or configuration would change, before it is deployed. */
import { readFile } from 'node:fs/promises';
import { FreshetError } from '../base/errors.ts';
import { evaluate, type Quality } from '../quality/evaluate.ts';
import { METRICS } from '../quality/metrics.ts';
import { Rankers } from '../quality/rankers.ts';
import { changedConfig, changesIn, parseChange, type Change } from '../replay/what-if-config.ts';
import { checkLimits, parseLimit } from '../replay/what-if-limits.ts';
import { WhatIfSummary } from '../replay/what-if-summary.ts';
import { compareSides, type Side } from '../replay/what-if.ts';
import { layoutOf } from '../../state/layout.ts';
import { OnnxScorer } from '../intent/onnx-scorer.ts';
import { actionsByEventTime } from '../vectors/actions-by-event-time.ts';
import { readRecipes } from '../vectors/recipes.ts';
import { grouped } from './progress.ts';
import { withScratch } from './replay-scores.ts';
import type { ReplayInput, ReplayResult } from './replay.ts';
import { whatIfText, type WhatIfResult } from './what-if-text.ts';

export interface WhatIfFlags {
  readonly whatIf?: string;
  readonly whatIfSet?: readonly string[];
  readonly sample?: number;
  readonly quality?: boolean;
  readonly failOver?: readonly string[];
  readonly showUsers?: boolean;
}

export async function whatIf(input: ReplayInput, flags: WhatIfFlags): Promise<ReplayResult> {
  const { deployment, config, line, signal } = input;
  const startedMs = performance.now();
  const limits = (flags.failOver ?? []).map(parseLimit);
  const needsQuality = limits.find(({ metric }) => metric.startsWith('loss.'));
  if (needsQuality !== undefined && flags.quality !== true) {
    throw new FreshetError('USAGE', `--fail-over=${needsQuality.metric} needs --quality`);
  }
  const changes = await changesOf(flags);
  const changed = changedConfig(config, changes, process.cwd());
  const scorer = await deployment.loadScorer();
  const base: Side = { config, scorer };
  // A model that is loaded twice would take its memory twice.
  const own = changed.model === config.model ? scorer : await OnnxScorer.load(changed.model);
  const variant: Side = { config: changed, scorer: own };

  const summary = new WhatIfSummary({ showUsers: flags.showUsers === true });
  const counts = await withScratch((folder) =>
    compareSides({
      ...deployment,
      ...input,
      ...{ base, variant, summary, folder, sample: flags.sample ?? 0 },
      onProgress: ({ partition, records, left }) => {
        const text = `partition ${partition}: ${grouped(records)} records compared, ${grouped(left)} to go`;
        line.update(text, { partition, records, left });
      },
    }),
  );
  const isWanted = flags.quality === true && !signal.aborted;
  const quality = isWanted ? await qualityOf(base, variant, input) : null;
  const { compared, features, users } = summary;
  const measured: WhatIfResult = {
    changes,
    models: { base: base.scorer.hash, variant: variant.scorer.hash },
    ...counts,
    compared,
    changed: compared === 0 ? 0 : summary.changed / compared,
    features,
    mostChanged: users,
    quality,
    limits: [],
    seconds: 0,
  };
  const checked = counts.complete ? checkLimits(limits, metricsOf(measured)) : [];
  const seconds = Math.round((performance.now() - startedMs) / 100) / 10;
  const result = { ...measured, limits: checked, seconds };
  const failure = failureOf(result);
  return { json: result, text: whatIfText(result), ...(failure && { failure }) };
}

async function changesOf({ whatIf: file, whatIfSet = [] }: WhatIfFlags): Promise<Change[]> {
  const set = whatIfSet.map(parseChange);
  if (file === undefined) return set;
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new FreshetError('FILE_NOT_FOUND', file, { cause });
  }
  return [...changesIn(text, file), ...set];
}

async function qualityOf(base: Side, variant: Side, { deployment, line }: ReplayInput) {
  const { log, codec } = deployment;
  const [recipes, rankers] = [await readRecipes(), await Rankers.load()];
  const measure = async (side: Side, name: string): Promise<Quality> => {
    const { quality } = await evaluate({
      ...{
        actions: actionsByEventTime(log, codec),
        layout: layoutOf(side.config),
        recipes,
        rankers,
        scorer: side.scorer,
      },
      onProgress: ({ actions, requests }) => {
        const text = `quality of ${name}: ${grouped(actions)} actions, ${grouped(requests)} requests ranked`;
        line.update(text, { actions, requests });
      },
    });
    return quality;
  };
  return { base: await measure(base, 'the base'), variant: await measure(variant, 'the variant') };
}

/** Every number that `--fail-over` can name. */
function metricsOf({ features, changed, users, onlyBase, onlyVariant, quality }: WhatIfResult): Map<string, number> {
  const metrics = new Map([
    ['versions.changed', changed],
    ['users.onlyBase', onlyBase / Math.max(users, 1)],
    ['users.onlyVariant', onlyVariant / Math.max(users, 1)],
  ]);
  for (const summary of features) {
    for (const what of ['changed', 'p50', 'p90', 'p99', 'max'] as const) {
      metrics.set(`${summary.feature}.${what}`, summary[what]);
    }
  }
  for (const before of quality?.base.arms ?? []) {
    const after = quality!.variant.arms.find(({ arm }) => arm === before.arm)!;
    for (const metric of METRICS) metrics.set(`loss.${before.arm}.${metric}`, before[metric] - after[metric]);
  }
  return metrics;
}

function failureOf({ limits }: WhatIfResult): FreshetError | undefined {
  const over = limits.filter(({ passed }) => passed);
  if (over.length === 0) return undefined;
  const detail = over.map(({ metric, value, limit }) => `${metric} is ${value}, over ${limit}`).join('; ');
  return new FreshetError('LIMIT_PASSED', detail);
}
