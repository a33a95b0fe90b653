/**
 * Bytes <-> records. Types and resolvers are built once per schema id, so that a record costs what plain avsc costs;
 * schemas are learned before a batch is decoded, so that decoding itself never waits.
 */
import type { Resolver, Schema, Type } from 'avsc';
import { LRUCache } from 'lru-cache';
import { FreshetError, invariant } from '../base/errors.ts';
import type { Position } from '../base/errors.ts';
import { SUBJECTS } from '../../topics/index.ts';
import type { Subject } from '../../topics/index.ts';
import { boundedType } from './bounded-type.ts';
import { encodeBody } from './encode-body.ts';
import { PREFIX_BYTES, readFrame, writePrefix } from './frame.ts';
import type { RecordHeaders, SchemaRef } from './frame.ts';
import type { Registry } from './registry.ts';

/** How one writer schema is read: without a resolver where it has the bytes of the shipped one, or not at all. */
type Reading = { readonly resolver: Resolver | undefined } | { readonly problem: string };

interface SubjectCodec {
  readonly type: Type;
  readonly schemaId: number;
  readonly readings: LRUCache<SchemaRef, Reading>;
}

/** Resolvers kept per subject; a topic with more live writer schemas than this still decodes, only slower. */
const MAX_READINGS = 256;

export class Codec {
  readonly #registry: Registry;
  readonly #subjects = new Map<Subject, SubjectCodec>();

  private constructor(registry: Registry) {
    this.#registry = registry;
    for (const subject of SUBJECTS) {
      const schemaId = registry.id(subject);
      const schema = registry.schema(schemaId);
      invariant(schema !== undefined, `the schema of ${subject} is registered`);
      this.#subjects.set(subject, {
        type: boundedType(JSON.parse(schema) as Schema),
        schemaId,
        readings: new LRUCache({ max: MAX_READINGS }),
      });
    }
  }

  static async open(registry: Registry): Promise<Codec> {
    return new Codec(registry);
  }

  /** The avsc type of the shipped schema: bodies without the prefix. */
  type(subject: Subject): Type {
    return this.#subject(subject).type;
  }

  /** The record under the shipped schema: prefix with id, then the Avro body. Throws INTERNAL when it does not fit it. */
  encode(subject: Subject, record: object): Buffer {
    const { type, schemaId } = this.#subject(subject);
    const framed = encodeBody(subject, type, record, PREFIX_BYTES);
    writePrefix(framed, schemaId);
    return framed;
  }

  /** A body that was encoded elsewhere under the shipped schema, with the prefix before it. */
  frame(subject: Subject, body: Buffer): Buffer {
    const framed = Buffer.allocUnsafe(PREFIX_BYTES + body.length);
    writePrefix(framed, this.#subject(subject).schemaId);
    body.copy(framed, PREFIX_BYTES);
    return framed;
  }

  /** The Avro body of a value, a view into it: equal bytes mean equal bodies, as ids differ between registries. */
  body(value: Buffer, headers?: RecordHeaders): Buffer {
    return value.subarray(readFrame(value, headers).bodyStart);
  }

  /**
   * Reads a value of any version of the subject's schema as the shipped one. Does not wait: the schemas of a batch are
   * learned first. Throws RECORD_UNDECODABLE (bytes that no reader can read) and SCHEMA_UNKNOWN (the registry has no
   * such id); both are functions of the bytes and the registry, so the record can be rejected.
   */
  decode<T>(subject: Subject, value: Buffer, headers?: RecordHeaders, position: Position = {}): T {
    try {
      const { schema, bodyStart } = readFrame(value, headers);
      const { type, schemaId, readings } = this.#subject(subject);
      if (schema === schemaId) return readBody(type, undefined, value, bodyStart) as T;
      let reading = readings.get(schema);
      if (reading === undefined) {
        reading = this.#reading(type, schema);
        readings.set(schema, reading);
      }
      if ('problem' in reading) throw new FreshetError('RECORD_UNDECODABLE', reading.problem);
      return readBody(type, reading.resolver, value, bodyStart) as T;
    } catch (error) {
      throw at(error, subject, position);
    }
  }

  /**
   * Looks up the schemas that these records name and this process does not know yet. Call it before a batch is decoded.
   * Throws REGISTRY_UNAVAILABLE, and SCHEMA_PENDING while it is not certain that there is no such schema: never because
   * of a record, so try again later. What is wrong with a record is for `decode` to say.
   */
  async learn(records: readonly { readonly value: Buffer | null; readonly headers?: RecordHeaders }[]): Promise<void> {
    const pending = new Set<SchemaRef>();
    let last: SchemaRef | undefined;
    for (const { value, headers } of records) {
      const ref = value === null ? undefined : namedSchema(value, headers);
      if (ref === undefined || ref === last) continue;
      last = ref;
      // All are asked for before any is waited for, so that they are waited for together.
      if (this.#registry.schema(ref) === undefined && (await this.#registry.learn(ref)) === 'pending') pending.add(ref);
    }
    if (pending.size > 0) throw new FreshetError('SCHEMA_PENDING', schemaList(pending));
  }

  #subject(subject: Subject): SubjectCodec {
    const codec = this.#subjects.get(subject);
    invariant(codec !== undefined, `subject ${subject} is declared in topics`);
    return codec;
  }

  #reading(reader: Type, ref: SchemaRef): Reading {
    const schema = this.#registry.schema(ref);
    if (schema === undefined) throw new FreshetError('SCHEMA_UNKNOWN', `schema ${ref}`);
    try {
      const writer = boundedType(JSON.parse(schema) as Schema);
      // Equal in canonical form: docs and defaults may differ, the bytes do not.
      return { resolver: writer.equals(reader) ? undefined : reader.createResolver(writer) };
    } catch (error) {
      return { problem: `schema ${ref} cannot be read as the shipped one: ${(error as Error).message}` };
    }
  }
}

function readBody(type: Type, resolver: Resolver | undefined, value: Buffer, bodyStart: number): unknown {
  const read = type.decode(value, bodyStart, resolver);
  if (read.offset < 0) throw new Error('the value ends inside the record');
  if (read.offset < value.length) throw new Error(`${value.length - read.offset} bytes follow the record`);
  return read.value as unknown;
}

/** The error with its position; anything that is not ours comes from avsc and is about the bytes. */
function at(error: unknown, subject: Subject, position: Position): FreshetError {
  if (error instanceof FreshetError) {
    return new FreshetError(error.code, `${subject}: ${error.detail}`, { position, cause: error.cause });
  }
  return new FreshetError('RECORD_UNDECODABLE', `${subject}: ${(error as Error).message}`, { position, cause: error });
}

const MAX_LISTED = 5;

function schemaList(refs: ReadonlySet<SchemaRef>): string {
  const listed = [...refs].slice(0, MAX_LISTED).join(', ');
  return `schema ${listed}${refs.size > MAX_LISTED ? ` and ${refs.size - MAX_LISTED} more` : ''}`;
}

function namedSchema(value: Buffer, headers: RecordHeaders | undefined): SchemaRef | undefined {
  try {
    return readFrame(value, headers).schema;
  } catch {
    return undefined; // No schema is named: `decode` rejects the record with the detail.
  }
}
