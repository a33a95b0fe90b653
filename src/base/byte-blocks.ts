/**
 * Bytes that are made for one piece of work and are all done with at its end, in blocks that the next one uses again.
 * Thousands of buffers of their own keep V8's collector busy: it runs whenever so many bytes outside its heap are new.
 */
const BLOCK_BYTES = 256 * 1024;
/** Blocks kept for later use, of all in a thread: 8 MB. */
const MAX_FREE = 32;

const free: Buffer[] = [];

export class ByteBlocks {
  private blocks: Buffer[] = [];
  private used = 0;

  /** A copy of the bytes from `start` to `end`, a view into a block. */
  copy(source: Uint8Array, start: number, end: number): Buffer {
    const bytes = end - start;
    const copy = this.take(bytes);
    copy.set(start === 0 && bytes === source.length ? source : source.subarray(start, end));
    return copy;
  }

  /** To be called when nobody holds a view any more; what is never released is left to the collector. */
  release(): void {
    for (const block of this.blocks) if (free.length < MAX_FREE) free.push(block);
    this.blocks = [];
  }

  private take(bytes: number): Buffer {
    if (bytes > BLOCK_BYTES) return Buffer.allocUnsafeSlow(bytes);
    if (this.blocks.length === 0 || this.used + bytes > BLOCK_BYTES) {
      this.blocks.push(free.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES));
      this.used = 0;
    }
    const start = this.used;
    this.used += bytes;
    return this.blocks.at(-1)!.subarray(start, this.used);
  }
}
