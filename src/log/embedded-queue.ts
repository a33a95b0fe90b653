/** Jobs that run one after the other, in the order in which they came. */
import { invariant } from '../base/errors.ts';

/** A caller that does not wait for its writes would otherwise fill the memory with them. */
const MAX_WAITING = 1_024;

export class SerialQueue {
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** Settles as `job` does; a job that fails does not keep the next one from running. */
  run<T>(job: () => Promise<T>): Promise<T> {
    invariant(this.#waiting < MAX_WAITING, `more than ${MAX_WAITING} writes wait for their turn`);
    this.#waiting += 1;
    const result = this.#last.then(job).finally(() => {
      this.#waiting -= 1;
    });
    // The caller gets the error; here it would only be reported a second time, as unhandled.
    this.#last = result.catch(() => undefined);
    return result;
  }
  /** Resolves when every job accepted so far is done. */
  async idle(): Promise<void> {
    await this.#last;
  }
}
