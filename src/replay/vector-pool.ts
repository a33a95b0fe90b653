/**
 * Vectors of one length that come and go in great numbers: in blocks of memory, since each array of its own costs the
 * collector more than its numbers.
 */
export class VectorPool {
  private readonly length: number;
  private readonly free: Float32Array[] = [];
  /** Given back, and maybe still read in the step at hand. */
  private resting: Float32Array[] = [];

  constructor(length: number) {
    this.length = length;
  }

  copy(vector: Float32Array): Float32Array {
    if (this.free.length === 0) this.grow();
    const copy = this.free.pop()!;
    copy.set(vector);
    return copy;
  }

  /** It may be read until `reuse` is called. */
  giveBack(vector: Float32Array): void {
    this.resting.push(vector);
  }

  reuse(): void {
    for (const vector of this.resting) this.free.push(vector);
    this.resting = [];
  }

  private grow(): void {
    const block = new Float32Array(BLOCK_VECTORS * this.length);
    for (let at = 0; at < block.length; at += this.length) this.free.push(block.subarray(at, at + this.length));
  }
}

const BLOCK_VECTORS = 1_024;
