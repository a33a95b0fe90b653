/**
 * Whether a worker lives and whether it serves, as an orchestrator asks. Not live means that a restart would help: a
 * task stands still though there is work. What waits for something outside (broker, registry, item vectors) is live,
 * as a restart would not bring that back, but not ready.
 */
import { ERRORS, type ErrorCode, type Position } from '../base/errors.ts';
import type { TaskState } from '../task/life.ts';
import type { TaskRef } from '../task/observer.ts';

/** Codes of health beside those of errors. */
export const HEALTH_CODES = {
  WORKER_STARTING: 'A worker thread has not reported yet.',
  WORKER_STUCK: 'A worker thread has not reported in time: its event loop is blocked or it has died.',
  NOT_JOINED: 'The worker has no assignment: it has not joined the consumer group, or a rebalance is going on.',
  TASK_NOT_RUNNING: 'A task is not running yet, or not any more; `state` says where it is.',
  TASK_STALLED: 'A task has input, waits for nothing known, and has made no progress for too long.',
} as const satisfies Record<string, string>;

export interface HealthReason {
  readonly code: ErrorCode | keyof typeof HEALTH_CODES;
  readonly message: string;
  readonly remedy?: string;
  readonly task?: TaskRef['kind'];
  readonly topic?: string;
  readonly partition?: number;
  readonly offset?: number;
  readonly state?: TaskState;
  /** Of a restore, 0 to 1. */
  readonly progress?: number;
  readonly worker?: number;
  readonly forSeconds?: number;
}

export interface HealthReport {
  readonly live: boolean;
  readonly ready: boolean;
  /** At most MOST_REASONS; what makes a worker not live comes first. */
  readonly reasons: readonly HealthReason[];
}

export const MOST_REASONS = 32;

/** Something outside that work waits for. */
export interface Waiting {
  readonly code: ErrorCode;
  readonly position: Position;
  readonly sinceMs: number;
}

export const reason = (code: keyof typeof HEALTH_CODES): HealthReason => ({ code, message: HEALTH_CODES[code] });

/** The error's kind and position. Its own text may name hosts and files, and whose record it was is left out. */
export function waitingReason({ code, position, sinceMs }: Waiting, nowMs: number): HealthReason {
  const { topic, partition, offset } = position;
  return {
    code,
    message: ERRORS[code].message,
    remedy: ERRORS[code].remedy,
    ...(topic !== undefined && { topic }),
    ...(partition !== undefined && { partition }),
    ...(offset !== undefined && { offset }),
    forSeconds: secondsSince(sinceMs, nowMs),
  };
}

export const secondsSince = (sinceMs: number, nowMs: number): number => Math.round((nowMs - sinceMs) / 1000);

/** The codes as a Markdown table. */
export function healthTable(): string {
  const rows = Object.entries(HEALTH_CODES).map(([code, meaning]) => [`\`${code}\``, meaning]);
  return [['Code', 'Meaning'], ['---', '---'], ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
