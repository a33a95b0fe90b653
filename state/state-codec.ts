/**
 * A user's state as bytes. The Avro body is the leading part of the user's `sequence-features` record, so that one
 * encoding serves the store and the topic, and the compacted topic restores the store. In the store a version byte
 * stands before it: bytes of an older version are read through Avro's schema resolution.
 */
import type { Resolver, Schema, Type } from 'avsc';
import { FreshetError } from '../src/base/errors.ts';
import { boundedType } from '../src/serde/bounded-type.ts';
import { encodeBody } from '../src/serde/encode-body.ts';
import { shippedSchema } from '../topics/index.ts';
import type { UserStateRecord } from '../topics/records.ts';
import { fromColumns, toColumns } from './columns.ts';
import type { Layout } from './layout.ts';
import type { UserState } from './user-state.ts';

/** Version of the bytes in the store; an older one needs its schema in `OLDER_STATE_SCHEMAS`. */
export const STATE_BYTES_VERSION = 1;

/** Schemas of the state bytes that earlier releases wrote, by version. Version 1 is the first. */
const OLDER_STATE_SCHEMAS: ReadonlyMap<number, Schema> = new Map();

const STATE_FIELDS = ['userId', 'version', 'firstOffset', 'partition', 'envelope', 'sequences'];

/** One a process: avsc compiles a type, and each task has a codec. */
let sharedType: Type | undefined;

function stateType(): Type {
  const features = shippedSchema('sequence-features-value');
  const fields = features.fields.slice(0, STATE_FIELDS.length);
  if (fields.some((field, index) => field.name !== STATE_FIELDS[index])) {
    throw new FreshetError('INTERNAL', 'sequence-features does not begin with the fields of the state');
  }
  return boundedType({ ...features, name: 'UserState', fields });
}

export class StateCodec {
  private readonly type: Type;
  private readonly older: ReadonlyMap<number, Resolver>;
  private readonly layout: Layout;

  constructor(layout: Layout, olderSchemas = OLDER_STATE_SCHEMAS) {
    this.layout = layout;
    this.type = sharedType ??= stateType();
    this.older = new Map(
      [...olderSchemas].map(([version, schema]) => [version, this.type.createResolver(boundedType(schema))]),
    );
  }

  /** The Avro body: the beginning of the user's features record. */
  encode(state: UserState): Buffer {
    return encodeBody('the state', this.type, this.toRecord(state));
  }

  /**
   * The state that a features record, or an Avro body of the state alone, begins with. Throws RECORD_UNDECODABLE when
   * the bytes end inside it.
   */
  decode(body: Buffer): UserState {
    return this.fromRecord(this.read(body, 0).record);
  }

  /** The Avro body behind the version byte, as the store keeps it. */
  toStored(body: Buffer): Buffer {
    const stored = Buffer.allocUnsafe(body.length + 1);
    stored[0] = STATE_BYTES_VERSION;
    body.copy(stored, 1);
    return stored;
  }

  /**
   * Throws LOG_FORMAT when no schema is known for the version byte, RECORD_UNDECODABLE when the bytes do not end where
   * the state does.
   */
  fromStored(stored: Buffer): UserState {
    const version = stored[0];
    const resolver = version === undefined ? undefined : this.older.get(version);
    if (version !== STATE_BYTES_VERSION && resolver === undefined) {
      const detail = `state bytes of version ${version ?? 'none'} cannot be read by this release`;
      throw new FreshetError('LOG_FORMAT', detail);
    }
    const { record, end } = this.read(stored, 1, resolver);
    if (end < stored.length) throw undecodable(`${stored.length - end} bytes follow the state`);
    return this.fromRecord(record);
  }

  /** A decoded features record holds its user's state. */
  fromRecord(record: UserStateRecord): UserState {
    return {
      userId: record.userId,
      version: record.version,
      firstOffset: record.firstOffset,
      partition: record.partition,
      envelope: record.envelope,
      sequences: record.sequences.map(({ leftEdge, sealed, chunks, counterTypes, counters, ...columns }) => ({
        base: { leftEdge, sealed, chunks, counterTypes, counters },
        window: fromColumns(columns),
      })),
    };
  }

  private read(bytes: Buffer, start: number, resolver?: Resolver): { record: UserStateRecord; end: number } {
    let read: { value: unknown; offset: number };
    try {
      read = this.type.decode(bytes, start, resolver);
    } catch (error) {
      throw undecodable('the bytes are not those of a state', error);
    }
    if (read.offset < 0) throw undecodable('the bytes end inside the state');
    return { record: read.value as UserStateRecord, end: read.offset };
  }

  private toRecord(state: UserState): UserStateRecord {
    return {
      userId: state.userId,
      version: state.version,
      firstOffset: state.firstOffset,
      partition: state.partition,
      envelope: state.envelope,
      sequences: state.sequences.map(({ base, window }, index) => ({
        ...toColumns(window),
        name: this.layout.sequences[index]!.name,
        leftEdge: base.leftEdge,
        sealed: base.sealed,
        chunks: base.chunks,
        counterTypes: base.counterTypes as string[],
        counters: base.counters as number[],
      })),
    };
  }
}

const undecodable = (detail: string, cause?: unknown): FreshetError =>
  new FreshetError('RECORD_UNDECODABLE', detail, {
    cause,
    remedy: 'The store is a cache of the log: remove its folder and it is rebuilt.',
  });
