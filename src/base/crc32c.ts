/**
 * CRC-32C (Castagnoli), the checksum of LevelDB's blocks and of Kafka's record batches; zlib has only the other
 * polynomial. Eight tables, eight bytes a step, read as aligned words: bytewise it would take most of the time that
 * opening a store takes.
 */
const POLYNOMIAL = 0x82f63b78;
const SLICES = 8;

/** SLICES tables of 256 in one array: entry [k * 256 + b] is the CRC of byte b followed by k zero bytes. */
const TABLE = buildTable();
/** A view of no words may not begin at an unaligned byte either. */
const NO_WORDS = new Int32Array(0);

/** CRC-32C of `bytes` from `start` to `end` (exclusive), unsigned. Little-endian machines, as LevelDB's own. */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length): number {
  let crc = -1;
  let at = start;
  for (; at < end && (bytes.byteOffset + at) % 4 !== 0; at += 1) crc = step(crc, bytes[at]!);
  const pairs = (end - at) >>> 3;
  const words = pairs === 0 ? NO_WORDS : new Int32Array(bytes.buffer, bytes.byteOffset + at, pairs * 2);
  for (let word = 0; word < words.length; word += 2) {
    const low = crc ^ words[word]!;
    const high = words[word + 1]!;
    crc =
      TABLE[0x700 | (low & 0xff)]! ^
      TABLE[0x600 | ((low >>> 8) & 0xff)]! ^
      TABLE[0x500 | ((low >>> 16) & 0xff)]! ^
      TABLE[0x400 | (low >>> 24)]! ^
      TABLE[0x300 | (high & 0xff)]! ^
      TABLE[0x200 | ((high >>> 8) & 0xff)]! ^
      TABLE[0x100 | ((high >>> 16) & 0xff)]! ^
      TABLE[high >>> 24]!;
  }
  for (at += pairs * SLICES; at < end; at += 1) crc = step(crc, bytes[at]!);
  return ~crc >>> 0;
}

const step = (crc: number, byte: number): number => (crc >>> 8) ^ TABLE[(crc ^ byte) & 0xff]!;

function buildTable(): Int32Array {
  const table = new Int32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    table[byte] = crc;
  }
  for (let entry = 256; entry < table.length; entry += 1) {
    const shorter = table[entry - 256]!;
    table[entry] = (shorter >>> 8) ^ table[shorter & 0xff]!;
  }
  return table;
}
