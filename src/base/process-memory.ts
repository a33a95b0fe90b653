/**
 * Limits on what the process takes beside its data. V8 and libuv are generous by default: the young generation grows to
 * 94 MB where the job makes garbage fast, the old one to twice what lives, and four pool threads each keep an arena of
 * malloc. As flags of the command line these limits would hold only for those who know of them.
 */
import { setFlagsFromString } from 'node:v8';

/**
 * Of a worker on Kafka, which has no log in its process: what goes to brokers and comes from them counts as growth too,
 * and would keep the collector at work.
 */
export const KAFKA_HEAP_GROWTH_PERCENT = 60;

/**
 * Called when a process starts, before its first asynchronous file access; measured in docs/performance.md.
 *
 * @param heapGrowthPercent - the old generation is collected when it has grown by so much. Where much of it changes all
 *   the time, less memory is had for much more work.
 */
export function boundProcessMemory(heapGrowthPercent = 30): void {
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString(`--heap-growing-percent=${heapGrowthPercent}`);
  process.env.UV_THREADPOOL_SIZE ??= '2';
}
