/** Runs asynchronous work one piece after the other, in the order of the calls. */
import { invariant } from '../src/base/errors.ts';

const MAX_WAITING = 1_024;

export class TurnQueue {
  #last: Promise<void> = Promise.resolve();
  #waiting = 0;

  /** The result of `work`, run once all earlier work has settled. @throws INTERNAL past 1,024 waiting calls. */
  async take<T>(work: () => Promise<T>): Promise<T> {
    invariant(this.#waiting < MAX_WAITING, `more than ${MAX_WAITING} calls wait for the store`);
    this.#waiting += 1;
    const turn = this.#last.then(work);
    const settled = (): void => {
      this.#waiting -= 1;
    };
    this.#last = turn.then(settled, settled);
    return turn;
  }
}
