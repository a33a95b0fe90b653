/**
 * The account of what the store holds: the number of entries and the sum of their checksums. A commit changes it by
 * what it replaces, so the ledger remembers the checksums of recent keys and has the others read.
 */
import { LRUCache } from 'lru-cache';

/** What is remembered of a key that the store does not hold; checksums are never negative. */
const ABSENT = -1;

export class Ledger {
  #count: number;
  #digest: bigint;
  readonly #checksums: LRUCache<string, number>;

  /** @param rememberedKeys - limit of the cache, about 100 bytes a key. */
  constructor(count: number, digest: bigint, rememberedKeys: number) {
    this.#count = count;
    this.#digest = digest;
    this.#checksums = new LRUCache({ max: rememberedKeys });
  }

  get count(): number {
    return this.#count;
  }

  get digest(): bigint {
    return this.#digest;
  }

  /** Remembers what a read found: the entry's checksum, or undefined where there is no entry. */
  remember(name: string, sum: number | undefined): void {
    this.#checksums.set(name, sum ?? ABSENT);
  }

  /** The checksum of an entry, null where there is none; undefined if it is not remembered. */
  recall(name: string): number | null | undefined {
    const sum = this.#checksums.get(name);
    return sum === ABSENT ? null : sum;
  }

  /** Enters that `previous` was replaced by `next`; null stands for no entry. */
  replace(name: string, previous: number | null, next: number | null): void {
    this.#count += Number(next !== null) - Number(previous !== null);
    this.#digest = BigInt.asUintN(64, this.#digest + BigInt((next ?? 0) - (previous ?? 0)));
    this.#checksums.set(name, next ?? ABSENT);
  }
}
