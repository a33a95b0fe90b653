/** How the columns of a file become the fields of an action, and a row of it becomes a record. */
import { FreshetError } from '../base/errors.ts';
import type { UserActionRecord } from '../../topics/records.ts';
import { DESKDROP, deskdropSurface } from './deskdrop.ts';
import { parseTimeMs, type TimeUnit } from './event-time.ts';
import { textOf } from './row.ts';
import type { Column, Row, RowProblem } from './row.ts';

export const ACTION_FIELDS = ['userId', 'itemId', 'actionType', 'eventTime', 'surface', 'arrivalTime'] as const;
export type ActionField = (typeof ACTION_FIELDS)[number];
export type ActionFormat = 'csv' | 'ndjson' | 'deskdrop';

export interface ActionLayoutOptions {
  readonly format: ActionFormat;
  /** CSV: whether the first line is a header. Default true. */
  readonly header?: boolean;
  /** CSV: names of the columns, in place of those of the header. */
  readonly columns?: readonly string[];
  /** Field to column; a field that is not named here is taken from the column of its own name. */
  readonly map?: Readonly<Partial<Record<ActionField, string>>>;
  /** Unit of times given as integers. Default ms. */
  readonly timeUnit?: TimeUnit;
  /** Action type of the file to action type of the log; others are kept. */
  readonly actionMap?: Readonly<Record<string, string>>;
}

export interface MappedAction {
  readonly record: UserActionRecord;
  /** The record's timestamp: arrival time where the file has one, else event time; milliseconds since the epoch. */
  readonly timestampMs: number;
}

const REQUIRED: ReadonlySet<ActionField> = new Set(['userId', 'itemId', 'actionType', 'eventTime']);

export class ActionLayout {
  /** The columns to read, in the order in which `action` expects their values. */
  readonly columns: readonly Column[];
  readonly #timeUnit: TimeUnit;
  readonly #actionMap: ReadonlyMap<string, string>;

  /** Throws USAGE when the options contradict each other. */
  constructor(options: ActionLayoutOptions) {
    checkUsage(options);
    const preset = options.format === 'deskdrop' ? DESKDROP : undefined;
    const map: Partial<Record<ActionField, string>> = { ...preset?.map, ...options.map };
    this.columns = [
      ...ACTION_FIELDS.map((field) => ({
        name: map[field] ?? field,
        required: REQUIRED.has(field) || isMapped(options, field),
      })),
      ...(preset === undefined ? [] : [{ name: preset.userAgentColumn, required: false }]),
    ];
    this.#timeUnit = options.timeUnit ?? preset?.timeUnit ?? 'ms';
    this.#actionMap = new Map(Object.entries({ ...preset?.actionMap, ...options.actionMap }));
  }

  /**
   * The record of a row, or why it cannot be made into one: without user or time it has no place in the log. What the
   * task judges (unknown types, empty or oversized items, times in the future) is left to the task.
   */
  action(row: Row): MappedAction | RowProblem {
    const [user, item, type, time, surface, arrival, userAgent] = row.values;
    const userId = textOf(user, 'userId');
    if (typeof userId !== 'string') return userId;
    if (userId === '') return { cause: 'missing_field', detail: 'no userId' };
    const itemId = textOf(item, 'itemId');
    if (typeof itemId !== 'string') return itemId;
    const actionType = textOf(type, 'actionType');
    if (typeof actionType !== 'string') return actionType;
    if (isAbsent(time)) return { cause: 'missing_field', detail: 'no eventTime' };
    const eventTimeMs = parseTimeMs(time, this.#timeUnit);
    if (eventTimeMs === undefined) return badTime('eventTime');
    const timestampMs = isAbsent(arrival) ? eventTimeMs : parseTimeMs(arrival, this.#timeUnit);
    if (timestampMs === undefined) return badTime('arrivalTime');
    const where = isAbsent(surface) ? deskdropSurface(userAgent) : textOf(surface, 'surface');
    if (typeof where !== 'string' && where !== null) return where;
    const mappedType = this.#actionMap.get(actionType) ?? actionType;
    return { record: { userId, itemId, actionType: mappedType, eventTimeMs, surface: where }, timestampMs };
  }
}

const isMapped = ({ map }: ActionLayoutOptions, field: ActionField): boolean => map?.[field] !== undefined;

const isAbsent = (value: unknown): boolean => value === undefined || value === null || value === '';

const badTime = (field: string): RowProblem => ({
  cause: 'bad_time',
  detail: `${field} is no integer or ISO-8601 time between 1970 and 9999: is the time unit right?`,
});

function checkUsage({ format, header, columns }: ActionLayoutOptions): void {
  if (format === 'ndjson' && (columns !== undefined || header === false)) {
    throw new FreshetError('USAGE', '--columns and --no-header are for CSV: an NDJSON row names its own fields');
  }
  if (header === false && columns === undefined) throw new FreshetError('USAGE', '--no-header needs --columns');
  if (columns !== undefined && new Set(columns).size < columns.length) {
    throw new FreshetError('USAGE', '--columns names a column twice');
  }
}
