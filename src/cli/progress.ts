/** Progress for people: one line that renews itself on a terminal, a log line now and then elsewhere. */
import type { Logger } from 'pino';

const TERMINAL_INTERVAL_MS = 100;
const LOG_INTERVAL_MS = 5_000;

export class ProgressLine {
  private readonly logger: Logger;
  private readonly code: string;
  private nextMs = 0;
  private shown = false;

  constructor(logger: Logger, code: string) {
    this.logger = logger;
    this.code = code;
  }

  /** Shows `text` if it is time; `fields` are what a log line carries. */
  update(text: string, fields: Readonly<Record<string, number>>): void {
    const nowMs = performance.now();
    if (nowMs < this.nextMs) return;
    const terminal = process.stderr.isTTY;
    if (terminal) {
      process.stderr.write(`\r\u001b[2K${text}`);
      this.shown = true;
    } else if (this.nextMs > 0) {
      this.logger.info({ code: this.code, ...fields }, 'progress');
    }
    this.nextMs = nowMs + (terminal ? TERMINAL_INTERVAL_MS : LOG_INTERVAL_MS);
  }

  /** Removes the line from the terminal. */
  end(): void {
    if (this.shown) process.stderr.write('\r\u001b[2K');
  }
}

/** 12345.6 → "12,346". */
export const grouped = (value: number): string => Math.round(value).toLocaleString('en-US');
