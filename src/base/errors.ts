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
    'The input was cut or re-created. Nothing is reset silently: restore the data folder, or load the source again into a new one. On Kafka: load it again into new topics, under a new app id.',
  ),
  OUTPUT_TRUNCATED: kind(
    4,
    'An output topic ends before what was committed',
    'The topic was emptied or re-created: restore the data folder, or load the source again into a new one. On Kafka: delete the output topics, make them with `freshet topics apply`, and start under a new app id: all is computed again from user-actions.',
  ),
  FEATURES_ORPHANED: kind(
    4,
    'The features topic has records but nothing was ever committed',
    'The offsets were lost or the app id is new to this log: use the app id that wrote it, or a new data folder. On Kafka: delete the output topics, make them with `freshet topics apply`, and start under a new app id: all is computed again from user-actions.',
  ),
  INPUT_RECREATED: kind(
    4,
    'A restored user is newer than the committed offset',
    'The input was re-created under the same name: restore the data folder, or load the source again into a new one. On Kafka: load it again into new topics, under a new app id.',
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
  TOPIC_CONFIG: kind(
    4,
    'The topics are not as they must be',
    '`freshet topics plan` shows the differences, `freshet topics apply` removes those that can be removed safely.',
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
  ERASE_UNPROVEN: kind(
    1,
    'Something of the erased user is still there',
    'The result says where. On Kafka compaction and retention need their time; erase again with --prove then. docs/privacy.md has the rest.',
  ),
  HTTP_UNAVAILABLE: kind(
    4,
    'The address for health and metrics cannot be listened on',
    'Free the port or set another with --http-port (0 takes a free one), and --http-host to an address of this machine.',
  ),
  MODEL_INVALID: kind(4, 'The intent model cannot be used', 'Use a model with a complete card; see docs/models.md.'),
  APP_UNKNOWN: kind(
    2,
    'The application has committed nothing in this log',
    'Check appId: `freshet status` shows what an application has committed.',
  ),
  APP_MOVED: kind(
    4,
    'The application has handed its topics to another one',
    'Run that one (--app-id, with its configuration). If it does not start, `freshet migrate` was interrupted: run it again.',
  ),
  APP_LIVE: kind(
    4,
    'Workers of the application are live',
    'Stop all of them (`freshet status` says who serves what) and run the command again.',
  ),
  SNAPSHOT_UNKNOWN: kind(2, 'There is no such snapshot', '`freshet snapshot list` prints them.'),
  SNAPSHOT_DAMAGED: kind(
    4,
    'A snapshot is damaged',
    'Remove its folder and use another one: nothing else was changed, and the log alone brings every store back.',
  ),
  STATE_MOVE_UNFINISHED: kind(
    4,
    'A reset or a migration of this application was interrupted',
    'Run the same `freshet reset` or `freshet migrate` again: it goes on where it was.',
  ),
  MIGRATION_REFUSED: kind(
    4,
    'The state cannot be carried over to this configuration',
    'Change what is named, or start the new application from the beginning of the log: docs/snapshots.md says what can be carried.',
  ),
  LIMIT_PASSED: kind(
    1,
    'A change goes further than --fail-over allows',
    'Look at the features and users that change, then raise the limit or leave the change.',
  ),
  NOT_EQUAL: kind(
    1,
    'What was emitted is not what a replay makes',
    'The report names the causes and where they show first; docs/replay.md says what each means.',
  ),
  FENCED: kind(1, 'Another process has taken over this partition', 'Nothing to do: the other one goes on.'),
  STORE_DAMAGED: kind(
    1,
    'The local state store is damaged',
    'Nothing to do: the store is a cache of the log; it is wiped and rebuilt from there.',
  ),
  LOG_UNAVAILABLE: kind(
    1,
    'The Kafka cluster does not answer as it should',
    'Check the brokers, the network, and that kafka.tls and kafka.saslMechanism are what the listener wants; Freshet goes on by itself, and nothing that was committed is lost.',
  ),
  COMMIT_UNKNOWN: kind(
    1,
    'Kafka did not say whether a commit took place',
    'Nothing to do: what is committed is read again before anything else is written.',
  ),
  KAFKA_TLS: kind(
    4,
    'No secure connection to the Kafka cluster can be made',
    'Check kafka.tls, kafka.tlsCaFile, the host names in the certificates of the brokers, and the client certificate.',
  ),
  KAFKA_AUTHENTICATION: kind(
    4,
    'The Kafka cluster does not accept the credentials',
    'Check kafka.saslMechanism, kafka.saslUsername and the password, or the client certificate.',
  ),
  KAFKA_AUTHORIZATION: kind(
    4,
    'The Kafka cluster does not allow the request',
    'Grant the user of Freshet what it needs: docs/security.md lists the ACLs of each role.',
  ),
  KAFKA_RECORD_TOO_LARGE: kind(
    4,
    'A record is larger than its topic takes',
    'Raise max.message.bytes of the topic (and message.max.bytes of the brokers), then start again.',
  ),
  KAFKA_COMPRESSION_UNSUPPORTED: kind(
    4,
    'A record batch is compressed in a way that cannot be read',
    'Freshet reads gzip and zstd: set compression.type of the producers, or of the topic, to gzip, zstd or none, and load what is already there again.',
  ),
  KAFKA_UNSUPPORTED: kind(
    4,
    'The Kafka cluster does not support what Freshet needs',
    'Use brokers of version 3.9 or later.',
  ),
  KAFKA_REFUSED: kind(
    4,
    'The Kafka cluster refuses the request',
    'Change what is named here, in the configuration of Freshet or of the brokers, then start again.',
  ),
  REGISTRY_UNAVAILABLE: kind(
    1,
    'The schema registry does not answer',
    'Check the registry; Freshet goes on by itself.',
  ),
  REGISTRY_DENIED: kind(
    2,
    'The schema registry refuses the credentials',
    'Correct registryAuth. In the mode `register` the user must be allowed to write subjects and their compatibility; `lookup` only reads.',
  ),
  SCHEMA_PENDING: kind(
    1,
    'The registry does not know the schema id so far',
    'Nothing to do if the schema is on its way; its records are rejected once the registry has said so for a minute.',
  ),
  SCHEMA_MISSING: kind(
    4,
    'The registry lacks a schema of this version of Freshet',
    'Register the schemas of topics/schemas unchanged under their subjects, or start once with --registry-mode=register.',
  ),
  SCHEMA_REFUSED: kind(
    4,
    'The registry does not take a schema',
    'Allow it for the subject (mode, rules), or register the schemas of topics/schemas there and use --registry-mode=lookup.',
  ),
  SCHEMA_LIMIT: kind(
    4,
    'The records name more schemas than are kept',
    'A producer registers a schema a record, or nearly so: let it reuse its schemas.',
  ),
  COMPATIBILITY_WEAK: kind(
    4,
    'A subject of the registry is not FULL_TRANSITIVE',
    'Set its compatibility to FULL_TRANSITIVE: topics are replayed, so every version must read every other.',
  ),
  PORT_IN_USE: kind(4, 'The port is taken', 'Choose another port, or stop what listens on it.'),
  TOOL_MISSING: kind(4, 'A program that this command needs is not there', 'Install it and put it on the PATH.'),
  DOWNLOAD_FAILED: kind(
    1,
    'A download failed',
    'Check the network and run the command again: nothing that is half downloaded is kept.',
  ),
  LOCAL_KAFKA_FAILED: kind(
    1,
    'The local Kafka or its registry cannot be used',
    'The last lines of its log say why: mend that, or start again with another --data-dir.',
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
