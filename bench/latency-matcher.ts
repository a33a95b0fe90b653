/** Finds for each action the first features record that holds it; the two may be told of in either order. */

interface Sent {
  readonly offset: number;
  readonly sentMs: number;
}

interface Seen {
  readonly version: number;
  readonly seenMs: number;
}

export interface Latencies {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly measured: number;
  /** Actions that no features record held until the end. */
  readonly unseen: number;
}

/** Of a user: an acknowledgement is later than this many of its features records only if something is wrong. */
const MAX_SEEN = 16;

export class LatencyMatcher {
  private readonly sentBy = new Map<string, Sent[]>();
  private readonly seenOf = new Map<string, Seen[]>();
  private readonly latencies: { sentMs: number; latencyMs: number }[] = [];
  pending = 0;

  sent(userId: string, offset: number, sentMs: number): void {
    const first = this.seenOf.get(userId)?.find(({ version }) => version >= offset);
    if (first !== undefined) {
      this.latencies.push({ sentMs, latencyMs: first.seenMs - sentMs });
      return;
    }
    const waiting = this.sentBy.get(userId);
    if (waiting === undefined) this.sentBy.set(userId, [{ offset, sentMs }]);
    else waiting.push({ offset, sentMs });
    this.pending += 1;
  }

  seen(userId: string, version: number, seenMs: number): void {
    const seen = this.seenOf.get(userId) ?? [];
    this.seenOf.set(userId, [...seen, { version, seenMs }].slice(-MAX_SEEN));
    const waiting = this.sentBy.get(userId) ?? [];
    const still = waiting.filter(({ offset }) => offset > version);
    for (const { offset, sentMs } of waiting) {
      if (offset <= version) this.latencies.push({ sentMs, latencyMs: seenMs - sentMs });
    }
    this.pending -= waiting.length - still.length;
    if (still.length > 0) this.sentBy.set(userId, still);
    else this.sentBy.delete(userId);
  }

  /** Of the actions sent from a moment on. */
  result(fromMs: number): Latencies {
    const sorted = this.latencies
      .filter(({ sentMs }) => sentMs >= fromMs)
      .map(({ latencyMs }) => latencyMs)
      .sort((a, b) => a - b);
    const quantile = (share: number): number => Math.round(sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN);
    return {
      p50Ms: quantile(0.5),
      p99Ms: quantile(0.99),
      maxMs: quantile(1),
      measured: sorted.length,
      unseen: this.pending,
    };
  }
}
