/** Callers that wait until something in memory has changed. */
import { invariant } from '../base/errors.ts';

/** Two tasks a partition wait at most. */
const MAX_WAITERS = 32_768;

interface Waiter {
  readonly arrived: () => boolean;
  readonly resolve: () => void;
}

export class Waiters {
  readonly #waiters = new Set<Waiter>();

  /** Resolves when `arrived` holds, now or at a wake-up, after the time-out, or on the signal. */
  async wait(arrived: () => boolean, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    if (arrived() || signal?.aborted === true) return;
    invariant(this.#waiters.size < MAX_WAITERS, `more than ${MAX_WAITERS} callers wait for records`);
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiter: Waiter = { arrived, resolve };
    const timer = setTimeout(resolve, timeoutMs);
    signal?.addEventListener('abort', waiter.resolve);
    this.#waiters.add(waiter);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      // One signal may serve a whole run: what is left on it would pile up.
      signal?.removeEventListener('abort', waiter.resolve);
      this.#waiters.delete(waiter);
    }
  }

  wake(): void {
    for (const { arrived, resolve } of this.#waiters) if (arrived()) resolve();
  }
}
