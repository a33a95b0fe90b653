/** A replay without output: the whole of the stream's work on a stretch of the log but for what it would write. */
import { join } from 'node:path';
import { addCounts } from '../base/counts.ts';
import type { FeatureContext } from '../task/feature-context.ts';
import { courseOf } from './course.ts';
import { inputLog } from './input-log.ts';
import { PartitionReplay } from './partition-replay.ts';
import type { Gap } from './passage.ts';
import type { Stretch } from './range.ts';
import { seedBefore } from './seed.ts';
import type { UserFilter } from './user-filter.ts';

export interface ReplayScoresOptions extends FeatureContext {
  readonly stretches: readonly Stretch[];
  readonly users: UserFilter | undefined;
  /** For the time of the replay: users that do not fit into memory. */
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: {
    readonly partition: number;
    readonly records: number;
    readonly left: number;
  }) => void;
}

export interface ReplayedScores {
  readonly records: number;
  /** Input records by outcome. */
  readonly counts: Readonly<Record<string, number>>;
  /** How often a user was folded and its state replaced: once a step of at most 20,000 records. */
  readonly revisions: number;
  /** Input that could not be read and was passed over. */
  readonly gaps: readonly ({ readonly partition: number } & Gap)[];
  readonly complete: boolean;
}

const STEP_RECORDS = 20_000;
const MAX_GAPS = 100;
const NEVER = (): boolean => false;

export async function replayScores(options: ReplayScoresOptions): Promise<ReplayedScores> {
  const { stretches, users, signal, onProgress, config, folder } = options;
  const counts: Record<string, number> = {};
  const gaps: ({ readonly partition: number } & Gap)[] = [];
  let [records, revisions] = [0, 0];
  for (const { partition, from, to, isFromStart } of stretches) {
    const input = { topic: 'user-actions', partition };
    const keeps = users?.isAbout.bind(users);
    const log = inputLog({ source: options.log, input, end: to, keeps });
    const own = { ...options, log, partition, folder: join(folder, `partition-${partition}`) };
    const replay = await PartitionReplay.open(own);
    try {
      const course = await courseOf(options.log, config.appId, input);
      if (isFromStart && !course.isSeeded) await replay.begin(from);
      else {
        await seedBefore(replay, from, { ...own, course, commitSpan: config.commit.maxRecords });
        while ((await replay.step({ to: from, emit: NEVER })).records > 0);
      }
      while (!signal.aborted) {
        const step = await replay.step({ to, maxRecords: STEP_RECORDS, emit: NEVER });
        gaps.push(...step.gaps.slice(0, MAX_GAPS - gaps.length).map((gap) => ({ partition, ...gap })));
        if (step.records === 0) break;
        addCounts(counts, step.counts);
        records += step.records;
        revisions += step.changed.size;
        onProgress({ partition, records, left: to - step.next });
      }
    } finally {
      await replay.discard();
    }
    if (signal.aborted) break;
  }
  return { records, counts, revisions, gaps, complete: !signal.aborted };
}
