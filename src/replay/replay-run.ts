/**
 * A replay with output: the tasks of the stream over a log that reads the deployment which is replayed and writes the
 * replay's own target. So it is resumable, takes no more memory than the stream, and gives its bytes.
 */
import { join } from 'node:path';
import { addCounts } from '../base/counts.ts';
import { FreshetError } from '../base/errors.ts';
import type { Log, LogRecord } from '../log/log.ts';
import type { FeatureContext } from '../task/feature-context.ts';
import { FeatureTask } from '../task/feature-task.ts';
import { courseOf } from './course.ts';
import { inputLog } from './input-log.ts';
import { overlayLog } from './overlay-log.ts';
import type { Stretch } from './range.ts';
import { asRecorded } from './recorded-rejections.ts';
import { seedTarget, type Seeded } from './seed-target.ts';
import type { Translation } from './translation.ts';
import type { UserFilter } from './user-filter.ts';

/** The configuration has the application id of the target. */
export interface ReplayRunOptions extends Omit<FeatureContext, 'log'> {
  readonly source: Log;
  /** The application that is replayed. */
  readonly sourceAppId: string;
  readonly target: Log;
  readonly translation: Translation;
  readonly stretches: readonly Stretch[];
  readonly users: UserFilter | undefined;
  /** Holds the stores of the tasks; they are caches of the target. */
  readonly folder: string;
  readonly deleteRetentionMs: number;
  /** Ends the replay after the commit at hand. */
  readonly signal: AbortSignal;
  readonly onProgress: (progress: ReplayProgress) => void;
}

export interface ReplayProgress {
  readonly partition: number;
  /** By this run, over all partitions. */
  readonly records: number;
  readonly features: number;
  /** Input offsets that are left in the partition. */
  readonly left: number;
}

export interface ReplayedPartition {
  readonly partition: number;
  readonly from: number;
  readonly to: number;
  /** Where the next run would go on. */
  readonly next: number;
  /** Of users from before `from`, where that is not the beginning and this run has done it. */
  readonly seeded: Seeded | null;
}

export interface Replayed {
  /** Input records taken and features records written by this run. */
  readonly records: number;
  readonly features: number;
  /** Input records since `from`, by outcome, over all runs. */
  readonly counts: Readonly<Record<string, number>>;
  /** False: interrupted; the next run goes on. */
  readonly complete: boolean;
  readonly partitions: readonly ReplayedPartition[];
}

export async function replayInto(options: ReplayRunOptions): Promise<Replayed> {
  const { stretches, signal } = options;
  const counts: Record<string, number> = {};
  const partitions: ReplayedPartition[] = [];
  const done = { records: 0, features: 0 };
  for (const stretch of stretches) {
    if (signal.aborted) break;
    const replayed = await replayPartition(stretch, options, done);
    addCounts(counts, Object.entries(replayed.counts));
    const { partition, from, to } = stretch;
    partitions.push({ partition, from, to, next: replayed.next, seeded: replayed.seeded });
  }
  const complete = partitions.length === stretches.length && partitions.every(({ next, to }) => next >= to);
  return { ...done, counts, complete, partitions };
}

async function replayPartition(
  stretch: Stretch,
  options: ReplayRunOptions,
  done: { records: number; features: number },
) {
  const { source, target, config, scorer, folder, users, signal, onProgress } = options;
  const { partition, from, to, isFromStart } = stretch;
  const input = { topic: 'user-actions', partition };
  const committed = await target.committed(config.appId, input);
  // An earlier run may have gone further: what it wrote stays.
  const end = Math.max(to, committed?.offset ?? 0);
  const keeps = users && ((record: LogRecord) => users.isAbout(record));
  const reader = await asRecorded({ log: source, codec: options.codec }, input);
  const overlay = overlayLog({ ...options, source: inputLog({ source: reader.log, input, end, keeps }) });
  const storeFolder = join(folder, 'state', `user-actions-${partition}`);
  let seeded: Seeded | null = null;
  const course = await courseOf(source, options.sourceAppId, input);
  if (!isFromStart || course.isSeeded) {
    const keepsUser = (key: Buffer): boolean => users?.has(key) ?? true;
    const taskId = `${config.appId}-user-actions-${partition}`;
    const read = { source: reader.log, inputCodec: reader.codec };
    seeded =
      (await seedTarget({ ...options, ...read, overlay, course, taskId, input, from, keepsUser, folder })) ?? null;
  }
  const task = new FeatureTask({ ...options, log: overlay, inputCodec: reader.codec, scorer, partition, storeFolder });
  try {
    await task.start();
    const position = (): number => task.positions[0]!.offset;
    while (!signal.aborted && position() < to) {
      // By records alone: where commits are cut does not depend on how fast this machine is.
      const { records, features, waitingFor } = await task.step({ maxMs: Infinity });
      if (records === 0 && waitingFor !== null) {
        const reason = options.itemVersions.reason(waitingFor) ?? 'not in the log';
        throw new FreshetError('ITEM_VERSION_INCOMPLETE', `version ${waitingFor}: ${reason}`, { position: input });
      }
      if (records === 0) break;
      done.records += records;
      done.features += features;
      onProgress({ partition, ...done, left: Math.max(0, to - position()) });
    }
    return { next: Math.max(position(), signal.aborted ? 0 : to), counts: task.counts, seeded };
  } finally {
    await task.close();
  }
}
