/**
 * Confluent's wire format: how a value names the schema it was written with. Three forms are read, the first is written:
 *
 *     0, id (int32, big-endian), Avro body        the prefix with an id
 *     1, GUID (16 bytes), Avro body               the prefix with a GUID
 *     Avro body, header __value_schema_id         the header holds either prefix, as HeaderSchemaIdSerializer writes it
 */
import { FreshetError } from '../base/errors.ts';

export type RecordHeaders = Readonly<Record<string, Buffer>>;

/** Names a schema: the registry's id, or its GUID in lower case with hyphens. */
export type SchemaRef = number | string;

export interface Frame {
  readonly schema: SchemaRef;
  /** Where the Avro body starts in the value, bytes. */
  readonly bodyStart: number;
}

export const VALUE_SCHEMA_ID_HEADER = '__value_schema_id';
/** Bytes before the body in the form that is written: magic byte and id. */
export const PREFIX_BYTES = 5;

const MAGIC_ID = 0;
const MAGIC_GUID = 1;
const GUID_PREFIX_BYTES = 17;

/** Reads which schema a value names; throws RECORD_UNDECODABLE when it names none. */
export function readFrame(value: Buffer, headers?: RecordHeaders): Frame {
  const header = headers?.[VALUE_SCHEMA_ID_HEADER];
  if (header === undefined) return readPrefix(value, 'value');
  return { schema: readPrefix(header, `header ${VALUE_SCHEMA_ID_HEADER}`).schema, bodyStart: 0 };
}

/** Writes the prefix into the first PREFIX_BYTES of `target`. */
export function writePrefix(target: Buffer, schemaId: number): void {
  target[0] = MAGIC_ID;
  target.writeInt32BE(schemaId, 1);
}

function readPrefix(bytes: Buffer, where: string): Frame {
  const magic = bytes[0];
  if (magic === MAGIC_ID && bytes.length >= PREFIX_BYTES) {
    return { schema: bytes.readInt32BE(1), bodyStart: PREFIX_BYTES };
  }
  if (magic === MAGIC_GUID && bytes.length >= GUID_PREFIX_BYTES) {
    return { schema: formatGuid(bytes.toString('hex', 1, GUID_PREFIX_BYTES)), bodyStart: GUID_PREFIX_BYTES };
  }
  if (magic === undefined) throw new FreshetError('RECORD_UNDECODABLE', `the ${where} is empty`);
  if (magic === MAGIC_ID || magic === MAGIC_GUID) {
    throw new FreshetError('RECORD_UNDECODABLE', `the ${where} ends inside the schema id, after ${bytes.length} bytes`);
  }
  throw new FreshetError('RECORD_UNDECODABLE', `the ${where} starts with byte ${magic}, no magic byte of a schema id`);
}

const formatGuid = (hex: string): string =>
  `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
