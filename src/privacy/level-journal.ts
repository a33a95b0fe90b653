/**
 * LevelDB's write-ahead log read without LevelDB. It is made of blocks of 32 KiB; a record is one fragment, or the first,
 * middle and last ones of as many blocks. A record is one batch: a sequence number, a count, then puts and deletes.
 */
import { BlockCursor } from '../../state/store-block.ts';
import type { TableEntry } from './level-table.ts';

const BLOCK_BYTES = 32_768;
/** CRC (4), length (2), type (1). */
const FRAGMENT_HEADER_BYTES = 7;
const [FULL, FIRST, LAST] = [1, 2, 4];
const BATCH_HEADER_BYTES = 12;
const PUT = 1;

/** In the order in which they were written. A last batch that is cut off was never committed, and gives what it has. */
export function* journalEntries(journal: Buffer): Generator<TableEntry> {
  for (const batch of batches(journal)) {
    const cursor = new BlockCursor(batch, BATCH_HEADER_BYTES);
    while (cursor.at < batch.length) {
      const isPut = cursor.take(1)[0] === PUT;
      const key = cursor.take(cursor.varint());
      yield { key, value: isPut ? cursor.take(cursor.varint()) : Buffer.alloc(0) };
    }
  }
}

function* batches(journal: Buffer): Generator<Buffer> {
  let fragments: Buffer[] = [];
  for (let at = 0; at + FRAGMENT_HEADER_BYTES <= journal.length;) {
    const restOfBlock = BLOCK_BYTES - (at % BLOCK_BYTES);
    // Too short for a fragment: filled with zeros.
    if (restOfBlock < FRAGMENT_HEADER_BYTES) {
      at += restOfBlock;
      continue;
    }
    const length = journal.readUInt16LE(at + 4);
    const type = journal[at + 6]!;
    if (type === FULL || type === FIRST) fragments = [];
    fragments.push(journal.subarray(at + FRAGMENT_HEADER_BYTES, at + FRAGMENT_HEADER_BYTES + length));
    if (type === FULL || type === LAST) {
      yield Buffer.concat(fragments);
      fragments = [];
    }
    at += FRAGMENT_HEADER_BYTES + length;
  }
  if (fragments.length > 0) yield Buffer.concat(fragments);
}
