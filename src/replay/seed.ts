/**
 * Users as they were before a place in the middle of the log, from the newest features before it. What the features do
 * not tell is taken from the input: between a user's version and that place there may be records of a commit that ended
 * behind it, so the replay begins one commit earlier. The reducer passes over what a user has consumed already.
 */
import type { Log } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { records } from '../log/newest.ts';
import { layoutOf } from '../../state/layout.ts';
import { StateCodec } from '../../state/state-codec.ts';
import type { Config } from '../base/config.ts';
import type { SequenceFeaturesRecord } from '../../topics/records.ts';
import { supersededBy, type Course } from './course.ts';
import type { PartitionReplay } from './partition-replay.ts';
import type { GoneUser, SeededUser } from './seeded-user.ts';

export interface SeedOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly config: Config;
  /** Of the application whose features are read. */
  readonly course: Course;
  readonly partition: number;
  /** Offsets of input that one commit spans at the most. */
  readonly commitSpan: number;
}

const ENTRIES_AT_A_TIME = 1_000;

/**
 * Seeds the replay and begins it, so that each user of whom features from before `start` are retained stands at its
 * newest version before it once the replay has come there. Who has none is unknown until it acts again.
 *
 * @returns Where the replay begins to read.
 */
export async function seedBefore(replay: PartitionReplay, start: number, options: SeedOptions): Promise<number> {
  const { log, codec, config, course, partition, commitSpan } = options;
  const inputStart = await log.startOffset(replay.input);
  const begin = Math.max(inputStart, course.inputStart, start - commitSpan);
  const at = { topic: 'sequence-features', partition };
  const stateCodec = new StateCodec(layoutOf(config));
  let entries = new Map<string, SeededUser | GoneUser>();
  let isBefore = true;
  let later = 0;
  // From the first offset on nothing was emitted before.
  const end = start === 0 && !course.isSeeded ? 0 : await log.endOffset(at);
  const first = Math.max(course.featuresStart, await log.startOffset(at));
  for await (const { offset, key, value, headers } of records(log, at, first, end)) {
    if (value === null) {
      // In the commit that `start` divides it may tell of an erase behind `start`; an earlier one is read again.
      if (isBefore) entries.set(key!.toString(), { userId: key!.toString(), state: null });
    } else {
      await codec.learn([{ value, headers }]);
      const record = codec.decode<SequenceFeaturesRecord>('sequence-features-value', value, headers);
      // What was made anew since stands behind it.
      if ((supersededBy(course, { offset, version: record.version })?.offset ?? Infinity) < start) continue;
      if (record.version >= start) isBefore = false;
      else entries.set(record.userId, { state: stateCodec.fromRecord(record), itemVersion: record.itemVersion });
      later = record.version >= start + commitSpan ? later + 1 : 0;
      if (later > ENTRIES_AT_A_TIME) break;
    }
    if (entries.size < ENTRIES_AT_A_TIME) continue;
    await replay.seed(entries.values());
    entries = new Map();
  }
  await replay.seed(entries.values());
  await replay.begin(begin, course.activation);
  return begin;
}
