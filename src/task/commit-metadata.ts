/**
 * What a task commits beside its input offset. It says where the outputs ended, so that a later start knows what to
 * restore and notices what was cut; which item vectors are in force; and how many records had which outcome.
 */
import { z } from 'zod';
import { FreshetError, type Position } from '../base/errors.ts';

const count = z.number().int().nonnegative();

const schema = z.object({
  /** End offsets (exclusive) of the task's partitions of the output topics. */
  featuresEnd: count,
  historyEnd: count,
  rejectedEnd: count,
  /** First offset of the features when the task began to write them: what stood there since is the recovery log. */
  featuresStart: count.default(0),
  /** The activation in force at the offset; null before any. */
  activation: z.object({ version: z.string(), rowCount: count, contentHash: z.string(), space: z.string() }).nullable(),
  /** Hash of the state layout the task writes. */
  layout: z.string(),
  /** When, by the clock of the task, milliseconds since the epoch: for people, and part of no record. */
  committedAtMs: count.optional(),
  /** Input records since the beginning, by outcome. */
  counts: z.record(z.string(), count),
});

export type CommitMetadata = Readonly<z.infer<typeof schema>>;

export const encodeMetadata = (metadata: CommitMetadata): string => JSON.stringify(metadata);

export function decodeMetadata(text: string, position: Position): CommitMetadata {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new FreshetError('LOG_FORMAT', 'the committed metadata cannot be read', { position, cause });
  }
}
