/**
 * Writes `sequence-features`: the fields of the state, then those of the description, as the schema has them. The
 * description is written from what it is made of: as a record it would be garbage at once.
 */
import type { Type } from 'avsc';
import type { ByteBlocks } from '../base/byte-blocks.ts';
import { invariant } from '../base/errors.ts';
import { boundedType } from '../serde/bounded-type.ts';
import { encodeBody } from '../serde/encode-body.ts';
import { AvroWriter } from '../../state/avro-writer.ts';
import { describe, describeState, type ScoredWindow, type StateDescription } from '../../state/describe.ts';
import type { Layout } from '../../state/layout.ts';
import type { StateCodec } from '../../state/state-codec.ts';
import { StateWriter, type WrittenState } from '../../state/state-writer.ts';
import type { UserState } from '../../state/user-state.ts';
import { shippedSchema } from '../../topics/index.ts';

/** Records that fit are written here and copied out. */
const SCRATCH_BYTES = 65_536;

export interface WrittenRecord {
  /** The framed record. */
  readonly bytes: Buffer;
  /** Where the Avro body of the state alone begins and ends in it. */
  readonly stateStart: number;
  readonly stateEnd: number;
  /** For the user's next record; null where the record was too large for it. */
  readonly written: WrittenState | null;
}

export class RecordWriter {
  private readonly prefix: Buffer;
  private readonly layout: Layout;
  private readonly stateCodec: StateCodec;
  private readonly states: StateWriter;
  private readonly scratch = new AvroWriter(SCRATCH_BYTES);

  /** @param prefix - what frames a value, to stand before each body. */
  constructor(options: { readonly prefix: Buffer; readonly layout: Layout; readonly stateCodec: StateCodec }) {
    this.prefix = options.prefix;
    this.layout = options.layout;
    this.stateCodec = options.stateCodec;
    this.states = new StateWriter(options.layout);
    this.prefix.copy(this.scratch.bytes);
  }

  /**
   * @param before - the user's record before this one, if it is at hand.
   * @param into - where the record is to stand.
   */
  write(state: UserState, score: ScoredWindow, before: WrittenState | null, into: ByteBlocks): WrittenRecord {
    const { scratch, prefix, layout } = this;
    scratch.start(prefix.length);
    const windows = this.states.write(scratch, state, before);
    const stateEnd = scratch.at;
    writeDescription(scratch, describeState(state, layout), score);
    // Too large, or with a number that does not fit its field: the slow way has room, and names the field.
    if (!scratch.isWhole) return this.writeApart(state, score);
    const bytes = into.copy(scratch.bytes, 0, scratch.at);
    return { bytes, stateStart: prefix.length, stateEnd, written: { bytes, windows } };
  }

  private writeApart(state: UserState, score: ScoredWindow): WrittenRecord {
    const stateBody = this.stateCodec.encode(state);
    const description = describe(state, score, this.layout);
    const body = encodeBody('sequence-features', descriptionType(), description);
    const bytes = Buffer.concat([this.prefix, stateBody, body]);
    return { bytes, stateStart: this.prefix.length, stateEnd: this.prefix.length + stateBody.length, written: null };
  }
}

function writeDescription(
  to: AvroWriter,
  { views, session, scoredSequence }: StateDescription,
  score: ScoredWindow,
): void {
  const { itemVersion, outcomes, intent } = score;
  to.long(views.length);
  for (const view of views) {
    to.string(view.name);
    to.longs(view.hiddenPositions);
    to.floats(view.counters);
    to.strings(view.counterTypes);
  }
  to.byte(0);
  to.long(session.length);
  to.long(session.ageMs);
  to.long(session.gapMs);
  to.string(scoredSequence);
  to.long(itemVersion === null ? 0 : 1);
  if (itemVersion !== null) to.string(itemVersion);
  to.long(score.itemsWithVector);
  if (outcomes.length > 0) to.long(outcomes.length);
  for (let index = 0; index < outcomes.length; index += 1) {
    to.string(outcomes[index]!);
    to.float32s(intent[index]!);
  }
  to.byte(0);
  to.strings(score.actionTypes);
  to.float32s(score.propensity);
  to.boolean(score.finite);
  to.string(score.scorerHash);
}

let made: Type | undefined;

/** The schema of the fields behind the state: Avro bodies of two records in a row are that of their fields together. */
const descriptionType = (): Type => (made ??= makeDescriptionType());

function makeDescriptionType(): Type {
  const schema = shippedSchema('sequence-features-value');
  const first = schema.fields.findIndex((field) => field.name === 'views');
  invariant(first > 0, 'sequence-features has no description');
  return boundedType({ ...schema, name: 'Description', fields: schema.fields.slice(first) });
}
