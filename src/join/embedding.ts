/**
 * What a record of `user-embeddings` is: a user's long-term vector, its removal, or nothing that can be used. Anyone may
 * write the topic, so nothing that stands in it stops the join.
 */
import { decodingRejection, ownerOf, type Cause, type JudgeOptions } from '../task/judge.ts';
import type { LogRecord } from '../log/log.ts';
import type { UserEmbeddingRecord } from '../../topics/records.ts';

/** Why a record was skipped; the counts of the join use these names. */
export type EmbeddingCause = Cause | 'empty_vector' | 'not_finite';

export type JudgedEmbedding =
  | { readonly kind: 'vector'; readonly userId: string; readonly embedding: UserEmbeddingRecord }
  | { readonly kind: 'removal'; readonly userId: string }
  | { readonly kind: 'bad'; readonly cause: EmbeddingCause };

export type EmbeddingRules = Pick<JudgeOptions, 'codec' | 'partition' | 'partitions' | 'maxIdBytes'>;

/** A function of the record's bytes and the rules. Fails with what is not the record's fault, e.g. the registry's. */
export function judgeEmbedding(record: LogRecord, rules: EmbeddingRules): JudgedEmbedding {
  const owner = ownerOf(record.key, rules);
  if ('cause' in owner) return { kind: 'bad', cause: owner.cause };
  const { userId } = owner;
  if (record.value === null) return { kind: 'removal', userId };
  let embedding: UserEmbeddingRecord;
  try {
    embedding = rules.codec.decode<UserEmbeddingRecord>('user-embeddings-value', record.value, record.headers);
  } catch (error) {
    return { kind: 'bad', cause: decodingRejection(error).cause };
  }
  if (embedding.userId !== userId) return { kind: 'bad', cause: 'wrong_key' };
  if (embedding.vector.length === 0) return { kind: 'bad', cause: 'empty_vector' };
  if (!embedding.vector.every(Number.isFinite)) return { kind: 'bad', cause: 'not_finite' };
  return { kind: 'vector', userId, embedding };
}
