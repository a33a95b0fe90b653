/** Where labels come from: a file, a topic of JSON objects, or the actions themselves. All as rows, numbered from 1. */
import { FreshetError } from '../base/errors.ts';
import { ndjsonRows } from '../ingest/ndjson-rows.ts';
import type { Column, Row, Rows } from '../ingest/row.ts';
import { openRowFile, type RowFormat } from '../ingest/row-file.ts';
import type { Log, TopicPartition } from '../log/log.ts';
import { records } from '../log/newest.ts';
import { asRecorded, type ActionReader } from '../replay/recorded-rejections.ts';
import type { Codec } from '../serde/codec.ts';
import { CONTROL_HEADER } from '../../topics/index.ts';
import type { UserActionRecord } from '../../topics/records.ts';

export type LabelSource =
  | { readonly kind: 'file'; readonly file: string; readonly format?: RowFormat }
  /** Values are JSON objects, one a record. */
  | { readonly kind: 'topic'; readonly topic: string }
  /** Each action of these types is a label of its item, 1, that stands before itself. Null: all types. */
  | { readonly kind: 'actions'; readonly actionTypes: readonly string[] | null };

export interface OpenedSource {
  readonly rows: Rows;
  /** 0 to 1; null: not known. */
  readonly progress: () => number | null;
}

const ACTIONS_TOPIC = 'user-actions';
const ROWS_AT_ONCE = 512;

/** Throws as `openRowFile` does, and UNKNOWN_TOPIC. */
export async function openLabels(
  source: LabelSource,
  columns: readonly Column[],
  { log, codec }: { readonly log: Log; readonly codec: Codec },
): Promise<OpenedSource> {
  if (source.kind === 'file') {
    const { rows, bytesRead, totalBytes } = await openRowFile(source.file, source.format, columns);
    return { rows, progress: () => (totalBytes === 0 ? null : bytesRead() / totalBytes) };
  }
  const topic = source.kind === 'topic' ? source.topic : ACTIONS_TOPIC;
  const partitions = (await log.topics()).get(topic);
  if (partitions === undefined) throw new FreshetError('UNKNOWN_TOPIC', topic);
  const all = Array.from({ length: partitions }, (_, partition) => ({ topic, partition }));
  const rows =
    source.kind === 'topic'
      ? ndjsonRows(linesOf(log, all), columns)
      : actionRows(log, codec, all, columns, source.actionTypes);
  return { rows, progress: () => null };
}

/** Of what the topic holds now; a line feed in JSON is white space. */
async function* linesOf(log: Log, all: readonly TopicPartition[]): AsyncGenerator<Buffer> {
  for (const at of all) {
    for await (const { value } of records(log, at, await log.startOffset(at), await log.endOffset(at))) {
      if (value !== null) yield Buffer.from(`${value.toString('latin1').replaceAll('\n', ' ')}\n`, 'latin1');
    }
  }
}

async function* actionRows(
  log: Log,
  codec: Codec,
  all: readonly TopicPartition[],
  columns: readonly Column[],
  actionTypes: readonly string[] | null,
): Rows {
  const wanted = actionTypes === null ? null : new Set(actionTypes);
  let rows: Row[] = [];
  for (const at of all) {
    const reader = await asRecorded({ log, codec }, at);
    for await (const record of records(reader.log, at, await log.startOffset(at), await log.endOffset(at))) {
      if (record.value === null || record.headers[CONTROL_HEADER] !== undefined) continue;
      await reader.codec.learn([record]);
      const action = decode(reader.codec, record.value, record.headers);
      if (action === undefined || wanted?.has(action.actionType) === false) continue;
      const { offset: position, timestampMs: time } = record;
      const fields: Record<string, unknown> = { ...action, time, position, label: 1 };
      const line = position + 1;
      rows.push({ line, raw: Buffer.alloc(0), values: columns.map(({ name }) => fields[name]) });
      if (rows.length < ROWS_AT_ONCE) continue;
      yield rows;
      rows = [];
    }
  }
  yield rows;
}

/** Undefined: the task rejects it too. */
function decode(
  codec: ActionReader['codec'],
  value: Buffer,
  headers: Record<string, Buffer>,
): UserActionRecord | undefined {
  try {
    return codec.decode<UserActionRecord>('user-actions-value', value, headers);
  } catch (error) {
    if (error instanceof FreshetError) return undefined;
    throw error;
  }
}
