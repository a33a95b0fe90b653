/**
 * The realtime side of a ranking record, copied from the bytes of the features record that it is made of: most fields
 * stand there as they are to stand here. What does not is left to the caller, who decodes the record.
 */
import { AvroReader } from '../../state/avro-reader.ts';
import type { AvroWriter } from '../../state/avro-writer.ts';

export interface SideSource {
  readonly partition: number;
  readonly offset: number;
  /** K, by sequence. */
  readonly windowSizes: ReadonlyMap<string, number>;
}

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
interface Sequence {
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

const ENVELOPE_LONGS = 7;
const SESSION_LONGS = 3;
const DOUBLE_BYTES = 8;
const FLOAT_BYTES = 4;

/**
 * Writes the side at the writer's position; its newest arrival. Undefined, with the writer in no certain state, where an
 * action is hidden, or where those behind the newest K have an action type or a surface of their own.
 *
 * @param body - a features record of the shipped schema, behind its prefix.
 */
export function copyRealtimeSide(body: Buffer, to: AvroWriter, source: SideSource): number | undefined {
  const from = new AvroReader(body);
  from.skipStrings(1); // userId
  const versionAt = from.at;
  from.skipLongs(1);
  const versionEnd = from.at;
  from.skipLongs(2); // firstOffset, partition
  const envelopeAt = from.at;
  from.skipLongs(1);
  const newestArrivalTimeMs = from.long();
  from.skipLongs(ENVELOPE_LONGS - 2);
  const envelopeEnd = from.at;
  to.long(1); // of the union with null
  to.long(source.partition);
  to.long(source.offset);
  to.copy(body, versionAt, versionEnd);
  to.copy(body, envelopeAt, envelopeEnd);

  const sequences: Sequence[] = [];
  const count = from.count();
  for (let left = count; left > 0; left -= 1) {
    const sequence = from.isWhole ? readSequence(from, source.windowSizes) : undefined;
    if (sequence === undefined) return undefined;
    sequences.push(sequence);
  }
  from.end(count);
  if (from.count() !== count) return undefined;
  if (count > 0) to.long(count);
  for (const sequence of sequences) {
    // What is hidden is told before the counters.
    if (from.string() !== sequence.name || from.count() > 0) return undefined;
    writeSequence(to, body, sequence);
    copyView(from, to);
  }
  from.end(count);
  to.byte(0);

  const sessionAt = from.at;
  from.skipLongs(SESSION_LONGS);
  to.copy(body, sessionAt, from.at);
  const scored = from.string();
  const itemVersionAt = from.at;
  if (from.long() === 1) from.skipStrings(1);
  from.skipLongs(1); // itemsWithVector
  to.copy(body, itemVersionAt, from.at);
  to.long(sequences.find(({ name }) => name === scored)?.itemIds.count ?? 0);
  const intentAt = from.at;
  skipScore(from);
  to.copy(body, intentAt, from.at);
  return from.isWhole && from.at === body.length ? newestArrivalTimeMs : undefined;
}

/** Intent, propensity and what says how they came about. */
function skipScore(from: AvroReader): void {
  const intents = from.count();
  for (let left = intents; left > 0 && from.isWhole; left -= 1) {
    from.skipStrings(1);
    skipNumbers(from, FLOAT_BYTES);
  }
  from.end(intents);
  skipAll(from);
  skipNumbers(from, FLOAT_BYTES);
  from.skip(1);
  from.skipStrings(1);
}

function readSequence(from: AvroReader, windowSizes: ReadonlyMap<string, number>): Sequence | undefined {
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
function skipAll(from: AvroReader): number {
  const count = from.count();
  from.skipStrings(count);
  from.end(count);
  return count;
}

function skipNumbers(from: AvroReader, bytes: number): void {
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

function writeSequence(to: AvroWriter, body: Buffer, sequence: Sequence): void {
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

function writeColumn(to: AvroWriter, body: Buffer, column: Column): void {
  if (column.shown > 0) to.long(column.shown);
  to.copy(body, column.from, column.to);
  to.byte(0);
}

/** The counters of a view, and their types before them. */
function copyView(from: AvroReader, to: AvroWriter): void {
  const countersAt = from.at;
  skipNumbers(from, FLOAT_BYTES);
  const typesAt = from.at;
  skipAll(from);
  if (!from.isWhole) return;
  to.copy(from.bytes, typesAt, from.at);
  to.copy(from.bytes, countersAt, typesAt);
}
