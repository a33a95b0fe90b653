/**
 * A limit on V8's young generation. It grows to 94 MB where the job makes garbage fast, and is not given back; at the
 * size it starts with (24 MB) the job is as fast (docs/performance.md). As a flag of the command line it would hold
 * only for those who know of it, and `--max-semi-space-size` is read before any of our code runs.
 */
import { setFlagsFromString } from 'node:v8';

/** Keeps the young generation at its present size; called when a process starts. */
export function boundYoungGeneration(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}
