/**
 * The item-vector versions of `item-embeddings`, as tables. Versions are loaded when an activation asks for them; tasks
 * of one process share them, and may stand at different versions of a chain at the same moment.
 */
import { LRUCache } from 'lru-cache';
import { ContentHash } from '../base/content-hash.ts';
import { FreshetError, invariant } from '../base/errors.ts';
import type { Log } from '../log/log.ts';
import type { ItemManifest } from '../../topics/records.ts';
import { isScale, type ItemTable, type ItemVector } from './item-table.ts';
import { LineageCache, type HeldVersion, type VersionContent } from './lineage-cache.ts';
import { VectorSlab } from './vector-slab.ts';
import { VersionIndex, type Reader, type VersionEntry } from './version-index.ts';

export interface ItemVersionsOptions {
  readonly log: Log;
  readonly codec: Reader;
  /** Rows kept in memory, of all versions together, about 0.4 KB each; the chain asked for last is kept in any case. */
  readonly maxRows?: number;
}

interface Link {
  readonly version: string;
  readonly entry: VersionEntry;
  readonly manifest: ItemManifest;
}

const ROWS_MAX = 250_000;
const CHAIN_MAX = 10_000;
const REASONS_MAX = 256;

/** Why a version has no table yet. Stays in this file: callers see undefined and may ask for the reason. */
class Incomplete extends Error {}

export class ItemVersions {
  readonly #index: VersionIndex;
  readonly #cache: LineageCache;
  readonly #reasons = new LRUCache<string, string>({ max: REASONS_MAX });
  /** Versions whose rows do not agree with their manifest: not read again until the log has more of them. */
  readonly #refused = new WeakMap<VersionEntry, { readonly recordCount: number; readonly reason: string }>();
  /** Loads wait for one another, so that each version is read once; as many wait as there are tasks. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor({ log, codec, maxRows = ROWS_MAX }: ItemVersionsOptions) {
    this.#index = new VersionIndex(log, codec);
    this.#cache = new LineageCache(maxRows);
  }

  /** Rows in memory, of all versions together. */
  get rowCount(): number {
    return this.#cache.rowCount;
  }

  /**
   * The table of an activated version, its chain of changes resolved. Undefined as long as the log lacks something of
   * it or of a version below it, or has other rows than the manifests and the activation say (`reason` tells which):
   * the caller waits and asks again. A table stays as it is for as long as it is held. Throws what the log throws.
   */
  async table(activation: VersionContent): Promise<ItemTable | undefined> {
    const held = this.#cache.get(activation);
    if (held !== undefined) return held.table;
    const loaded = this.#turn.then(() => this.#load(activation));
    this.#turn = loaded.catch(() => undefined); // the caller of that load has the error; the next one starts afresh
    return loaded;
  }

  /** The table of a version by its name alone, with the content that its manifest tells; else as `table`. */
  async named(version: string): Promise<ItemTable | undefined> {
    try {
      await this.#index.advance();
      const { manifest } = await this.#link(version);
      return await this.table({ version, ...manifest });
    } catch (error) {
      if (!(error instanceof Incomplete)) throw error;
      this.#reasons.set(version, error.message);
      return undefined;
    }
  }

  /** Why the last call of `table` for this version gave none; undefined if it gave one, or long ago. */
  reason(version: string): string | undefined {
    return this.#reasons.get(version);
  }

