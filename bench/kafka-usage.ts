/**
 * Loaded into a measured process before anything else (`node --import`): at its end the process itself writes what it
 * took, as one line of JSON, to file descriptor 3.
 */
import { writeSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

export interface Usage {
  /** User and system, all threads. */
  readonly cpuSeconds: number;
  /** Largest resident memory of the process. */
  readonly rssMb: number;
}

if (isMainThread) {
  process.on('exit', () => {
    const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
    const cpuSeconds = Math.round((userCPUTime + systemCPUTime) / 1e4) / 100;
    const usage: Usage = { cpuSeconds, rssMb: Math.round(maxRSS / 1024) };
    writeSync(3, `${JSON.stringify(usage)}\n`);
  });
}
