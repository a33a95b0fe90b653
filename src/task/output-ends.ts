/** Where the partitions that a task writes end with the commit that is being sent. */
import { FreshetError } from '../base/errors.ts';
import { partitionName, type NewRecord, type TopicPartition } from '../log/log.ts';

/** The end of a partition after a commit, given the one before it. */
export type OutputEnd = (at: TopicPartition, before: number) => number;

/**
 * A commit that writes nothing to a partition leaves its end as it was. Fails with OUTPUT_TRUNCATED where the records do
 * not stand behind that end: the topic was made again since, and what is to be restored from it is gone, so nothing may
 * go on in it.
 *
 * @param ends - of the partitions that `outputs` are written to, by name.
 */
export function outputEnds(outputs: readonly NewRecord[], ends: ReadonlyMap<string, number>): OutputEnd {
  const written = new Map<string, number>();
  for (const { topic } of outputs) written.set(topic, (written.get(topic) ?? 0) + 1);
  return (at, before) => {
    const end = ends.get(partitionName(at)) ?? before;
    if (end - before >= (written.get(at.topic) ?? 0)) return end;
    throw new FreshetError('OUTPUT_TRUNCATED', `it ends at ${end}, committed was ${before}`, { position: at });
  };
}
