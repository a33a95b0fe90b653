/** What the ranker was given: a log of it, or the records that it reads. Each is asked about as of its own moment. */
import { FreshetError } from '../base/errors.ts';
import { parseTimeMs, type TimeUnit } from '../ingest/event-time.ts';
import { openRowFile, type RowFormat } from '../ingest/row-file.ts';
import { textOf, type Row, type RowProblem } from '../ingest/row.ts';
import type { Log } from '../log/log.ts';
import { records } from '../log/newest.ts';
import type { Codec } from '../serde/codec.ts';
import type { RankingFeaturesRecord } from '../../topics/records.ts';
import type { ServedFeatures } from './feature-values.ts';
import type { Request } from './request.ts';

/** A file of { userId, time, features }, features as a ranking-features record in JSON; or that topic itself. */
export type ServedSource =
  | { readonly kind: 'file'; readonly file: string; readonly format?: RowFormat; readonly timeUnit?: TimeUnit }
  | { readonly kind: 'topic' };

export interface Served {
  readonly userId: string;
  /** When it was given to the ranker; null: a record that says only of which version it is. */
  readonly timeMs: number | null;
  readonly features: ServedFeatures;
}

const FIELDS = ['userId', 'time', 'features'];
const TOPIC = 'ranking-features';

/** Those that can be read; the others are told with their cause. */
export async function* readServed(
  source: ServedSource,
  { log, codec, maxIdBytes }: { readonly log: Log; readonly codec: Codec; readonly maxIdBytes: number },
): AsyncGenerator<Served | RowProblem> {
  if (source.kind === 'file') {
    const columns = FIELDS.map((name) => ({ name, required: true }));
    const { rows } = await openRowFile(source.file, source.format, columns);
    for await (const read of rows)
      for (const row of read) yield row.problem ?? servedRow(row, source.timeUnit, maxIdBytes);
    return;
  }
  const partitions = (await log.topics()).get(TOPIC);
  if (partitions === undefined) throw new FreshetError('UNKNOWN_TOPIC', TOPIC);
  for (let partition = 0; partition < partitions; partition += 1) {
    const at = { topic: TOPIC, partition };
    for await (const record of records(log, at, await log.startOffset(at), await log.endOffset(at))) {
      if (record.value === null) continue;
      await codec.learn([record]);
      const position = { ...at, offset: record.offset };
      const subject = 'ranking-features-value';
      const features = codec.decode<RankingFeaturesRecord>(subject, record.value, record.headers, position);
      yield { userId: features.userId, timeMs: null, features };
    }
  }
}

function servedRow({ values }: Row, timeUnit: TimeUnit = 'ms', maxIdBytes: number): Served | RowProblem {
  const [user, time, features] = values;
  const userId = textOf(user, 'userId');
  if (typeof userId !== 'string') return userId;
  if (userId === '' || Buffer.byteLength(userId) > maxIdBytes) return { cause: 'bad_field', detail: 'no such userId' };
  const timeMs = parseTimeMs(time instanceof Date ? time.getTime() : time, timeUnit);
  if (timeMs === undefined) return { cause: 'bad_time', detail: 'time is no time between 1970 and 9999' };
  const parsed = typeof features === 'string' ? parsedJson(features) : features;
  if (typeof parsed !== 'object' || parsed === null) return { cause: 'bad_field', detail: 'features are no object' };
  return { userId, timeMs, features: parsed };
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What could be served at its time, and what its own version holds; even numbers are the former. */
export function requestsOf({ userId, timeMs, features }: Served, number: number): Request[] {
  const payload = Buffer.from(JSON.stringify(features));
  const version = features.realtime?.version;
  const asked: Request[] = [];
  if (timeMs !== null) asked.push({ number: 2 * number, userId, timeMs, position: null, payload });
  if (version !== undefined) {
    asked.push({ number: 2 * number + 1, userId, timeMs: null, position: version + 1, payload });
  }
  return asked;
}

export const servedFeaturesOf = ({ payload }: Pick<Request, 'payload'>): ServedFeatures =>
  JSON.parse(payload.toString()) as ServedFeatures;
