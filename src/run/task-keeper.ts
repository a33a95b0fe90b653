/**
 * Keeps one task of one partition running while the worker is to serve the partition, and none otherwise. A new task is
 * made only when the earlier one is closed, as both have the same store.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { TaskLoop, type LoopOptions, type LoopShared, type LoopTask } from './task-loop.ts';

export interface TaskKeeperOptions {
  readonly make: () => LoopTask;
  readonly shared: LoopShared;
  readonly onProgress: LoopOptions['onProgress'];
  /** After being fenced without a new assignment; doubled each time: two that think they own it must not fight. */
  readonly fencedMs: number;
  readonly maxFencedMs: number;
  readonly onError: (error: unknown) => void;
}

export class TaskKeeper {
  private readonly options: TaskKeeperOptions;
  private generation: number | null = null;
  private change = new AbortController();
  private newer = new AbortController();
  private live: Promise<void> | undefined;

  constructor(options: TaskKeeperOptions) {
    this.options = options;
  }

  /** The worker serves the partition, by an assignment of this generation. A task that runs goes on undisturbed. */
  serve(generation: number): void {
    if (this.generation === null) this.change = new AbortController();
    this.generation = generation;
    this.newer.abort();
    this.newer = new AbortController();
    this.live ??= this.keep()
      .catch(this.options.onError)
      .finally(() => {
        this.live = undefined;
      });
  }

  /** Whether there is no task, and its store is free. */
  get isReleased(): boolean {
    return this.live === undefined;
  }

  /** Closes the task, after the commit that is under way; resolves when its store is free. */
  async release(): Promise<void> {
    this.generation = null;
    this.change.abort();
    await this.live;
  }

  private async keep(): Promise<void> {
    let fenced = 0;
    while (this.generation !== null) {
      const { generation } = this;
      const loop = new TaskLoop({ ...this.options, task: this.options.make() });
      const end = await loop.run(this.change.signal);
      if (end === 'stopped') continue;
      fenced = this.generation === generation ? fenced + 1 : 0;
      await this.untilNewer(generation, fenced);
    }
  }

  /** Ends at an assignment of a later generation, at a release, or after the back-off. */
  private async untilNewer(generation: number, fenced: number): Promise<void> {
    if (this.generation !== generation) return;
    const { fencedMs, maxFencedMs } = this.options;
    const backOffMs = Math.min(maxFencedMs, fencedMs * 2 ** Math.min(fenced - 1, 20)) * (1 + Math.random() / 2);
    const signal = AbortSignal.any([this.change.signal, this.newer.signal]);
    await sleep(backOffMs, undefined, { signal }).catch(() => undefined);
  }
}
