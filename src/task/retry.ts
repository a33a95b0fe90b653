/** Which errors pass by themselves: the same work, done again later, may succeed, and nothing was lost meanwhile. */
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