  async #load(activation: VersionContent): Promise<ItemTable | undefined> {
    try {
      const held = this.#cache.get(activation) ?? (await this.#resolve(activation));
      this.#reasons.delete(activation.version);
      return held.table;
    } catch (error) {
      if (!(error instanceof Incomplete)) throw error;
      this.#reasons.set(activation.version, error.message);
      return undefined;
    }
  }

  async #resolve(activation: VersionContent): Promise<HeldVersion> {
    const { version } = activation;
    await this.#index.advance();
    const { manifest } = await this.#link(version);
    for (const field of ['rowCount', 'contentHash', 'space'] as const) {
      if (manifest[field] === activation[field]) continue;
      throw new Incomplete(`${version}: the activation has ${field} ${activation[field]}, not ${manifest[field]}`);
    }
    const { links, below } = await this.#chain(version);
    let held = below;
    for (const link of links.reverse()) {
      const content = { version: link.version, ...link.manifest };
      held = this.#cache.add(content, held, await this.#readChanges(link));
    }
    invariant(held !== undefined, 'a chain of versions has at least one');
    return held;
  }

  /** The links to load, newest first, and the version in memory that they stand on; undefined: on none. */
  async #chain(version: string): Promise<{ links: Link[]; below: HeldVersion | undefined }> {
    const links: Link[] = [];
    const seen = new Set<string>();
    for (let name: string | null = version; name !== null;) {
      if (seen.has(name)) throw new Incomplete(`${version}: its chain comes back to ${name}`);
      if (seen.size === CHAIN_MAX) throw new Incomplete(`${version}: its chain has more than ${CHAIN_MAX} versions`);
      seen.add(name);
      const link: Link = await this.#link(name);
      const above = links.at(-1)?.manifest ?? link.manifest;
      if (above.space !== link.manifest.space || above.dimension !== link.manifest.dimension) {
        throw new Incomplete(`${version}: ${name} has another space or dimension than the change on it`);
      }
      const below = this.#cache.get({ version: name, ...link.manifest });
      if (below !== undefined) return { links, below };
      links.push(link);
      name = link.manifest.base;
    }
    return { links, below: undefined };
  }

  async #link(version: string): Promise<Link> {
    const entry = this.#index.get(version);
    if (entry === undefined) throw new Incomplete(`${version}: nothing of it is in the log`);
    try {
      const manifest = await this.#index.manifest(entry);
      if (manifest === null) throw new Incomplete(`${version}: its manifest is not in the log`);
      return { version, entry, manifest };
    } catch (error) {
      throw incomplete(version, error);
    }
  }

  async #readChanges({ version, entry, manifest }: Link): Promise<Map<string, ItemVector | undefined>> {
    const { recordCount } = entry;
    const refused = this.#refused.get(entry);
    if (refused?.recordCount === recordCount) throw new Incomplete(refused.reason);
    const changes = await this.#readRows(version, entry, manifest);
    const hash = new ContentHash();
    for (const [itemId, vector] of changes) hash.add(itemId, vector?.scale ?? 0, vector?.values ?? null);
    const digest = hash.digest();
    if (digest === manifest.contentHash && hash.rowCount === manifest.rowCount) return changes;
    const counts = `${hash.rowCount} rows of ${manifest.rowCount} are in the log`;
    const reason = `${version}: ${counts}, with content hash ${digest}, not ${manifest.contentHash}`;
    this.#refused.set(entry, { recordCount, reason });
    throw new Incomplete(reason);
  }

  async #readRows(
    version: string,
    entry: VersionEntry,
    manifest: ItemManifest,
  ): Promise<Map<string, ItemVector | undefined>> {
    const changes = new Map<string, ItemVector | undefined>();
    const slab = new VectorSlab();
    for await (const row of this.#index.rows(version, entry)) {
      const { value, offset } = row.record;
      if (value === null) {
        changes.delete(row.itemId); // a resumed load took the row back
        continue;
      }
      let decoded;
      try {
        decoded = this.#index.decode(row, value);
      } catch (error) {
        throw incomplete(version, error);
      }
      const { vector, scale } = decoded;
      const fits = vector === null || (vector.length === manifest.dimension && isScale(scale));
      if (!fits) throw new Incomplete(`${version}: the row at offset ${offset} is no vector of ${manifest.dimension}`);
      changes.set(row.itemId, vector === null ? undefined : { values: slab.copy(vector), scale });
    }
    return changes;
  }
}

/** A record that cannot be read makes its version incomplete, not the log unreadable; a registry that is away is another matter. */
function incomplete(version: string, error: unknown): unknown {
  const ofRecord = error instanceof FreshetError && ['RECORD_UNDECODABLE', 'SCHEMA_UNKNOWN'].includes(error.code);
  return ofRecord ? new Incomplete(`${version}: ${error.message}`, { cause: error }) : error;
}
