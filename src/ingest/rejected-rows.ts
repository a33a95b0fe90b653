import { mkdir, open, rm, type FileHandle } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { storageError } from '../base/errors.ts';
import { MAX_KEPT_BYTES } from './row.ts';
import type { RowCause, RowProblem } from './row.ts';

/**
 * The side file of a load, `<data-dir>/rejected-rows/<name>.ndjson`: one line a bad row, {line, cause, detail, row} and
 * the zip entry where there is one; `row` is cut at 64 KiB. It is made with the first bad row.
 */
export class RejectedRows {
  readonly path: string;
  readonly counts: Partial<Record<RowCause, number>> = {};
  #lines: string[] = [];
  #bytes = 0;
  #handle: FileHandle | undefined;

  private constructor(path: string) {
    this.path = path;
  }

  /** `goOn` keeps what an earlier, interrupted load of the file has written; else that is removed. */
  static async open(dataDir: string, file: string, goOn: boolean): Promise<RejectedRows> {
    const path = join(dataDir, 'rejected-rows', `${basename(file)}.ndjson`);
    if (!goOn) await rm(path, { force: true });
    return new RejectedRows(path);
  }

  /** Bad rows waiting for `flush`, and their size in bytes: the caller limits them with its batch. */
  get waiting(): { readonly rows: number; readonly bytes: number } {
    return { rows: this.#lines.length, bytes: this.#bytes };
  }

  add(at: { readonly entry: string | null; readonly line: number; readonly raw: Buffer }, problem: RowProblem): void {
    this.counts[problem.cause] = (this.counts[problem.cause] ?? 0) + 1;
    const row = at.raw.toString('utf8', 0, MAX_KEPT_BYTES);
    const entry = at.entry === null ? {} : { entry: at.entry };
    const text = `${JSON.stringify({ ...entry, line: at.line, ...problem, row })}\n`;
    this.#lines.push(text);
    this.#bytes += text.length;
  }

  async flush(): Promise<void> {
    if (this.#lines.length === 0) return;
    try {
      if (this.#handle === undefined) {
        await mkdir(join(this.path, '..'), { recursive: true });
        this.#handle = await open(this.path, 'a');
      }
      await this.#handle.appendFile(this.#lines.join(''));
    } catch (error) {
      throw storageError(error, this.path) ?? error;
    }
    this.#lines = [];
    this.#bytes = 0;
  }

  async close(): Promise<void> {
    await this.#handle?.close();
  }
}
