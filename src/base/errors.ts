/**
 * Every error a user can meet: one code, what happened, what to do. The codes are stable: scripts and alerts may rely
 * on them. The exit code says who has to act: 1 failed, 2 wrong use, 3 bad input data, 4 a state that needs a person.
 */

/** Where in the log something happened. The user is named by a hash, never in the clear (see `userHash`). */
export interface Position {
  readonly topic?: string;
  readonly partition?: number;
  readonly offset?: number;
  readonly userHash?: string;
}

interface ErrorKind {
  readonly exitCode: 1 | 2 | 3 | 4;
  readonly message: string;
  readonly remedy: string;
}

const kind = (exitCode: ErrorKind['exitCode'], message: string, remedy: string): ErrorKind => ({
  exitCode,
  message,
  remedy,
});

export const ERRORS = {
  // Wrong use
  USAGE: kind(2, 'The command was called in a way it does not understand', 'See `freshet --help`.'),
  CONFIG_UNKNOWN_KEY: kind(2, 'The configuration has a key that Freshet does not know', 'Correct or remove the key.'),
  CONFIG_INVALID: kind(
    2,
    'The configuration is not valid',
    'Correct the value; docs/configuration.md lists all of them.',
  ),
  FILE_NOT_FOUND: kind(2, 'The file cannot be read', 'Check the path and the permissions.'),
  UNKNOWN_TOPIC: kind(2, 'There is no such topic', '`freshet topics list` prints the topics.'),
  UNKNOWN_USER: kind(3, 'No state is kept for this user', 'Check the id, or run `freshet run --until-end` first.'),

  // Bad input data
  INPUT_MALFORMED: kind(3, 'The input cannot be read', 'Correct the input at the stated position.'),
  ROW_REJECTED: kind(3, 'A row of the input is not valid', 'Correct the row, or load without --strict.'),
  SCHEMA_UNKNOWN: kind(3, 'The registry does not know the schema id', 'Register the schema, or correct the producer.'),
  RECORD_UNDECODABLE: kind(3, 'The record does not match its schema', 'Correct the producer.'),
  VECTOR_INVALID: kind(3, 'A vector is not valid', 'Vectors need finite numbers and the dimension of their version.'),
  VECTOR_VERSION_EXISTS: kind(
    2,
    'The vector version exists with other content',
    'Versions never change: load the vectors under another name.',
  ),
  VECTOR_VERSION_UNKNOWN: kind(2, 'There is no such vector version', 'Load it first: `freshet vectors load`.'),

  // States that need a person
  DATA_DIR_IN_USE: kind(
    4,
    'Another process holds the data folder',
    'Stop the other process, or use another --data-dir. One folder serves one process.',
  ),
  DISK_FULL: kind(4, 'The disk is full', 'Make room and start again: nothing that was committed is lost.'),
  STORAGE_FAILED: kind(
    4,
    'The data folder cannot be read or written',
    'Check the path, its permissions, quotas and the disk, then start again.',
  ),
  LOG_GAP: kind(
    4,
    'The log has a hole: a record between the first and the last offset is missing',
    'The log is the source of truth and cannot be repaired: restore the data folder from a copy, or load the source again into a new one.',
  ),
  LOG_CORRUPT: kind(
    4,
    'A record of the log is damaged',
    'The log is the source of truth and cannot be repaired: restore the data folder from a copy, or load the source again into a new one.',
  ),
  LOG_FORMAT: kind(4, 'The data folder was written by another version of Freshet', 'See CHANGELOG.md for the upgrade.'),
  OFFSET_OUT_OF_RANGE: kind(
    4,
    'The committed offset is not in the log',
    'The input was cut or re-created. Nothing is reset silently: restore the data folder, or load the source again into a new one.',
  ),
  OUTPUT_TRUNCATED: kind(
    4,
    'An output topic ends before what was committed',
    'The topic was emptied or re-created: restore the data folder, or load the source again into a new one.',
  ),
  FEATURES_ORPHANED: kind(
    4,
    'The features topic has records but nothing was ever committed',
    'The offsets were lost or the app id is new to this log: use the app id that wrote it, or a new data folder.',
  ),
  INPUT_RECREATED: kind(
    4,
    'A restored user is newer than the committed offset',
    'The input was re-created under the same name: restore the data folder, or load the source again into a new one.',
  ),
  LAYOUT_CHANGED: kind(
    4,
    'The configuration keeps another state than the one this app id has written',
    'K, C, sequences and half-lives are fixed with the first commit: undo the change, or load the source into a new data folder.',
  ),
  PARTITIONS_CHANGED: kind(
    4,
    'The topic has another number of partitions than configured',
    'Partition counts are pinned: set `partitions` to what the topic has, or start with a new data folder.',
  ),
  ITEM_VERSION_INCOMPLETE: kind(
    4,
    'The log activates an item-vector version whose table is not complete',
    'Load the version again (`freshet vectors load` resumes), then start again.',
  ),
  SPACE_MISMATCH: kind(
    4,
    'The activated item vectors live in another space than the one the model was trained on',
    'Deploy the model that belongs to these vectors (--model): an activation in the log cannot be taken back.',
  ),
  SCHEMA_INCOMPATIBLE: kind(
    4,
    'A schema is not compatible with an earlier one of its subject',
    'Topics are replayed, so every version must read every other: add or remove only fields that have a default.',
  ),
  SCHEMA_TABLE_INVALID: kind(
    4,
    'The table of schema ids in the data folder cannot be used',
    'It says under which schema each record was written: restore it from a copy, or load the source again into a new data folder.',
  ),
  MODEL_INVALID: kind(4, 'The intent model cannot be used', 'Use a model with a complete card; see docs/models.md.'),
  FENCED: kind(1, 'Another process has taken over this partition', 'Nothing to do: the other one goes on.'),
  STORE_DAMAGED: kind(
    1,
    'The local state store is damaged',
    'Nothing to do: the store is a cache of the log; it is wiped and rebuilt from there.',
  ),
  REGISTRY_UNAVAILABLE: kind(
    1,
    'The schema registry does not answer',
    'Check the registry; Freshet goes on by itself.',
  ),
  INTERNAL: kind(1, 'An invariant of Freshet does not hold', 'This is a defect: please report it with the log lines.'),
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

export class FreshetError extends Error {
  override readonly name = 'FreshetError';
  readonly code: ErrorCode;
  /** What exactly is wrong, without the kind's general sentence and the position. */
  readonly detail: string;
  readonly remedy: string;
  readonly exitCode: number;
  readonly position: Position;

  constructor(
    code: ErrorCode,
    detail: string,
    options: { position?: Position; cause?: unknown; remedy?: string } = {},
  ) {
    const where = describePosition(options.position);
    super(`${ERRORS[code].message}: ${detail}${where}`, { cause: options.cause });
    this.code = code;
    this.detail = detail;
    this.remedy = options.remedy ?? ERRORS[code].remedy;
    this.exitCode = ERRORS[code].exitCode;
    this.position = options.position ?? {};
  }
}

/** Throws INTERNAL when something that must hold does not. */
export function invariant(holds: boolean, what: string, position?: Position): asserts holds {
  if (!holds) throw new FreshetError('INTERNAL', what, position === undefined ? {} : { position });
}

/** The file system's and LevelDB's errors that a person has to act on, told apart; undefined for any other error. */
export function storageError(error: unknown, detail: string): FreshetError | undefined {
  const text = errorTexts(error);
  if (/ENOSPC|No space left/i.test(text)) return new FreshetError('DISK_FULL', detail, { cause: error });
  if (/LEVEL_LOCKED|already held by process|lock .*(temporarily|unavailable)/i.test(text)) {
    return new FreshetError('DATA_DIR_IN_USE', detail, { cause: error });
  }
  return undefined;
}

function errorTexts(error: unknown): string {
  const texts: string[] = [];
  for (let current = error; current instanceof Error; current = current.cause) {
    texts.push(`${(current as NodeJS.ErrnoException).code ?? ''} ${current.message}`);
  }
  return texts.join('\n');
}

function describePosition(position: Position = {}): string {
  const parts = [
    position.topic !== undefined ? `topic ${position.topic}` : '',
    position.partition !== undefined ? `partition ${position.partition}` : '',
    position.offset !== undefined ? `offset ${position.offset}` : '',
    position.userHash !== undefined ? `user ${position.userHash}` : '',
  ].filter((part) => part !== '');
  return parts.length === 0 ? '' : ` (${parts.join(', ')})`;
}
