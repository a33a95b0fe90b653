/**
 * Limits on what the process takes beside its data. V8 and libuv are generous by default: the young generation grows to
 * 94 MB where the job makes garbage fast, the old one to twice what lives, and four pool threads each keep an arena of
 * malloc. As flags of the command line these limits would hold only for those who know of them.
 */
import { setFlagsFromString } from 'node:v8';

/** Called when a process starts, before its first asynchronous file access; measured in docs/performance.md. */
export function boundProcessMemory(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
  // The old generation is collected when it has grown by 30 %.
  setFlagsFromString('--heap-growing-percent=30');
  process.env.UV_THREADPOOL_SIZE ??= '2';
}
