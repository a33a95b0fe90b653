/**
 * Keeps the stores of partitions that others serve near what is committed, so that taking one over reads little. A
 * standby fences nobody and commits nothing: it reads what is committed, restores up to there, and does so again and again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { FreshetError } from '../base/errors.ts';
import { isRetryable } from '../task/retry.ts';
import type { Deployment } from './deployment.ts';
import { Permits } from './permits.ts';
import { StandbyStores } from './standby-stores.ts';

export interface StandbyOptions {
  readonly deployment: Deployment;
  /** Between two looks at what is committed. */
  readonly intervalMs?: number;
}

const INTERVAL_MS = 5_000;
/** They pass, or the task that takes over is the one to tell of them. */
const QUIET: ReadonlySet<string> = new Set(['DATA_DIR_IN_USE', 'STORE_DAMAGED']);

interface Kept {
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

export class Standby {
  private readonly options: StandbyOptions;
  /** One restore at a time bounds memory, and leaves the tasks of this worker their share of the machine. */
  private readonly restores = new Permits(1);
  private readonly kept = new Map<number, Kept>();

  constructor(options: StandbyOptions) {
    this.options = options;
  }

  /** Begins to follow a partition; nothing if it is followed already. Its stores must be free. */
  keep(partition: number): void {
    if (this.kept.has(partition)) return;
    const stop = new AbortController();
    this.kept.set(partition, { stop, ended: this.follow(partition, stop.signal) });
  }

  /** Lets go of a partition; resolves when its stores are free. */
  async release(partition: number): Promise<void> {
    const kept = this.kept.get(partition);
    kept?.stop.abort();
    await kept?.ended;
    if (this.kept.get(partition) === kept) this.kept.delete(partition);
  }

  async close(): Promise<void> {
    await Promise.all([...this.kept.keys()].map((partition) => this.release(partition)));
  }

  /** Never fails: without a standby the takeover takes longer, and that is all. */
  private async follow(partition: number, signal: AbortSignal): Promise<void> {
    const { deployment, intervalMs = INTERVAL_MS } = this.options;
    const stores = new StandbyStores(deployment, partition);
    try {
      while (!signal.aborted) {
        await this.restores.use(() => this.catchUp(stores, signal), signal);
        await sleep(intervalMs, undefined, { signal });
      }
    } catch (error) {
      if (!signal.aborted) deployment.logger.warn({ err: error, partition }, 'the partition has no standby any more');
    } finally {
      await stores.close().catch((error: unknown) => {
        deployment.logger.warn({ err: error, partition }, 'a standby could not be closed');
      });
    }
  }

  private async catchUp(stores: StandbyStores, signal: AbortSignal): Promise<void> {
    try {
      await stores.catchUp(signal);
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error;
      const { code, detail } = error;
      if (!QUIET.has(code) && !isRetryable(error)) throw error;
      const { partition } = stores;
      this.options.deployment.logger.info({ code, partition, detail }, 'a standby waits');
      await stores.close();
    }
  }
}
