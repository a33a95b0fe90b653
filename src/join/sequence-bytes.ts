/** One sequence of a features record, where its parts stand in the bytes, and how readers are shown it. */
import type { AvroReader } from '../../state/avro-reader.ts';
import type { AvroWriter } from '../../state/avro-writer.ts';

/** An array, and the part of it that readers are shown. */
interface Column {
  /** Of its number of items. */
  readonly at: number;
  readonly count: number;
  readonly shown: number;
  readonly from: number;
  readonly to: number;
}

/** Where the parts of a sequence stand. */
export interface Sequence {
  readonly name: string;
  readonly itemIds: Column;
  readonly eventTimeAt: number;
  readonly gaps: Column;
  /** And what stands up to the index into them. */
  readonly actionTypesAt: number;
  readonly actionTypeIndex: Column;
  readonly surfacesAt: number;
  readonly surfaceIndex: Column;
  readonly sealedAt: number;
  readonly sealedEnd: number;
}

const DOUBLE_BYTES = 8;

export function readSequence(from: AvroReader, windowSizes: ReadonlyMap<string, number>): Sequence | undefined {
  const name = from.string();
  const windowSize = windowSizes.get(name);
  if (windowSize === undefined) return undefined;
  const itemIds = column(from, windowSize, (count) => from.skipStrings(count));
  const eventTimeAt = from.at;
  from.skipLongs(1);
  const skipLongs = (count: number): void => from.skipLongs(count);
  const gaps = column(from, windowSize, skipLongs);
  const actionTypesAt = from.at;
  const actionTypes = skipAll(from);
  const actionTypeIndex = column(from, windowSize, skipLongs);
  const surfacesAt = from.at;
  const surfaces = skipAll(from);
  const surfaceIndex = column(from, windowSize, skipLongs);
  if (from.long() === 1) {
    from.skipLongs(1);
    from.skipStrings(2);
  }
  const sealedAt = from.at;
  from.skipLongs(1);
  const sealedEnd = from.at;
  from.skipLongs(1); // chunks
  skipAll(from);
  skipNumbers(from, DOUBLE_BYTES);
  if (!from.isWhole) return undefined;
  if (!usesAll(from.bytes, actionTypeIndex, actionTypes) || !usesAll(from.bytes, surfaceIndex, surfaces))
    return undefined;
  return {
    ...{ name, itemIds, eventTimeAt, gaps, actionTypesAt, actionTypeIndex },
    ...{ surfacesAt, surfaceIndex, sealedAt, sealedEnd },
  };
}

export function writeSequence(to: AvroWriter, body: Buffer, sequence: Sequence): void {
  const { itemIds, gaps, actionTypesAt, actionTypeIndex, surfacesAt, surfaceIndex } = sequence;
  to.string(sequence.name);
  writeColumn(to, body, itemIds);
  to.copy(body, sequence.eventTimeAt, gaps.at);
  writeColumn(to, body, gaps);
  to.copy(body, actionTypesAt, actionTypeIndex.at);
  writeColumn(to, body, actionTypeIndex);
  to.copy(body, surfacesAt, surfaceIndex.at);
  writeColumn(to, body, surfaceIndex);
  to.copy(body, sequence.sealedAt, sequence.sealedEnd);
}

function column(from: AvroReader, windowSize: number, skip: (count: number) => void): Column {
  const { at } = from;
  const count = from.count();
  const shown = Math.min(count, windowSize);
  const start = from.at;
  skip(shown);
  const to = from.at;
  skip(count - shown);
  from.end(count);
  return { at, count, shown, from: start, to };
}

/** An array of strings; how many it has. */
export function skipAll(from: AvroReader): number {
  const count = from.count();
  from.skipStrings(count);
  from.end(count);
  return count;
}

export function skipNumbers(from: AvroReader, bytes: number): void {
  const count = from.count();
  from.skip(count * bytes);
  from.end(count);
}

/** Whether the part that is shown has each of the first `values`; an index of one byte has each in a byte. */
function usesAll(bytes: Buffer, { count, shown, from, to }: Column, values: number): boolean {
  if (shown === count) return true;
  if (to - from !== shown || values > 32) return false;
  let used = 0;
  for (let at = from; at < to; at += 1) used |= 1 << (bytes[at]! >> 1);
  return used === (values === 32 ? -1 : (1 << values) - 1);
}

function writeColumn(to: AvroWriter, body: Buffer, column: Column): void {
  if (column.shown > 0) to.long(column.shown);
  to.copy(body, column.from, column.to);
  to.byte(0);
}
