/**
 * LevelDB's table files, checked block by block before LevelDB reads them. classic-level offers neither paranoid checks
 * nor verified reads: a byte flipped in a filter or an index would lose keys silently, in reads only, and one in a
 * block's length could end the process. The store writes uncompressed tables, so that this check needs no decoder.
 *
 * A table: data blocks, filter, metaindex, index, footer; each block is followed by its type and its masked CRC-32C.
 */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32c } from '../src/base/crc32c.ts';
import { BlockCursor, FOOTER_BYTES, MAGIC, TRAILER_BYTES, type BlockHandle } from './store-block.ts';

/** A table is about as large as the write buffer, or one commit where that is larger: far below this. */
const MAX_TABLE_BYTES = 512 * 1024 * 1024;

/** The first damage found in the table files among `names`, in words; undefined if every block is whole. */
export async function findTableDamage(folder: string, names: readonly string[]): Promise<string | undefined> {
  for (const name of names.filter((file) => /^\d+\.(?:ldb|sst)$/.test(file))) {
    const path = join(folder, name);
    if ((await stat(path)).size > MAX_TABLE_BYTES) return `${name} is larger than any table`;
    const damage = tableDamage(await readFile(path));
    if (damage !== undefined) return `${name}: ${damage}`;
  }
  return undefined;
}

/**
 * What is damaged in a table; undefined if nothing is, and also if there is no end of a table in the file. Such a file
 * is either one that a killed process left unfinished, which nothing refers to, or one that LevelDB refuses to read,
 * which the scan after opening then meets.
 */
export function tableDamage(table: Buffer): string | undefined {
  // Not only at the file's end: LevelDB knows where a table ends, and reads one that something was appended to.
  const magicAt = table.lastIndexOf(MAGIC);
  if (magicAt < 0) return undefined;
  if (magicAt + MAGIC.length < table.length) return 'bytes follow its end';
  if (table.length < FOOTER_BYTES) return 'its footer is cut';
  try {
    const footer = new BlockCursor(table, table.length - FOOTER_BYTES);
    const metaindex = checkedBlock(table, footer.handle());
    const index = checkedBlock(table, footer.handle());
    let covered = FOOTER_BYTES + metaindex.length + index.length + 2 * TRAILER_BYTES;
    for (const handle of [...handlesOf(metaindex), ...handlesOf(index)]) {
      covered += checkedBlock(table, handle).length + TRAILER_BYTES;
    }
    return covered === table.length ? undefined : 'its blocks do not cover it';
  } catch (error) {
    if (error instanceof RangeError) return error.message;
    throw error;
  }
}

/** The bytes of a block. Throws a RangeError if they are not within the table or do not match their checksum. */
function checkedBlock(table: Buffer, { offset, size }: BlockHandle): Buffer {
  const end = offset + size;
  if (end + TRAILER_BYTES > table.length) throw new RangeError(`the block at ${offset} ends after the file`);
  if (maskCrc(crc32c(table, offset, end + 1)) !== table.readUInt32LE(end + 1)) {
    throw new RangeError(`the block at ${offset} does not match its checksum`);
  }
  if (table[end] !== 0) throw new RangeError(`the block at ${offset} is compressed`);
  return table.subarray(offset, end);
}

/** The handles that the entries of an index block hold: lengths (shared, own, value), the key's own bytes, the value. */
function* handlesOf(block: Buffer): Generator<BlockHandle> {
  const restarts = block.readUInt32LE(block.length - 4);
  const end = block.length - 4 - 4 * restarts;
  const cursor = new BlockCursor(block, 0);
  while (cursor.at < end) {
    cursor.varint();
    const keyBytes = cursor.varint();
    const valueBytes = cursor.varint();
    cursor.at += keyBytes;
    const next = cursor.at + valueBytes;
    yield cursor.handle();
    cursor.at = next;
  }
}

/** How LevelDB stores a CRC: rotated and shifted, as a CRC over bytes that hold their own CRC is degenerate. */
const maskCrc = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
