/**
 * The realtime side of a ranking record, copied from the bytes of the features record that it is made of: most fields
 * stand there as they are to stand here. What does not is left to the caller, who decodes the record.
 */
import { AvroReader } from '../../state/avro-reader.ts';
import type { AvroWriter } from '../../state/avro-writer.ts';
import { readSequence, skipAll, skipNumbers, writeSequence, type Sequence } from './sequence-bytes.ts';

export interface SideSource {
  readonly partition: number;
  readonly offset: number;
  /** K, by sequence. */
  readonly windowSizes: ReadonlyMap<string, number>;
}

const ENVELOPE_LONGS = 7;
const SESSION_LONGS = 3;
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
