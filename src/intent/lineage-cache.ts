/** The versions in memory, by content; the least recently used lineages leave when there are too many rows. */
import type { ItemTable } from './item-table.ts';
import { Lineage, type Changes } from './lineage.ts';

/** What makes a version the one that an activation names. */
export interface VersionContent {
  readonly version: string;
  readonly rowCount: number;
  readonly contentHash: string;
  readonly space: string;
}

export interface HeldVersion {
  readonly lineage: Lineage;
  readonly ordinal: number;
  readonly table: ItemTable;
}

export class LineageCache {
  readonly #maxRows: number;
  readonly #versions = new Map<string, HeldVersion>();
  /** The keys of `#versions` by lineage, the least recently used lineage first. */
  readonly #lineages = new Map<Lineage, string[]>();

  /** `maxRows` is over all lineages; the lineage used last is kept whatever its size. */
  constructor(maxRows: number) {
    this.#maxRows = maxRows;
  }

  get rowCount(): number {
    let sum = 0;
    for (const lineage of this.#lineages.keys()) sum += lineage.rowCount;
    return sum;
  }

  get(content: VersionContent): HeldVersion | undefined {
    const held = this.#versions.get(keyOf(content));
    if (held !== undefined) this.#touch(held.lineage);
    return held;
  }

  /** Adds a version on top of `below`, or one that stands alone. */
  add(content: VersionContent, below: HeldVersion | undefined, changes: Changes): HeldVersion {
    let lineage = below?.lineage ?? new Lineage();
    if (below !== undefined && (below.ordinal !== lineage.lastOrdinal || lineage.isCrowded)) {
      lineage = lineage.fork(below.ordinal);
    }
    const ordinal = lineage.append(changes);
    const held = { lineage, ordinal, table: lineage.table(content.version, ordinal) };
    this.#versions.set(keyOf(content), held);
    this.#touch(lineage).push(keyOf(content));
    this.#evict();
    return held;
  }

  /** Makes a lineage the most recently used one and returns its keys. */
  #touch(lineage: Lineage): string[] {
    const keys = this.#lineages.get(lineage) ?? [];
    this.#lineages.delete(lineage);
    this.#lineages.set(lineage, keys);
    return keys;
  }

  #evict(): void {
    let rowCount = this.rowCount;
    for (const [lineage, keys] of this.#lineages) {
      if (rowCount <= this.#maxRows || this.#lineages.size === 1) return;
      for (const key of keys) this.#versions.delete(key);
      this.#lineages.delete(lineage);
      rowCount -= lineage.rowCount;
    }
  }
}

const keyOf = ({ version, rowCount, contentHash, space }: VersionContent): string =>
  `${version}/${contentHash}/${rowCount}/${space}`;
