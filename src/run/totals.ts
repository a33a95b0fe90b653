/** What the tasks of a worker have come to, in sum. */
import { addCounts } from '../base/counts.ts';
import type { PartitionTasks } from './partition-tasks.ts';
import type { Progress, RunResult } from './worker.ts';

/** @param all - every partition that the worker has served; `served` are those that it serves now */
export function progressOf(all: Iterable<PartitionTasks>, served: readonly PartitionTasks[]): Progress {
  const lag = served.reduce((sum, tasks) => sum + tasks.lag, 0);
  const { records, features } = totals(all);
  return { records, lag, features };
}

/** The counts are those that the partitions' tasks have kept since the log began: each partition has one owner. */
export function resultOf(all: Iterable<PartitionTasks>, served: readonly PartitionTasks[]): RunResult {
  const counts: Record<string, number> = {};
  for (const tasks of served) addCounts(counts, Object.entries(tasks.counts));
  return { ...totals(all), counts };
}

function totals(all: Iterable<PartitionTasks>): Omit<RunResult, 'counts'> {
  const sum = { records: 0, features: 0, ranked: 0 };
  for (const { totals: own } of all) addCounts(sum, Object.entries(own));
  return sum;
}
