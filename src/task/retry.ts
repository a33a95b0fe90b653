/** Which errors pass by themselves, and which may be none: the work is done again, and nothing was lost meanwhile. */
import { FreshetError, type ErrorCode } from '../base/errors.ts';

const RETRYABLE: ReadonlySet<ErrorCode> = new Set([
  'LOG_UNAVAILABLE',
  'COMMIT_UNKNOWN',
  'REGISTRY_UNAVAILABLE',
  'SCHEMA_PENDING',
]);

/** True: call the task's `start` or `step` again after a while. Everything else needs a person, or is FENCED. */
export const isRetryable = (error: unknown): error is FreshetError =>
  error instanceof FreshetError && RETRYABLE.has(error.code);

const CONTRADICTIONS: ReadonlySet<ErrorCode> = new Set([
  'FEATURES_ORPHANED',
  'OUTPUT_TRUNCATED',
  'OFFSET_OUT_OF_RANGE',
  'INPUT_RECREATED',
]);

/**
 * What a person has to mend, unless the process had slept since it read what was committed, and another owner has gone on:
 * that is known once it is read again, by a writer that fences anew.
 */
export const contradictsLog = (error: unknown): boolean =>
  error instanceof FreshetError && CONTRADICTIONS.has(error.code);
