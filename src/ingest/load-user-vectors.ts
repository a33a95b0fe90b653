/** `freshet vectors load --kind=user`: a file of long-term user vectors into `user-embeddings`. */
import { FreshetError } from '../base/errors.ts';
import { partitionOf } from '../base/murmur2.ts';
import type { UserEmbeddingRecord } from '../../topics/records.ts';
import { AppendBatch } from './append-batch.ts';
import { parseTimeMs } from './event-time.ts';
import { checkVersionName } from './item-version.ts';
import { invalid, readId, readVectorRows } from './load-vectors.ts';
import type { LoadVectorsOptions } from './load-vectors.ts';
import type { Column, Row } from './row.ts';
import { readVector } from './vector-value.ts';

const TOPIC = 'user-embeddings';

export interface LoadUserVectorsOptions extends LoadVectorsOptions {
  /** The vectors use only actions before this time, ISO-8601 or milliseconds since the epoch; for rows without `asOf`. */
  readonly asOf?: string | number;
  /** Field to column, where they differ. */
  readonly map?: Readonly<Partial<Record<'userId' | 'vector' | 'asOf', string>>>;
}

export interface LoadUserVectorsResult {
  readonly rows: number;
  /** Components of each vector; null when there were no rows. */
  readonly dimension: number | null;
}

/**
 * Appends each row under its user, with `asOf` as the record's timestamp; the newest vector of a user wins, so loading a
 * file again is harmless. Throws VECTOR_INVALID with the row (those before it may be in), UNKNOWN_TOPIC, USAGE,
 * FILE_NOT_FOUND, INPUT_MALFORMED.
 */
export async function loadUserVectors(options: LoadUserVectorsOptions): Promise<LoadUserVectorsResult> {
  const { log, codec, version, space, map } = options;
  checkVersionName(version);
  const defaultMs = options.asOf === undefined ? undefined : parseTimeMs(options.asOf, 'ms');
  if (options.asOf !== undefined && defaultMs === undefined) {
    throw new FreshetError('USAGE', `--as-of=${options.asOf} is no time between 1970 and 9999`);
  }
  const partitions = (await log.topics()).get(TOPIC);
  if (partitions === undefined) throw new FreshetError('UNKNOWN_TOPIC', TOPIC);
  const columns: Column[] = [
    { name: map?.userId ?? 'userId', required: true },
    { name: map?.vector ?? 'vector', required: true },
    { name: map?.asOf ?? 'asOf', required: map?.asOf !== undefined },
  ];
  const batch = new AppendBatch(log);
  let rows = 0;
  let dimension: number | null = null;
  await readVectorRows(options, columns, async (row) => {
    const userId = readId(row, row.values[0], 'userId');
    const vector = readVector(row.values[1]);
    if (typeof vector === 'string' || vector === null) throw invalid(row.line, vector ?? 'no vector');
    dimension ??= vector.length;
    if (vector.length !== dimension) {
      throw invalid(row.line, `the vector has ${vector.length} components, those before it ${dimension}`);
    }
    const asOfMs = readAsOf(row, defaultMs);
    const record: UserEmbeddingRecord = { userId, version, asOfMs, space, vector };
    const key = Buffer.from(userId);
    const value = codec.encode('user-embeddings-value', record);
    batch.add({ topic: TOPIC, partition: partitionOf(key, partitions), timestampMs: asOfMs, key, value });
    rows += 1;
    if (batch.isFull()) await batch.flush();
  });
  await batch.flush();
  return { rows, dimension };
}

function readAsOf(row: Row, defaultMs: number | undefined): number {
  const value = row.values[2];
  if (value === undefined || value === null || value === '') {
    if (defaultMs === undefined) throw invalid(row.line, 'no asOf: say with --as-of which actions the vectors know');
    return defaultMs;
  }
  const asOfMs = parseTimeMs(value instanceof Date ? value.getTime() : value, 'ms');
  if (asOfMs === undefined) throw invalid(row.line, 'asOf is no time between 1970 and 9999');
  return asOfMs;
}
