/**
 * Logs: one JSON line each on stderr, as stdout belongs to results. A line about an error carries its stable `code`, so
 * that alerts match codes and not texts: `log.warn({ err }, 'commit failed')`. Users appear by `userHash` only.
 */
import { pino } from 'pino';
import type { DestinationStream, Logger } from 'pino';
import { FreshetError } from './errors.ts';

export const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Logs to stderr, or to `destination`. */
export function createLogger(level: LogLevel, destination: DestinationStream = pino.destination(2)): Logger {
  return pino(
    {
      level,
      // A safety net below the rule: no code puts an id in a line on purpose.
      redact: { paths: ['userId', '*.userId', '*.*.userId'], censor: '[redacted]' },
      formatters: { log: withCode },
      serializers: { err: serializeError },
    },
    destination,
  );
}

function withCode(fields: Record<string, unknown>): Record<string, unknown> {
  const { err } = fields;
  return err instanceof FreshetError ? { code: err.code, ...err.position, ...fields } : fields;
}

function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const standard = pino.stdSerializers.errWithCause(error);
  return error instanceof FreshetError
    ? { type: error.name, message: error.message, remedy: error.remedy, stack: standard.stack, cause: standard.cause }
    : { type: standard.type, message: error.message, stack: standard.stack, cause: standard.cause };
}
