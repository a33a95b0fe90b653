/** What a thread and the process cost: the event loop's delay, heap, resident memory, processor time. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import type { Registry } from 'prom-client';
import { instrument } from './instrument.ts';

type DelayHistogram = ReturnType<typeof monitorEventLoopDelay>;

/** A delay is shown for at least this long, so that scrapes up to this far apart meet it; at most twice as long. */
const WINDOW_MS = 30_000;
const RESOLUTION_MS = 20;
const NANOSECONDS = 1e9;

/** How late the event loop of the calling thread comes round: over the current window and the one before. */
export class EventLoopDelay {
  private current = startHistogram();
  private before: DelayHistogram | undefined;
  private readonly timer: NodeJS.Timeout;

  constructor(windowMs = WINDOW_MS) {
    this.timer = setInterval(() => {
      this.current.disable();
      this.before = this.current;
      this.current = startHistogram();
    }, windowMs);
    this.timer.unref();
  }

  p99Seconds(): number {
    return this.worst((histogram) => histogram.percentile(99));
  }

  maxSeconds(): number {
    return this.worst((histogram) => histogram.max);
  }

  close(): void {
    clearInterval(this.timer);
    this.current.disable();
  }

  /** The histogram counts from timer to timer, so an idle loop shows the timer's own interval: that is no delay. */
  private worst(of: (histogram: DelayHistogram) => number): number {
    const seconds = [this.current, this.before].map((histogram) =>
      histogram === undefined || histogram.count === 0 ? 0 : of(histogram) / NANOSECONDS - RESOLUTION_MS / 1000,
    );
    return Math.max(0, ...seconds);
  }
}

function startHistogram(): DelayHistogram {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  return histogram;
}

/** Metrics of the calling thread. */
export function threadMetrics(registry: Registry, delay: EventLoopDelay): void {
  instrument(registry, 'loopDelayP99', (metric) => metric.set(delay.p99Seconds()));
  instrument(registry, 'loopDelayMax', (metric) => metric.set(delay.maxSeconds()));
  // Of the thread: every one has a heap of its own.
  instrument(registry, 'heapUsed', (metric) => metric.set(getHeapStatistics().used_heap_size));
}

/** Metrics of the process, to be registered once: in the thread that answers scrapes. */
export function processMetrics(registry: Registry, about: { version: string; partitions: number }): void {
  instrument(registry, 'residentMemory', (metric) => metric.set(process.memoryUsage.rss()));
  instrument(registry, 'startTime').set(Date.now() / 1000 - process.uptime());
  instrument(registry, 'buildInfo').set({ version: about.version }, 1);
  instrument(registry, 'partitions').set(about.partitions);
  instrument(registry, 'cpuSeconds', (metric) => {
    const { user, system } = process.cpuUsage();
    metric.reset();
    metric.inc((user + system) / 1e6);
  });
}
