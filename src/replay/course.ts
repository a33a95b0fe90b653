/**
 * The course of an application in one partition: what of its features it has made itself from its input, and what was
 * written over them by a tool that moved its state.
 */
import type { Log, TopicPartition } from '../log/log.ts';
import { decodeMetadata, type CommitMetadata } from '../task/commit-metadata.ts';
import type { Recorded } from './recorded.ts';

export interface Course {
  /** Input offset that is committed; undefined: nothing is. */
  readonly committed: number | undefined;
  /** Hash of the state layout; undefined where nothing is committed. */
  readonly layout: string | undefined;
  /** First offset of its features: what stands before is another application's. */
  readonly featuresStart: number;
  /** First input offset that it took itself; users of before were converted from another application's. */
  readonly inputStart: number;
  /** Whether its input does not hold what its first users were made of. */
  readonly isSeeded: boolean;
  /** In force before its own input tells. */
  readonly activation: CommitMetadata['activation'];
  /** Oldest first: the input offset gone back to, and where the features ended then. */
  readonly resets: readonly { readonly offset: number; readonly featuresEnd: number }[];
}

export async function courseOf(log: Pick<Log, 'committed'>, appId: string, input: TopicPartition): Promise<Course> {
  const committed = await log.committed(appId, input);
  const metadata = committed && decodeMetadata(committed.metadata, input);
  return {
    committed: committed?.offset,
    layout: metadata?.layout,
    featuresStart: metadata?.featuresStart ?? 0,
    inputStart: metadata?.inputStart ?? 0,
    isSeeded: metadata?.seededFrom !== undefined,
    activation: metadata?.seededFrom?.activation ?? null,
    resets: metadata?.generation?.resets ?? [],
  };
}

type Placed = Pick<Recorded, 'offset' | 'version'>;

/** Whether the record's user was another application's at its version. */
export const isConverted = ({ inputStart }: Course, { version }: Placed): boolean => version < inputStart;

/** The reset that went back behind what the record tells. */
export const supersededBy = ({ resets }: Course, { offset, version }: Placed): Course['resets'][number] | undefined =>
  resets.find((reset) => offset < reset.featuresEnd && version >= reset.offset);

/** Whether a reset has written the record, as its user was then: in no order. */
export function isRewritten({ resets }: Course, { offset, version }: Placed): boolean {
  const last = resets.findLast(({ featuresEnd }) => featuresEnd <= offset);
  return last !== undefined && version < last.offset;
}
