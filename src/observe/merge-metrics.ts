/** The metrics of several threads as one: counters and histograms are added, gauges as their declaration says. */
import { AggregatorRegistry, type PrometheusContentType, type Registry } from 'prom-client';
import type { MetricJson } from './metrics.ts';

export function mergeMetrics(snapshots: readonly (readonly MetricJson[])[]): Registry {
  return AggregatorRegistry.aggregate<PrometheusContentType>(snapshots.map((snapshot) => [...snapshot]));
}

/** The same as values: at once, so that nothing is counted twice or not at all between two of these. */
export const mergedValues = (snapshots: readonly (readonly MetricJson[])[]): MetricJson[] =>
  mergeMetrics(snapshots)
    .getMetricsAsArray()
    .map((metric) => (metric as unknown as { get: () => MetricJson }).get());

/**
 * What stays true of a thread that no longer answers: what it has counted. Without that a sum would fall, which
 * Prometheus takes for a restart, and its rates would show everything as new.
 */
export const countsOnly = (snapshot: readonly MetricJson[]): MetricJson[] =>
  snapshot.filter(({ type }) => type === 'counter' || type === 'histogram');
