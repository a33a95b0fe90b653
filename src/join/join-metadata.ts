/** What a join commits beside its two input offsets: where its output ended, and how many records had which outcome. */
import { z } from 'zod';
import { FreshetError, type Position } from '../base/errors.ts';

const count = z.number().int().nonnegative();

const schema = z.object({
  /** End offset (exclusive) of the task's partition of `ranking-features`. */
  rankingEnd: count,
  /** First offset of that partition when the join began to write it: what stood there since is the recovery log. */
  rankingStart: count.default(0),
  /** Hash of the state layout: the records show the newest K of it. */
  layout: z.string(),
  /** When, by the clock of the task, milliseconds since the epoch: for people, and part of no record. */
  committedAtMs: count.optional(),
  /** Input records since the beginning by what became of them, and output records as `ranked` and `removed`. */
  counts: z.record(z.string(), count),
  /** The application that has taken over the topics: no task of this one may go on in them. */
  movedTo: z.string().optional(),
});

export type JoinMetadata = Readonly<z.infer<typeof schema>>;

export const encodeJoinMetadata = (metadata: JoinMetadata): string => JSON.stringify(metadata);

export function decodeJoinMetadata(text: string, position: Position): JoinMetadata {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new FreshetError('LOG_FORMAT', 'the committed metadata of the join cannot be read', { position, cause });
  }
}
