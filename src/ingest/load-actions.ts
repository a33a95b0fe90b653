/**
 * The engine of `freshet load`: a file of actions into `user-actions`. Rows keep their order within a partition. Batches
 * are durable as they go, so a load that fails says how many rows are in and where to go on; loading a file twice
 * appends it twice, and the task drops the second as duplicate or late.
 */
import { FreshetError } from '../base/errors.ts';
import { partitionOf } from '../base/murmur2.ts';
import type { Log, NewRecord } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import type { UserActionRecord } from '../../topics/records.ts';
import { ActionLayout } from './action-layout.ts';
import type { ActionLayoutOptions, MappedAction } from './action-layout.ts';
import { AppendBatch } from './append-batch.ts';
import { CSV_NAME, csvRows } from './csv-rows.ts';
import { DESKDROP } from './deskdrop.ts';
import { NDJSON_NAME, ndjsonRows } from './ndjson-rows.ts';
import { ProgressMeter } from './progress.ts';
import type { OnProgress } from './progress.ts';
import { RejectedRows } from './rejected-rows.ts';
import type { BadRow, Row, RowCause, RowProblem, Rows } from './row.ts';
import { byExtension, openSource, type EntryChoice, type SourceEntry } from './source.ts';

const TOPIC = 'user-actions';

export interface LoadActionsOptions extends ActionLayoutOptions {
  readonly log: Log;
  readonly codec: Pick<Codec, 'encode'>;
  readonly file: string;
  /** Bad rows go to `<dataDir>/rejected-rows/<name of the file>.ndjson`. */
  readonly dataDir: string;
  /** Stop at the first bad row, with nothing after it loaded. Default false. */
  readonly strict?: boolean;
  /** Rows at the start that an interrupted load has dealt with. Default 0. */
  readonly skipRows?: number;
  /** What has to stand in the log before an action, such as the item vectors of its day. Called for each, in order. */
  readonly before?: (action: UserActionRecord) => readonly NewRecord[];
  readonly onProgress?: OnProgress;
}

export interface LoadActionsResult {
  /** Rows dealt with, bad ones among them, skipped ones not. */
  readonly rowsRead: number;
  readonly appended: number;
  readonly rejected: Readonly<Partial<Record<RowCause, number>>>;
  /** Path of the side file; null when no row was bad. */
  readonly sideFile: string | null;
}

/**
 * Loads a file. Throws USAGE, FILE_NOT_FOUND, UNKNOWN_TOPIC, INPUT_MALFORMED (an unreadable archive, a missing column),
 * ROW_REJECTED (strict) and what the log throws; the last three say how many rows are in.
 */
export async function loadActions(options: LoadActionsOptions): Promise<LoadActionsResult> {
  const layout = new ActionLayout(options);
  const partitions = (await options.log.topics()).get(TOPIC);
  if (partitions === undefined) throw new FreshetError('UNKNOWN_TOPIC', TOPIC);
  const source = await openSource(options.file, entryChoice(options));
  const skipRows = options.skipRows ?? 0;
  const rejects = await RejectedRows.open(options.dataDir, options.file, skipRows > 0);
  const load = new ActionLoad(options, layout, partitions, rejects);
  const meter = new ProgressMeter(options.onProgress);
  try {
    for await (const entry of source.entries()) {
      for await (const rows of readRows(entry, layout, options)) {
        for (const row of rows) {
          const problem = load.take(row, entry.name);
          if (problem !== undefined && options.strict === true) throw await load.refusal(row, problem, entry.name);
          if (load.isFull) await load.flush();
        }
        meter.tell(load.rows, source.bytesRead(), source.totalBytes);
      }
    }
    await load.flush();
  } catch (error) {
    throw interrupted(error, load.durableRows);
  } finally {
    await rejects.close();
  }
  const hasRejected = Object.keys(rejects.counts).length > 0;
  return {
    rowsRead: Math.max(0, load.rows - skipRows),
    appended: load.appended,
    rejected: rejects.counts,
    sideFile: hasRejected ? rejects.path : null,
  };
}

class ActionLoad {
  /** Rows of the file so far, skipped and bad ones among them; and how many of them are dealt with for good. */
  rows = 0;
  durableRows = 0;
  appended = 0;
  readonly #options: LoadActionsOptions;
  readonly #layout: ActionLayout;
  readonly #partitions: number;
  readonly #rejects: RejectedRows;
  readonly #batch: AppendBatch;

  constructor(options: LoadActionsOptions, layout: ActionLayout, partitions: number, rejects: RejectedRows) {
    this.#options = options;
    this.#layout = layout;
    this.#partitions = partitions;
    this.#rejects = rejects;
    this.#batch = new AppendBatch(options.log);
  }

  /** Not async, as it runs for every row; returns what is wrong with a bad one, which is then set aside. */
  take(row: Row | BadRow, entry: string | null): RowProblem | undefined {
    this.rows += 1;
    if (this.rows <= (this.#options.skipRows ?? 0)) return undefined;
    const action = row.problem ?? this.#layout.action(row);
    if ('record' in action) {
      this.#append(action);
      return undefined;
    }
    this.#rejects.add({ entry, line: row.line, raw: row.raw }, action);
    return action;
  }

  get isFull(): boolean {
    return this.#batch.isFull(this.#rejects.waiting);
  }

  /** Of a strict load, once all before the row is in. */
  async refusal(row: Row | BadRow, { cause, detail }: RowProblem, entry: string | null): Promise<FreshetError> {
    await this.flush();
    this.durableRows -= 1;
    const where = entry === null ? '' : ` of ${entry}`;
    return new FreshetError('ROW_REJECTED', `line ${row.line}${where}: ${cause}, ${detail}`);
  }

  async flush(): Promise<void> {
    await this.#batch.flush();
    await this.#rejects.flush();
    this.durableRows = this.rows;
  }

  #append({ record, timestampMs }: MappedAction): void {
    for (const earlier of this.#options.before?.(record) ?? []) this.#batch.add(earlier);
    const key = Buffer.from(record.userId);
    const value = this.#options.codec.encode('user-actions-value', record);
    this.#batch.add({ topic: TOPIC, partition: partitionOf(key, this.#partitions), timestampMs, key, value });
    this.appended += 1;
  }
}

function readRows(entry: SourceEntry, layout: ActionLayout, { format, header, columns }: LoadActionsOptions): Rows {
  return format === 'ndjson'
    ? ndjsonRows(entry.chunks, layout.columns)
    : csvRows(entry.chunks, layout.columns, { header: header ?? true, columns: columns ?? null });
}

function entryChoice({ format }: LoadActionsOptions): EntryChoice {
  if (format === 'ndjson') return byExtension(NDJSON_NAME);
  if (format === 'csv') return byExtension(CSV_NAME);
  return (names) => {
    const actions = names.filter((name) => name.endsWith(DESKDROP.zipEntry));
    return actions.length > 0 ? actions : byExtension(CSV_NAME)(names);
  };
}

/** The error, and from which row to go on. */
function interrupted(error: unknown, durableRows: number): unknown {
  if (!(error instanceof FreshetError) || durableRows === 0) return error;
  const { code, detail, position, remedy } = error;
  const goOn = `${durableRows} rows are dealt with: go on with --skip-rows=${durableRows}.`;
  return new FreshetError(code, detail, { position, cause: error, remedy: `${remedy} ${goOn}` });
}
