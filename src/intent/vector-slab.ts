/** Room for int8 vectors, many to an array: an array of its own costs each vector of 48 bytes another 480. */

/** Few enough that a vector which outlives its neighbours does not keep much alive. */
const VECTORS_PER_SLAB = 16;

export class VectorSlab {
  #slab = new Int8Array(0);
  #used = 0;

  /** A copy of `vector` (int8 [D]) that shares its array with others. */
  copy(vector: Uint8Array): Int8Array {
    if (this.#used + vector.length > this.#slab.length) {
      this.#slab = new Int8Array(VECTORS_PER_SLAB * vector.length);
      this.#used = 0;
    }
    const values = this.#slab.subarray(this.#used, this.#used + vector.length);
    values.set(vector);
    this.#used += vector.length;
    return values;
  }
}
