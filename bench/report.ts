/** What every benchmark measures of its process, and the one line it prints. */

export interface Measured {
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Largest resident memory of the process so far. */
  readonly rssMb: number;
}

export async function measured(run: () => Promise<void>): Promise<Measured> {
  const startMs = performance.now();
  const startCpu = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(startCpu);
  return {
    seconds: round((performance.now() - startMs) / 1000),
    cpuSeconds: round((user + system) / 1e6),
    rssMb: Math.round(process.resourceUsage().maxRSS / 1024),
  };
}

/** Where the time of one thread goes: each call gives the time since the last one to a part of the work. */
export class Shares {
  readonly spentMs: Record<string, number>;
  private lastMs = performance.now();

  constructor(parts: readonly string[]) {
    this.spentMs = Object.fromEntries(parts.map((part) => [part, 0]));
  }

  spent(part: string): void {
    const nowMs = performance.now();
    this.spentMs[part]! += nowMs - this.lastMs;
    this.lastMs = nowMs;
  }
}

export const seconds = (spentMs: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(spentMs).map(([part, ms]) => [part, round(ms / 1000)]));

export const printResult = (result: object): void => {
  process.stdout.write(`${JSON.stringify(result)}\n`);
};

const round = (value: number): number => Math.round(value * 100) / 100;
