/**
 * The two sides of a `ranking-features` record and the record made of them. A side is kept as the bytes that stand in
 * the record, so that a change of one side costs nothing on the other, and the record is a function of the pair.
 */
import avsc, { type Type } from 'avsc';
import { invariant } from '../base/errors.ts';
import type { LogRecord } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import type { Layout } from '../../state/layout.ts';
import { shippedSchema } from '../../topics/index.ts';
import type {
  LongTermSideRecord,
  RankingFeaturesRecord,
  RankingSequenceRecord,
  RealtimeSideRecord,
  SequenceFeaturesRecord,
  UserEmbeddingRecord,
} from '../../topics/records.ts';
import { visibleColumns } from './visible.ts';

export interface Side {
  /** Offset of the record that the side was made of, in its own topic. */
  readonly offset: number;
  /** The newest arrival that the side knows of, milliseconds since the epoch. */
  readonly timestampMs: number;
  /** The field of the ranking record, Avro. */
  readonly bytes: Buffer;
}

/** What is known of a user; at least one side is there in all that is stored. */
export interface Sides {
  readonly realtime: Side | null;
  readonly longTerm: Side | null;
}

export const NO_SIDES: Sides = { realtime: null, longTerm: null };

export interface RankingRecordsOptions {
  readonly codec: Pick<Codec, 'decode' | 'frame'>;
  readonly layout: Layout;
  readonly partition: number;
}

const HEADER_FIELDS = ['userId', 'hasRealtime', 'hasLongTerm'];
/** Sides that fit are encoded here and copied out; avsc's own buffer has 1 KB and encodes a larger one twice. */
const SCRATCH_BYTES = 65_536;

export class RankingRecords {
  private readonly options: RankingRecordsOptions;
  private readonly windowSizes: ReadonlyMap<string, number>;
  private readonly headerType: Type;
  private readonly realtimeType: Type;
  private readonly longTermType: Type;
  private readonly noRealtime: Buffer;
  private readonly noLongTerm: Buffer;
  private readonly scratch = Buffer.alloc(SCRATCH_BYTES);

  constructor(options: RankingRecordsOptions) {
    this.options = options;
    this.windowSizes = new Map(options.layout.sequences.map(({ name, windowSize }) => [name, windowSize]));
    const types = fieldTypes();
    this.headerType = types.header;
    this.realtimeType = types.realtime;
    this.longTermType = types.longTerm;
    this.noRealtime = types.realtime.toBuffer(null);
    this.noLongTerm = types.longTerm.toBuffer(null);
  }

  /** The realtime side that a record of `sequence-features` gives. Fails if it cannot be decoded: a task wrote it. */
  realtime(record: LogRecord): Side {
    const { codec, partition } = this.options;
    const position = { topic: 'sequence-features', partition, offset: record.offset };
    invariant(record.value !== null, 'a realtime side of a tombstone', position);
    const subject = 'sequence-features-value';
    const features = codec.decode<SequenceFeaturesRecord>(subject, record.value, record.headers, position);
    const scored = features.sequences.find(({ name }) => name === features.scoredSequence);
    return this.realtimeSide({
      partition,
      offset: record.offset,
      version: features.version,
      envelope: features.envelope,
      sequences: features.sequences.map((_, index) => this.sequence(features, index)),
      session: features.session,
      itemVersion: features.itemVersion,
      itemsWithVector: features.itemsWithVector,
      windowLength: scored?.itemIds.length ?? 0,
      intent: features.intent,
      propensityTypes: features.propensityTypes,
      propensity: features.propensity,
      finite: features.finite,
      scorerHash: features.scorerHash,
    });
  }

  longTerm({ offset, timestampMs }: LogRecord, { version, asOfMs, space, vector }: UserEmbeddingRecord): Side {
    const { partition } = this.options;
    return this.longTermSide({ partition, offset, timestampMs, version, asOfMs, space, vector });
  }

  /** The framed `ranking-features` record. */
  value(userId: string, { realtime, longTerm }: Sides): Buffer {
    const header = { userId, hasRealtime: realtime !== null, hasLongTerm: longTerm !== null };
    const parts = [
      this.headerType.toBuffer(header),
      realtime?.bytes ?? this.noRealtime,
      longTerm?.bytes ?? this.noLongTerm,
    ];
    return this.options.codec.frame('ranking-features-value', Buffer.concat(parts));
  }

  /** Reverses `value`, whatever version of the schema the record was written with. */
  sides(record: LogRecord): Sides {
    const { codec, partition } = this.options;
    const position = { topic: 'ranking-features', partition, offset: record.offset };
    invariant(record.value !== null, 'the sides of a tombstone', position);
    const subject = 'ranking-features-value';
    const ranking = codec.decode<RankingFeaturesRecord>(subject, record.value, record.headers, position);
    return {
      realtime: ranking.realtime === null ? null : this.realtimeSide(ranking.realtime),
      longTerm: ranking.longTerm === null ? null : this.longTermSide(ranking.longTerm),
    };
  }

  private sequence({ sequences, views }: SequenceFeaturesRecord, index: number): RankingSequenceRecord {
    const sequence = sequences[index]!;
    const view = views[index];
    const windowSize = this.windowSizes.get(sequence.name);
    invariant(view?.name === sequence.name, `sequence ${sequence.name} has no view`);
    invariant(windowSize !== undefined, `sequence ${sequence.name} is not in the layout`);
    return {
      ...visibleColumns(sequence, view.hiddenPositions, windowSize),
      name: sequence.name,
      sealed: sequence.sealed,
      counterTypes: view.counterTypes,
      counters: view.counters,
    };
  }

  private realtimeSide(side: RealtimeSideRecord): Side {
    // Not the record's own timestamp: this one is in the ranking record too, so a restored side has it.
    const timestampMs = side.envelope.newestArrivalTimeMs;
    return { offset: side.offset, timestampMs, bytes: this.encode(this.realtimeType, side) };
  }

  private longTermSide(side: LongTermSideRecord): Side {
    return { offset: side.offset, timestampMs: side.timestampMs, bytes: this.encode(this.longTermType, side) };
  }

  private encode(type: Type, value: object): Buffer {
    const end = type.encode(value, this.scratch, 0);
    return end < 0 ? type.toBuffer(value) : Buffer.from(this.scratch.subarray(0, end));
  }
}

/** The timestamp of a record: the newest arrival that its sides know of. */
export const timestampOf = ({ realtime, longTerm }: Sides): number =>
  Math.max(realtime?.timestampMs ?? -Infinity, longTerm?.timestampMs ?? -Infinity);

/** The schema in three parts: Avro bodies of records in a row are that of their fields together. */
function fieldTypes(): { header: Type; realtime: Type; longTerm: Type } {
  const schema = shippedSchema('ranking-features-value');
  const names = schema.fields.map(({ name }) => name);
  const expected = [...HEADER_FIELDS, 'realtime', 'longTerm'];
  invariant(names.join() === expected.join(), `ranking-features has the fields ${names.join()}`);
  const [realtime, longTerm] = schema.fields.slice(HEADER_FIELDS.length);
  return {
    header: avsc.Type.forSchema({ ...schema, name: 'Header', fields: schema.fields.slice(0, HEADER_FIELDS.length) }),
    realtime: avsc.Type.forSchema(realtime!.type),
    longTerm: avsc.Type.forSchema(longTerm!.type),
  };
}
