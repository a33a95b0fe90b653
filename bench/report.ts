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

export const printResult = (result: object): void => {
  process.stdout.write(`${JSON.stringify(result)}\n`);
};

const round = (value: number): number => Math.round(value * 100) / 100;
