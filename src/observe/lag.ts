/** How far readers are behind: measured now and then, as asking the log costs a request. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { AwaitedPosition, Log } from '../log/log.ts';
import type { TaskRef } from '../task/observer.ts';

export interface LaggingTask {
  readonly task: TaskRef;
  /** Where it stands in each of its inputs. */
  readonly positions: readonly AwaitedPosition[];
}

type Readable = Pick<Log, 'endOffset' | 'read'>;

/**
 * Offsets between a position and the end; none if no record lies there. In Kafka the markers of transactions, aborted
 * records and those compacted away take offsets, so that the end may lie behind the last record there is to read.
 */
export async function recordsBehind(log: Readable, { at, offset }: AwaitedPosition): Promise<number> {
  const end = await log.endOffset(at);
  if (end <= offset) return 0;
  const [next] = await log.read(at, offset, { maxRecords: 1, maxBytes: 1 });
  return next === undefined ? 0 : end - next.offset;
}

export interface LagProbeOptions {
  readonly log: Readable;
  /** The running tasks and where they stand. */
  readonly tasks: () => Iterable<LaggingTask>;
  readonly measured: (task: TaskRef, records: number) => void;
  readonly intervalMs: number;
  readonly signal: AbortSignal;
}

/** Measures at once and then every `intervalMs`, until the signal. What cannot be measured is left as it was. */
export async function probeLag({ log, tasks, measured, intervalMs, signal }: LagProbeOptions): Promise<void> {
  while (!signal.aborted) {
    for (const { task, positions } of [...tasks()]) {
      const lags = await Promise.allSettled(positions.map((position) => recordsBehind(log, position)));
      if (signal.aborted) return;
      const known = lags.filter((lag) => lag.status === 'fulfilled');
      // The task itself meets the same errors, and tells of them.
      if (known.length < positions.length) continue;
      const behind = known.reduce((sum, { value }) => sum + value, 0);
      measured(task, behind);
    }
    await sleep(intervalMs, undefined, { signal, ref: false }).catch(() => undefined);
  }
}
