/**
 * The tables of a chain of versions in one map: an item leads to its newest row, which leads to the older ones. Tables
 * of the same lineage share all rows; a version costs what it changes.
 */
import type { ItemTable, ItemVector } from './item-table.ts';

interface Row {
  /** Place in the lineage of the version that wrote it. */
  readonly ordinal: number;
  /** Undefined: the version removed the item. */
  readonly vector: ItemVector | undefined;
  readonly older: Row | undefined;
}

/** Rows that a version writes, by item id; undefined removes the item. */
export type Changes = ReadonlyMap<string, ItemVector | undefined>;

/** An older version's look-up passes at most this many rows. */
const VERSIONS_MAX = 256;
/** Superseded rows are dropped, by a fork, once there are this many times more rows than items, and at least that many. */
const ROWS_PER_ITEM_MAX = 4;
const ROWS_MIN = 16_384;

/** Append-only: a table that was handed out never changes, whatever comes after it. */
export class Lineage {
  readonly #newest = new Map<string, Row>();
  #versionCount = 0;
  #rowCount = 0;

  /** Rows held, superseded ones and removals with them. */
  get rowCount(): number {
    return this.#rowCount;
  }

  get lastOrdinal(): number {
    return this.#versionCount - 1;
  }

  /** Whether the next version had better start a lineage of its own. */
  get isCrowded(): boolean {
    const rowsMax = Math.max(ROWS_MIN, ROWS_PER_ITEM_MAX * this.#newest.size);
    return this.#versionCount >= VERSIONS_MAX || this.#rowCount >= rowsMax;
  }

  /** Adds a version on top of the last one and returns its ordinal. */
  append(changes: Changes): number {
    const ordinal = this.#versionCount;
    for (const [itemId, vector] of changes) {
      this.#newest.set(itemId, { ordinal, vector, older: this.#newest.get(itemId) });
    }
    this.#versionCount += 1;
    this.#rowCount += changes.size;
    return ordinal;
  }

  /** A new lineage whose first version is this one's `ordinal`; vectors are shared, superseded rows left behind. */
  fork(ordinal: number): Lineage {
    const live = new Map<string, ItemVector>();
    for (const itemId of this.#newest.keys()) {
      const vector = this.#vector(itemId, ordinal);
      if (vector !== undefined) live.set(itemId, vector);
    }
    const fork = new Lineage();
    fork.append(live);
    return fork;
  }

  table(version: string, ordinal: number): ItemTable {
    return { version, vector: (itemId) => this.#vector(itemId, ordinal) };
  }

  #vector(itemId: string, ordinal: number): ItemVector | undefined {
    let row = this.#newest.get(itemId);
    while (row !== undefined && row.ordinal > ordinal) row = row.older;
    return row?.vector;
  }
}
