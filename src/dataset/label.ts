/** Labels: what a model is to learn, of a user at a moment; and what of it waits beside the request for its features. */
import { parseTimeMs, type TimeUnit } from '../ingest/event-time.ts';
import { textOf, type Column, type Row, type RowProblem } from '../ingest/row.ts';
import type { Request } from './request.ts';

export const LABEL_FIELDS = ['userId', 'itemId', 'time', 'label', 'position'] as const;
export type LabelField = (typeof LABEL_FIELDS)[number];

export interface LabelLayoutOptions {
  /** Field to column; a field that is not named here is taken from the column of its own name. */
  readonly map?: Readonly<Partial<Record<LabelField, string>>>;
  /** Further columns of the source that the rows get, as text. */
  readonly keep?: readonly string[];
  /** Unit of times given as integers. Default ms. */
  readonly timeUnit?: TimeUnit;
  /** Whether a position alone does not place a label: a lag counts from its time. */
  readonly needsTime: boolean;
  readonly maxIdBytes: number;
}

/** A request's payload. */
export interface LabelContent {
  readonly itemId: string | null;
  readonly label: number | null;
  /** One for each kept column. */
  readonly kept: readonly (string | null)[];
}

export const encodeContent = (content: LabelContent): Buffer => Buffer.from(JSON.stringify(content));
export const contentOf = ({ payload }: Pick<Request, 'payload'>): LabelContent =>
  JSON.parse(payload.toString()) as LabelContent;

export class LabelLayout {
  /** The columns to read, in the order in which `request` expects their values. */
  readonly columns: readonly Column[];
  readonly kept: readonly string[];
  private readonly options: LabelLayoutOptions;

  constructor(options: LabelLayoutOptions) {
    const { map, keep = [] } = options;
    this.options = options;
    this.kept = keep;
    this.columns = [
      ...LABEL_FIELDS.map((field) => ({
        name: map?.[field] ?? field,
        required: field === 'userId' || map?.[field] !== undefined,
      })),
      ...keep.map((name) => ({ name, required: true })),
    ];
  }

  /** The request for a label's features, or why there can be none. */
  request(row: Row, number: number): Request | RowProblem {
    const [user, item, time, label, position, ...kept] = row.values;
    const { maxIdBytes, needsTime, timeUnit = 'ms' } = this.options;
    const userId = textOf(user, 'userId');
    if (typeof userId !== 'string') return userId;
    if (userId === '') return { cause: 'missing_field', detail: 'no userId' };
    if (Buffer.byteLength(userId) > maxIdBytes) return badField(`the userId has more than ${maxIdBytes} bytes`);
    const itemId = isAbsent(item) ? null : textOf(item, 'itemId');
    if (itemId !== null && typeof itemId !== 'string') return itemId;
    const value = isAbsent(label) ? null : numberOf(label);
    if (value === undefined) return badField('the label is no number');
    const place = isAbsent(position) ? null : offsetOf(position);
    if (place === undefined) return badField('the position is no offset');
    const timeMs = isAbsent(time) ? null : parseTimeMs(time instanceof Date ? time.getTime() : time, timeUnit);
    if (timeMs === undefined) return { cause: 'bad_time', detail: 'time is no time between 1970 and 9999' };
    if (timeMs === null && place === null) return { cause: 'missing_field', detail: 'neither time nor position' };
    if (timeMs === null && needsTime) return { cause: 'missing_field', detail: 'no time, from which the lag counts' };
    const payload = encodeContent({ itemId, label: value, kept: kept.map(plainText) });
    return { number, userId, timeMs, position: place, payload };
  }
}

const badField = (detail: string): RowProblem => ({ cause: 'bad_field', detail });

const isAbsent = (value: unknown): boolean => value === undefined || value === null || value === '';

/** Finite numbers, as themselves or as text; true is 1, false 0. */
function numberOf(value: unknown): number | undefined {
  const number = typeof value === 'string' && value.trim() === '' ? NaN : Number(value);
  const isPlain = ['string', 'number', 'bigint', 'boolean'].includes(typeof value);
  return isPlain && Number.isFinite(number) ? number : undefined;
}

function offsetOf(value: unknown): number | undefined {
  const offset = numberOf(value);
  return offset !== undefined && Number.isSafeInteger(offset) && offset >= 0 ? offset : undefined;
}

function plainText(value: unknown): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === 'string') return value;
  if (typeof value === 'bigint') return value.toString();
  return value instanceof Date ? value.toISOString() : JSON.stringify(value, digits);
}

/** JSON has no BigInt. */
const digits = (_name: string, value: unknown): unknown => (typeof value === 'bigint' ? value.toString() : value);
