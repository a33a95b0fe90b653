/**
 * The two sides of a `ranking-features` record and the record made of them. A side is kept as the bytes that stand in
 * the record, so that a change of one side costs nothing on the other, and the record is a function of the pair.
 */
import type { Type } from 'avsc';
import { ByteBlocks } from '../base/byte-blocks.ts';
import { invariant } from '../base/errors.ts';
import type { LogRecord } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { VALUE_SCHEMA_ID_HEADER } from '../serde/frame.ts';
import { AvroWriter } from '../../state/avro-writer.ts';
import type { Layout } from '../../state/layout.ts';
import type {
  LongTermSideRecord,
  RankingFeaturesRecord,
  RankingSequenceRecord,
  RealtimeSideRecord,
  SequenceFeaturesRecord,
  UserEmbeddingRecord,
} from '../../topics/records.ts';
import { fieldTypes } from './ranking-types.ts';
import { copyRealtimeSide } from './realtime-side.ts';
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

/** Sides and records that fit are written here and copied out; avsc's own buffer has 1 KB and encodes a larger one twice. */
const SCRATCH_BYTES = 65_536;

export class RankingRecords {
  private readonly options: RankingRecordsOptions;
  private readonly windowSizes: ReadonlyMap<string, number>;
  private readonly headerType: Type;
  private readonly realtimeType: Type;
  private readonly longTermType: Type;
  private readonly noRealtime: Buffer;
  private readonly noLongTerm: Buffer;
  private readonly featuresPrefix: Buffer;
  private readonly prefix: Buffer;
  private readonly scratch = new AvroWriter(SCRATCH_BYTES);

  constructor(options: RankingRecordsOptions) {
    this.options = options;
    this.windowSizes = new Map(options.layout.sequences.map(({ name, windowSize }) => [name, windowSize]));
    const types = fieldTypes();
    this.headerType = types.header;
    this.realtimeType = types.realtime;
    this.longTermType = types.longTerm;
    this.noRealtime = types.realtime.toBuffer(null);
    this.noLongTerm = types.longTerm.toBuffer(null);
    this.featuresPrefix = options.codec.frame('sequence-features-value', Buffer.alloc(0));
    this.prefix = options.codec.frame('ranking-features-value', Buffer.alloc(0));
  }

  /**
   * The realtime side that a record of `sequence-features` gives. Fails if it cannot be decoded: a task wrote it.
   *
   * @param into - where the bytes of the side are to stand.
   */
  realtime(record: LogRecord, into: ByteBlocks): Side {
    const { codec, partition } = this.options;
    const position = { topic: 'sequence-features', partition, offset: record.offset };
    invariant(record.value !== null, 'a realtime side of a tombstone', position);
    const copied = this.copied(record.value, record, into);
    if (copied !== undefined) return copied;
    const subject = 'sequence-features-value';
    const features = codec.decode<SequenceFeaturesRecord>(subject, record.value, record.headers, position);
    const scored = features.sequences.find(({ name }) => name === features.scoredSequence);
    return this.realtimeSide(into, {
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

  longTerm(
    { offset, timestampMs }: LogRecord,
    { version, asOfMs, space, vector }: UserEmbeddingRecord,
    into: ByteBlocks,
  ): Side {
    const { partition } = this.options;
    return this.longTermSide(into, { partition, offset, timestampMs, version, asOfMs, space, vector });
  }

  /** The framed `ranking-features` record. */
  value(userId: string, { realtime, longTerm }: Sides, into: ByteBlocks): Buffer {
    const { prefix, scratch } = this;
    const header = this.headerType.toBuffer({
      userId,
      hasRealtime: realtime !== null,
      hasLongTerm: longTerm !== null,
    });
    const parts = [prefix, header, realtime?.bytes ?? this.noRealtime, longTerm?.bytes ?? this.noLongTerm];
    scratch.start(0);
    for (const part of parts) scratch.copy(part, 0, part.length);
    return scratch.isWhole ? into.copy(scratch.bytes, 0, scratch.at) : Buffer.concat(parts);
  }

  /** Reverses `value`, whatever version of the schema the record was written with. */
  sides(record: LogRecord): Sides {
    const { codec, partition } = this.options;
    const position = { topic: 'ranking-features', partition, offset: record.offset };
    invariant(record.value !== null, 'the sides of a tombstone', position);
    const subject = 'ranking-features-value';
    const ranking = codec.decode<RankingFeaturesRecord>(subject, record.value, record.headers, position);
    // Nobody says when they are done with: they are not released.
    const into = new ByteBlocks();
    return {
      realtime: ranking.realtime === null ? null : this.realtimeSide(into, ranking.realtime),
      longTerm: ranking.longTerm === null ? null : this.longTermSide(into, ranking.longTerm),
    };
  }

  /** Undefined where the record has to be decoded. */
  private copied(value: Buffer, { offset, headers }: LogRecord, into: ByteBlocks): Side | undefined {
    const { featuresPrefix: prefix, scratch, windowSizes } = this;
    const isShipped = headers[VALUE_SCHEMA_ID_HEADER] === undefined && prefix.equals(value.subarray(0, prefix.length));
    if (!isShipped) return undefined;
    scratch.start(0);
    const source = { partition: this.options.partition, offset, windowSizes };
    const timestampMs = copyRealtimeSide(value.subarray(prefix.length), scratch, source);
    if (timestampMs === undefined || !scratch.isWhole) return undefined;
    return { offset, timestampMs, bytes: into.copy(scratch.bytes, 0, scratch.at) };
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

  private realtimeSide(into: ByteBlocks, side: RealtimeSideRecord): Side {
    // Not the record's own timestamp: this one is in the ranking record too, so a restored side has it.
    const timestampMs = side.envelope.newestArrivalTimeMs;
    return { offset: side.offset, timestampMs, bytes: this.encode(this.realtimeType, side, into) };
  }

  private longTermSide(into: ByteBlocks, side: LongTermSideRecord): Side {
    return { offset: side.offset, timestampMs: side.timestampMs, bytes: this.encode(this.longTermType, side, into) };
  }

  private encode(type: Type, value: object, into: ByteBlocks): Buffer {
    const { bytes } = this.scratch;
    const end = type.encode(value, bytes, 0);
    return end < 0 ? type.toBuffer(value) : into.copy(bytes, 0, end);
  }
}

/** The timestamp of a record: the newest arrival that its sides know of. */
export const timestampOf = ({ realtime, longTerm }: Sides): number =>
  Math.max(realtime?.timestampMs ?? -Infinity, longTerm?.timestampMs ?? -Infinity);
