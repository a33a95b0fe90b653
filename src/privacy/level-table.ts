/**
 * LevelDB's table files read without LevelDB: every entry that stands in one, also those that a newer one hides. A table
 * is data blocks, filter, metaindex, index and footer; a block is followed by its type, 0 plain or 1 snappy, and a CRC.
 */
import { snappyUncompress } from 'hyparquet';
import { BlockCursor, FOOTER_BYTES, MAGIC, TRAILER_BYTES, type BlockHandle } from '../../state/store-block.ts';

export interface TableEntry {
  /** Without LevelDB's sequence number and type. */
  readonly key: Buffer;
  /** Empty where the entry deletes its key. */
  readonly value: Buffer;
}

/** Sequence number and type behind each key. */
const KEY_SUFFIX_BYTES = 8;
const SNAPPY = 1;

/** In order of the keys. Nothing of a file that is no whole table: nothing refers to one. Throws RangeError on damage. */
export function* tableEntries(table: Buffer): Generator<TableEntry> {
  if (!table.subarray(-MAGIC.length).equals(MAGIC)) return;
  const footer = new BlockCursor(table, table.length - FOOTER_BYTES);
  footer.handle();
  for (const { value } of blockEntries(blockAt(table, footer.handle()))) {
    yield* blockEntries(blockAt(table, new BlockCursor(value, 0).handle()));
  }
}

function blockAt(table: Buffer, { offset, size }: BlockHandle): Buffer {
  if (offset + size + TRAILER_BYTES > table.length) throw new RangeError(`the block at ${offset} ends after the file`);
  const block = table.subarray(offset, offset + size);
  if (table[offset + size] !== SNAPPY) return block;
  const plain = Buffer.alloc(new BlockCursor(block, 0).varint());
  snappyUncompress(block, plain);
  return plain;
}

/** Of each entry: the bytes of its key shared with the one before, its own, those of the value; then both. */
function* blockEntries(block: Buffer): Generator<TableEntry> {
  const end = block.length - 4 - 4 * block.readUInt32LE(block.length - 4);
  const cursor = new BlockCursor(block, 0);
  let key = Buffer.alloc(0);
  while (cursor.at < end) {
    const [shared, own, valueBytes] = [cursor.varint(), cursor.varint(), cursor.varint()];
    key = Buffer.concat([key.subarray(0, shared), cursor.take(own)]);
    yield { key: key.subarray(0, -KEY_SUFFIX_BYTES), value: cursor.take(valueBytes) };
  }
}
