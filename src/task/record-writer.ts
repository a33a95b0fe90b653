/**
 * Writes `sequence-features`: the fields of the state, then those of the description, as the schema has them. Records
 * stand in shared blocks of memory: a commit holds thousands, and each in a buffer of its own costs the collector more
 * than its bytes.
 */
import type { Type } from 'avsc';
import { invariant } from '../base/errors.ts';
import { boundedType } from '../serde/bounded-type.ts';
import { encodeBody } from '../serde/encode-body.ts';
import { AvroWriter } from '../../state/avro-writer.ts';
import type { Layout } from '../../state/layout.ts';
import type { StateCodec } from '../../state/state-codec.ts';
import { StateWriter, type WrittenState } from '../../state/state-writer.ts';
import type { UserState } from '../../state/user-state.ts';
import { shippedSchema } from '../../topics/index.ts';
import type { DescriptionRecord } from '../../topics/records.ts';

/** Records that fit are written here and copied out. */
const SCRATCH_BYTES = 65_536;
const BLOCK_BYTES = 262_144;

export interface WrittenRecord {
  /** The framed record. */
  readonly bytes: Buffer;
  /** A view of it: the Avro body of the state alone. */
  readonly stateBody: Buffer;
  /** For the user's next record; null where the record was too large for it. */
  readonly written: WrittenState | null;
}

export class RecordWriter {
  private readonly prefix: Buffer;
  private readonly stateCodec: StateCodec;
  private readonly states: StateWriter;
  private readonly descriptionType = descriptionType();
  private readonly scratch = new AvroWriter(SCRATCH_BYTES);
  private block = Buffer.alloc(0);
  private used = 0;

  /** @param prefix - what frames a value, to stand before each body. */
  constructor(options: { readonly prefix: Buffer; readonly layout: Layout; readonly stateCodec: StateCodec }) {
    this.prefix = options.prefix;
    this.stateCodec = options.stateCodec;
    this.states = new StateWriter(options.layout);
    this.prefix.copy(this.scratch.bytes);
  }

  /** @param before - the user's record before this one, if it is at hand. */
  write(state: UserState, description: DescriptionRecord, before: WrittenState | null): WrittenRecord {
    const { scratch, prefix } = this;
    scratch.start(prefix.length);
    const windows = this.states.write(scratch, state, before);
    const stateEnd = scratch.at;
    writeDescription(scratch, description);
    // Too large, or with a number that does not fit its field: the slow way has room, and names the field.
    if (!scratch.isWhole) return this.writeApart(state, description);
    const bytes = this.copyOut(scratch.at);
    return { bytes, stateBody: bytes.subarray(prefix.length, stateEnd), written: { bytes, windows } };
  }

  private writeApart(state: UserState, description: DescriptionRecord): WrittenRecord {
    const stateBody = this.stateCodec.encode(state);
    const body = encodeBody('sequence-features', this.descriptionType, description);
    return { bytes: Buffer.concat([this.prefix, stateBody, body]), stateBody, written: null };
  }

  private copyOut(length: number): Buffer {
    if (this.used + length > this.block.length) {
      this.block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
      this.used = 0;
    }
    const bytes = this.block.subarray(this.used, this.used + length);
    this.scratch.bytes.copy(bytes, 0, 0, length);
    this.used += length;
    return bytes;
  }
}

function writeDescription(to: AvroWriter, description: DescriptionRecord): void {
  const { views, session, itemVersion, intent } = description;
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
  to.string(description.scoredSequence);
  to.long(itemVersion === null ? 0 : 1);
  if (itemVersion !== null) to.string(itemVersion);
  to.long(description.itemsWithVector);
  if (intent.length > 0) to.long(intent.length);
  for (const { outcome, vector } of intent) {
    to.string(outcome);
    to.floats(vector);
  }
  to.byte(0);
  to.strings(description.propensityTypes);
  to.floats(description.propensity);
  to.boolean(description.finite);
  to.string(description.scorerHash);
}

/** The schema of the fields behind the state: Avro bodies of two records in a row are that of their fields together. */
function descriptionType(): Type {
  const schema = shippedSchema('sequence-features-value');
  const first = schema.fields.findIndex((field) => field.name === 'views');
  invariant(first > 0, 'sequence-features has no description');
  return boundedType({ ...schema, name: 'Description', fields: schema.fields.slice(first) });
}
