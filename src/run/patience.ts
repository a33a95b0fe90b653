/** Work that is done again, after longer and longer waits, while what fails it passes by itself. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { FreshetError, type ErrorCode } from '../base/errors.ts';
import { isRetryable } from '../task/retry.ts';

export interface Patience {
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** Who waits, in each log line. */
  readonly who: object;
  /** Whether another error passes than those of the log and the registry; `waitedMs` since the first try. */
  readonly passes?: (code: ErrorCode, waitedMs: number) => boolean;
  readonly onWait?: (error: FreshetError) => void;
  readonly onResume?: () => void;
}

const FIRST_WAIT_MS = 100;
const MAX_WAIT_MS = 5_000;

/** Rejects with what does not pass, or with the signal's reason. */
export async function patiently<T>(work: () => Promise<T>, patience: Patience): Promise<T> {
  const { signal, logger, who, passes, onWait, onResume } = patience;
  const startedMs = performance.now();
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(MAX_WAIT_MS, 2 * waitMs)) {
    signal.throwIfAborted();
    try {
      const result = await work();
      if (waitMs > FIRST_WAIT_MS) {
        logger.info({ code: 'RESUMED', ...who }, 'goes on');
        onResume?.();
      }
      return result;
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error;
      const { code, detail } = error;
      if (!isRetryable(error) && passes?.(code, performance.now() - startedMs) !== true) throw error;
      logger.warn({ code, ...who, detail, waitMs }, 'waits');
      onWait?.(error);
      await sleep(waitMs, undefined, { signal });
    }
  }
}
