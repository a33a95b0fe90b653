/**
 * What a task commits beside its input offset. It says where the outputs ended, so that a later start knows what to
 * restore and notices what was cut; which item vectors are in force; and how many records had which outcome.
 */
import { z } from 'zod';
import { FreshetError, type Position } from '../base/errors.ts';

const count = z.number().int().nonnegative();
/** Resets that are remembered: they share 4 KB with the rest. */
export const MAX_RESETS = 16;

const activation = z
  .object({ version: z.string(), rowCount: count, contentHash: z.string(), space: z.string() })
  .nullable();

export const commitMetadata = z.object({
  /** End offsets (exclusive) of the task's partitions of the output topics. */
  featuresEnd: count,
  historyEnd: count,
  rejectedEnd: count,
  /** First offset of the features when the task began to write them: what stood there since is the recovery log. */
  featuresStart: count.default(0),
  /** The activation in force at the offset; null before any. */
  activation,
  /** Hash of the state layout the task writes. */
  layout: z.string(),
  /** When, by the clock of the task, milliseconds since the epoch: for people, and part of no record. */
  committedAtMs: count.optional(),
  /** Input records since the beginning, by outcome. */
  counts: z.record(z.string(), count),
  /** Absent in an application that was never set back. */
  generation: z
    .object({
      /** How often it was set back. */
      number: count,
      /** The last times, newest last: the input offset it went back to, and where its features ended then. */
      resets: z.array(z.object({ offset: count, featuresEnd: count })).max(MAX_RESETS),
    })
    .optional(),
  /** The application whose state it began with, where its own input does not hold what led to it, and its activation then. */
  seededFrom: z.object({ appId: z.string(), activation }).optional(),
  /** First input offset that it took itself, where its users of before were converted from another application's. */
  inputStart: count.optional(),
  /** There while a tool writes another state over the one that is committed: no task may go on from it. */
  unfinished: z.enum(['reset', 'migrate']).optional(),
  /** The application that has taken over the topics: no task of this one may go on in them. */
  movedTo: z.string().optional(),
});

export type CommitMetadata = Readonly<z.infer<typeof commitMetadata>>;

export const encodeMetadata = (metadata: CommitMetadata): string => JSON.stringify(metadata);

export function decodeMetadata(text: string, position: Position): CommitMetadata {
  try {
    return commitMetadata.parse(JSON.parse(text));
  } catch (cause) {
    throw new FreshetError('LOG_FORMAT', 'the committed metadata cannot be read', { position, cause });
  }
}
