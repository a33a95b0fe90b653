/** Decayed counts by action type and half-life, as of one moment. */
import { compareUtf8, type Action } from './action.ts';
import { decay } from './decay.ts';

/** Where counts are summed up: in an array of any numbers each sum would be an object on the heap. */
let sums = new Float64Array(256);

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
    const used = (): number => this.types.length * width;
    grow(used());
    for (let at = 0; at < counts.length; at += 1) sums[at] = counts[at]!;
    for (let place = 0; place < actions.length; place += 1) {
      const { actionType, eventTimeMs } = actions[place]!;
      let type = this.types.indexOf(actionType);
      if (type < 0) {
        type = this.enter(actionType);
        grow(used());
        sums.copyWithin((type + 1) * width, type * width, used() - width).fill(0, type * width, (type + 1) * width);
      }
      const at = type * width;
      for (let index = 0; index < width; index += 1)
        sums[at + index]! += decay(atMs - eventTimeMs, halfLivesMs[index]!);
    }
    for (let at = 0; at < used(); at += 1) counts[at] = sums[at]!;
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

  /** Where a type's counts begin. */
  private slot(actionType: string): number {
    const width = this.halfLivesMs.length;
    const known = this.types.indexOf(actionType);
    if (known >= 0) return known * width;
    const at = this.enter(actionType) * width;
    this.counts.splice(at, 0, ...this.halfLivesMs.map(() => 0));
    return at;
  }

  /** Puts a new type among the others, and returns its place. */
  private enter(actionType: string): number {
    let index = 0;
    while (index < this.types.length && compareUtf8(this.types[index]!, actionType) < 0) index += 1;
    this.types.splice(index, 0, actionType);
    return index;
  }
}

function grow(size: number): void {
  if (size <= sums.length) return;
  const larger = new Float64Array(size * 2);
  larger.set(sums);
  sums = larger;
}
