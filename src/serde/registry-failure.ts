/**
 * What a failed call to the registry means. A failure keeps the text and the numbers of the client's error and nothing
 * else of it: axios hangs the whole request on its errors, with the credentials in its headers.
 */
export type FailureKind =
  /** The registry knows no such subject, version or schema. */
  | 'absent'
  /** The schema is not compatible with the subject's others, or somebody else was faster. */
  | 'conflict'
  /** The credentials are missing, wrong, or not enough. */
  | 'denied'
  /** The request itself is refused; it would be again. */
  | 'refused'
  /** No answer, or none of a registry that works. */
  | 'unavailable';

/** The registry's own codes for "no such subject, version, schema or compatibility": a proxy's 404 has none of them. */
const ABSENT_CODES: readonly unknown[] = [40400, 40401, 40402, 40403, 40408];
const MAX_TEXT_CHARS = 500;

export class RegistryFailure extends Error {
  override readonly name = 'RegistryFailure';
  readonly kind: FailureKind;
  /** Of HTTP; undefined where there was no answer. */
  readonly status: number | undefined;

  constructor(kind: FailureKind, text: string, status?: number) {
    super(text.slice(0, MAX_TEXT_CHARS));
    this.kind = kind;
    this.status = status;
  }
}

/** Of the client's errors: RestError has the status and the registry's code, all others had no answer. */
export function failureOf(error: unknown): RegistryFailure {
  if (error instanceof RegistryFailure) return error;
  const { status, errorCode, code, message } = error as Record<string, unknown>;
  if (typeof status !== 'number' || typeof errorCode !== 'number') {
    return new RegistryFailure('unavailable', [code, message].filter((part) => typeof part === 'string').join(': '));
  }
  const hint = status === 404 && !ABSENT_CODES.includes(errorCode) ? `; ${PATH_HINT}` : '';
  return new RegistryFailure(kindOf(status, errorCode), `HTTP ${status}: ${String(message)}${hint}`, status);
}

const PATH_HINT = 'is the path of the address right, e.g. /apis/ccompat/v7 for Apicurio?';

function kindOf(status: number, errorCode: number): FailureKind {
  if (status === 404) return ABSENT_CODES.includes(errorCode) ? 'absent' : 'unavailable';
  if (status === 409) return 'conflict';
  if (status === 401 || status === 403) return 'denied';
  if (status === 408 || status === 429) return 'unavailable';
  return status >= 400 && status < 500 ? 'refused' : 'unavailable';
}
