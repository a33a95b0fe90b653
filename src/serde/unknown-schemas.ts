/**
 * Ids that the registry says it does not know. A record is rejected for such an id, so it must be certain: a producer
 * may have been faster than the registry's replicas. The registry is asked again and again, and believed once its
 * answers have been the same for `unknownAfterMs`; a failure in between starts the time anew.
 */
import { LRUCache } from 'lru-cache';
import type { SchemaRef } from './frame.ts';

/** A read has at most some thousands of records; a producer that invents an id a record costs 10 MB here. */
const MAX_IDS = 100_000;
/** How long one "no" is believed before the registry is asked again. */
const ASK_AGAIN_MS = 5_000;

export interface Clock {
  /** Milliseconds since any moment. */
  now(): number;
}

interface Denial {
  readonly firstMs: number;
  readonly lastMs: number;
}

export class UnknownSchemas {
  readonly #unknownAfterMs: number;
  readonly #clock: Clock;
  readonly #denials = new LRUCache<SchemaRef, Denial>({ max: MAX_IDS });

  constructor(unknownAfterMs: number, clock: Clock) {
    this.#unknownAfterMs = unknownAfterMs;
    this.#clock = clock;
  }

  /** Whether the registry has said so just now and need not be asked. */
  isFresh(ref: SchemaRef): boolean {
    const denial = this.#denials.get(ref);
    return denial !== undefined && this.#clock.now() - denial.lastMs < ASK_AGAIN_MS;
  }

  /** Whether the registry has said so for long enough. */
  isCertain(ref: SchemaRef): boolean {
    const denial = this.#denials.get(ref);
    return denial !== undefined && denial.lastMs - denial.firstMs >= this.#unknownAfterMs;
  }

  /** The registry has said so. */
  add(ref: SchemaRef): void {
    const nowMs = this.#clock.now();
    this.#denials.set(ref, { firstMs: this.#denials.get(ref)?.firstMs ?? nowMs, lastMs: nowMs });
  }

  delete(ref: SchemaRef): void {
    this.#denials.delete(ref);
  }

  /** The registry has failed: what it said before may have been said while it was still loading. */
  clear(): void {
    this.#denials.clear();
  }
}
