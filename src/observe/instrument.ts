/** Makes the metrics of metric-table.ts, each with the labels that it declares. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { METRICS } from './metric-table.ts';

type Table = typeof METRICS;
type LabelOf<K extends keyof Table> = Table[K]['labels'][number];
export type Instrument<K extends keyof Table> = {
  counter: Counter<LabelOf<K>>;
  gauge: Gauge<LabelOf<K>>;
  histogram: Histogram<LabelOf<K>>;
}[Table[K]['type']];

const MAKERS = { counter: Counter, gauge: Gauge, histogram: Histogram };

/** Registers the metric. `read` is called whenever it is collected; else the caller sets its values. */
export function instrument<K extends keyof Table>(
  registry: Registry,
  key: K,
  read?: (metric: Instrument<K>) => void,
): Instrument<K> {
  const declared: {
    name: string;
    help: string;
    labels: readonly string[];
    type: Table[K]['type'];
    buckets?: readonly number[];
    merged?: 'max' | 'min' | 'first';
  } = METRICS[key];
  const { type, name, help, labels, buckets, merged } = declared;
  return new MAKERS[type]({
    name,
    help,
    labelNames: labels,
    registers: [registry],
    aggregator: merged ?? 'sum',
    ...(buckets && { buckets: [...buckets] }),
    ...(read && {
      collect(this: unknown) {
        read(this as Instrument<K>);
      },
    }),
  }) as Instrument<K>;
}

/**
 * Values of a label that other parts of the program choose. They are few; should a defect make them many, the ones that
 * come late are counted as `other`, so that no series can be added without end.
 */
export class BoundedLabel {
  private readonly known = new Set<string>();
  private readonly most: number;

  constructor(most = 64) {
    this.most = most;
  }

  of(value: string): string {
    if (this.known.has(value)) return value;
    if (this.known.size === this.most) return 'other';
    this.known.add(value);
    return value;
  }
}
