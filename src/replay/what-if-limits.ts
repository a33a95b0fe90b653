/** `--fail-over`: how far a change may go. */
import { FreshetError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';

export interface Limit {
  /** E.g. `intent.click.p99`, `versions.changed`, `loss.np+intent.mrr`. */
  readonly metric: string;
  readonly limit: number;
}

export interface CheckedLimit extends Limit {
  readonly value: number;
  /** Whether the value is above the limit. */
  readonly passed: boolean;
}

/** `METRIC:LIMIT`, e.g. `intent.click.p99:0.05`. Throws USAGE. */
export function parseLimit(text: string): Limit {
  const [, metric, limit] = /^([^:\s]+):(\d+(?:\.\d+)?(?:e-?\d+)?)$/.exec(text) ?? [];
  if (metric === undefined)
    throw new FreshetError('USAGE', '--fail-over must be METRIC:LIMIT, e.g. intent.click.p99:0.05');
  return { metric, limit: Number(limit) };
}

/** Throws USAGE for a metric that was not measured. */
export function checkLimits(limits: readonly Limit[], metrics: ReadonlyMap<string, number>): CheckedLimit[] {
  return limits.map(({ metric, limit }) => {
    const value = metrics.get(metric);
    if (value === undefined) {
      const detail = `--fail-over: ${metric} is not measured; the nearest that is: ${nearest(metric, metrics.keys())}`;
      throw new FreshetError('USAGE', detail);
    }
    return { metric, limit, value, passed: value > limit };
  });
}
