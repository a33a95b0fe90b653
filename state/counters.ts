/** Decayed counts by action type and half-life, as of one moment. */
import { compareUtf8, type Action } from './action.ts';
import { decay } from './decay.ts';

export class Counters {
  /** In order of their bytes. */
  private readonly types: string[];
  /** For each type one count a half-life. */
  private readonly counts: number[];
  private readonly halfLivesMs: readonly number[];
  private atMs: number | null;

  constructor(
    halfLivesMs: readonly number[],
    start: {
      readonly counterTypes: readonly string[];
      readonly counters: readonly number[];
      readonly atMs: number | null;
    },
  ) {
    this.halfLivesMs = halfLivesMs;
    this.types = [...start.counterTypes];
    this.counts = [...start.counters];
    this.atMs = start.atMs;
  }

  /** Counts actions, oldest first. */
  add(actions: readonly Action[]): void {
    for (const action of actions) {
      this.decayTo(action.eventTimeMs);
      const at = this.slot(action.actionType);
      for (let index = 0; index < this.halfLivesMs.length; index += 1) this.counts[at + index]! += 1;
    }
  }

  /** Counts actions seen from `atMs` on, each by its own age: cheaper than moving all counts through every action. */
  addAsOf(actions: readonly Action[], atMs: number): void {
    this.decayTo(atMs);
    const { counts, halfLivesMs } = this;
    const width = halfLivesMs.length;
    for (let place = 0; place < actions.length; place += 1) {
      const action = actions[place]!;
      const ageMs = atMs - action.eventTimeMs;
      const at = this.slot(action.actionType);
      for (let index = 0; index < width; index += 1) counts[at + index]! += decay(ageMs, halfLivesMs[index]!);
    }
  }

  get counterTypes(): string[] {
    return this.types;
  }

  get counters(): number[] {
    return this.counts;
  }

  private decayTo(timeMs: number): void {
    if (this.atMs !== null && timeMs > this.atMs) {
      const width = this.halfLivesMs.length;
      for (let index = 0; index < width; index += 1) {
        const factor = decay(timeMs - this.atMs, this.halfLivesMs[index]!);
        for (let at = index; at < this.counts.length; at += width) this.counts[at]! *= factor;
      }
    }
    this.atMs = timeMs;
  }

  private slot(actionType: string): number {
    const width = this.halfLivesMs.length;
    const known = this.types.indexOf(actionType);
    if (known >= 0) return known * width;
    let index = 0;
    while (index < this.types.length && compareUtf8(this.types[index]!, actionType) < 0) index += 1;
    this.types.splice(index, 0, actionType);
    this.counts.splice(index * width, 0, ...this.halfLivesMs.map(() => 0));
    return index * width;
  }
}
