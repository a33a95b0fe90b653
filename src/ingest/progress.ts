export interface LoadProgress {
  /** Rows read so far, bad ones among them. */
  readonly rows: number;
  /** Of `totalBytes`, how many have been read. */
  readonly bytes: number;
  readonly totalBytes: number;
  readonly rowsPerSecond: number;
}

export type OnProgress = (progress: LoadProgress) => void;

const INTERVAL_MS = 500;

/** Tells how far a load is, at most twice a second. */
export class ProgressMeter {
  readonly #onProgress: OnProgress | undefined;
  readonly #startedMs = performance.now();
  #toldMs = this.#startedMs;

  constructor(onProgress: OnProgress | undefined) {
    this.#onProgress = onProgress;
  }

  tell(rows: number, bytes: number, totalBytes: number): void {
    const nowMs = performance.now();
    if (this.#onProgress === undefined || nowMs - this.#toldMs < INTERVAL_MS) return;
    this.#toldMs = nowMs;
    this.#onProgress({ rows, bytes, totalBytes, rowsPerSecond: rows / ((nowMs - this.#startedMs) / 1000) });
  }
}
