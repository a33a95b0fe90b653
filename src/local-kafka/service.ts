/** A process that answers on a port, is stopped and started again on the same data, killed and paused. */
import type { FreshetError } from '../base/errors.ts';
import type { GuardedProcess } from './guarded-process.ts';
import { ended, untilReady } from './readiness.ts';

const STOP_GRACE_MS = 30_000;

export abstract class Service {
  /** Called when the process has ended and nobody asked it to. */
  onFailure: (error: FreshetError) => void = () => undefined;
  #process: GuardedProcess | undefined;
  #expectedToEnd = false;

  protected abstract readonly name: string;
  protected abstract launch(): GuardedProcess;
  protected abstract answers(): Promise<boolean>;

  /** Undefined while it is not running. */
  get pid(): number | undefined {
    return this.#process?.running === true ? this.#process.pid : undefined;
  }

  /** Resolves when it answers; when it fails to, nothing is left running. */
  async start(signal?: AbortSignal): Promise<void> {
    if (this.pid !== undefined) return;
    const process = this.launch();
    this.#process = process;
    this.#expectedToEnd = true;
    try {
      await untilReady(this.name, process, () => this.answers(), signal);
    } catch (error) {
      await process.kill();
      throw error;
    }
    this.#expectedToEnd = false;
    void process.exited.then(() => {
      if (process === this.#process && !this.#expectedToEnd) this.onFailure(ended(this.name, process));
    });
  }

  async stop(): Promise<void> {
    this.#expectedToEnd = true;
    await this.#process?.stop(STOP_GRACE_MS);
  }

  /** As a power failure would; the system's page cache survives. */
  async kill(): Promise<void> {
    this.#expectedToEnd = true;
    await this.#process?.kill();
  }

  pause(): void {
    this.#process?.pause();
  }

  resume(): void {
    this.#process?.resume();
  }
}
