/**
 * `freshet vectors load --kind=item`: a file into `item-embeddings` as one version, rows first, manifest last. Only the
 * manifest makes a version: a load that was killed is finished by running it again, which writes the rows that are
 * missing or different and removes those that the file does not have.
 */
import { ContentHash, rowDigest } from '../base/content-hash.ts';
import { FreshetError } from '../base/errors.ts';
import type { ItemEmbeddingRecord, ItemManifest } from '../../topics/records.ts';
import { AppendBatch } from './append-batch.ts';
import {
  ITEM_TOPIC,
  MAX_VERSION_ITEMS,
  checkVersionName,
  isComplete,
  itemKey,
  readManifests,
  readRowDigests,
} from './item-version.ts';
import { invalid, readId, readVectorRows } from './load-vectors.ts';
import type { LoadVectorsOptions } from './load-vectors.ts';
import type { Column, Row } from './row.ts';
import { readParts, vectorParts, type VectorPart } from './vector-parts.ts';
import { pack, quantize } from './vector-value.ts';
import type { PackedVector } from './vector-value.ts';

export interface LoadItemVectorsOptions extends LoadVectorsOptions {
  /** The complete version that this one is a change on. Default: none, the version stands alone. */
  readonly base?: string;
  /** Field to column, where they differ. `vector` may name several: see vectorParts. */
  readonly map?: Readonly<Partial<Record<'itemId' | 'vector' | 'scale', string>>>;
  /** Timestamp of the records, milliseconds since the epoch. Default: now. */
  readonly timestampMs?: number;
}

export interface LoadItemVectorsResult {
  readonly manifest: ItemManifest;
  /** Rows of the version that remove an item of its base. */
  readonly removals: number;
  /** Records written, the manifest among them; 0 when the version was complete. */
  readonly appended: number;
}

/** Scale of 8-bit vectors that come without one: full range is ±1. */
const DEFAULT_SCALE = 1 / 127;

interface ItemRow {
  readonly itemId: string;
  /** Null removes the item. */
  readonly packed: PackedVector | null;
  readonly digest: bigint;
}

/**
 * Loads a version, or finishes it. Throws VECTOR_INVALID with the row, VECTOR_VERSION_EXISTS when the version is complete
 * with other content, VECTOR_VERSION_UNKNOWN for a base that is not complete, USAGE, FILE_NOT_FOUND, INPUT_MALFORMED.
 */
export async function loadItemVectors(options: LoadItemVectorsOptions): Promise<LoadItemVectorsResult> {
  const { log, codec, version } = options;
  checkVersionName(version);
  const manifests = await readManifests(log, codec);
  const base = baseManifest(options, manifests);
  const existing = manifests.get(version);
  const stored = (await readRowDigests(log, codec, [version])).get(version)!;
  if (existing !== undefined) {
    // Nothing may be written over a complete version, so its content is compared first.
    const content = await readContent(options, base, async () => undefined);
    if (!isEqual(content.manifest, existing)) throw new FreshetError('VECTOR_VERSION_EXISTS', version);
    if (isComplete(stored, existing)) return { ...content, appended: 0 };
  }
  const writer = new VersionWriter(options);
  const { manifest, removals } = await readContent(options, base, async ({ itemId, packed, digest }) => {
    if (stored.get(itemId) !== digest) await writer.write(itemId, { ...(packed ?? NO_VECTOR), manifest: null });
    stored.delete(itemId);
  });
  // Left by an interrupted load of another file.
  for (const itemId of stored.keys()) await writer.write(itemId, null);
  if (existing === undefined) await writer.write('', { ...NO_VECTOR, manifest });
  await writer.flush();
  return { manifest, removals, appended: writer.appended };
}

const NO_VECTOR = { vector: null, scale: 0 };

/** Reads the file through, each row checked before `take` has it, and sums it up. */
async function readContent(
  options: LoadItemVectorsOptions,
  base: ItemManifest | undefined,
  take: (row: ItemRow) => Promise<void>,
): Promise<{ manifest: ItemManifest; removals: number }> {
  const { itemId: id = 'itemId', vector = 'vector', scale } = options.map ?? {};
  const parts = vectorParts(vector);
  const columns: Column[] = [
    { name: id, required: true },
    { name: scale ?? 'scale', required: scale !== undefined },
    ...parts.map(({ column }) => ({ name: column, required: true })),
  ];
  const hash = new ContentHash();
  const seen = new Set<string>();
  let dimension = base?.dimension;
  let removals = 0;
  await readVectorRows(options, columns, async (row, file) => {
    const isInt8 = parts.every(({ column }) => file.isInt8(column));
    const { itemId, packed, digest } = readItemRow(row, parts, isInt8);
    if (seen.has(itemId)) throw invalid(row.line, 'the item occurs a second time');
    if (seen.size === MAX_VERSION_ITEMS) throw invalid(row.line, `more than ${MAX_VERSION_ITEMS} items`);
    seen.add(itemId);
    if (packed === null) {
      if (base === undefined) throw invalid(row.line, 'no vector: only a version with --base can remove an item');
      removals += 1;
    } else {
      dimension ??= packed.vector.length;
      if (packed.vector.length !== dimension) {
        throw invalid(row.line, `the vector has ${packed.vector.length} components, the version ${dimension}`);
      }
    }
    hash.addDigest(digest);
    await take({ itemId, packed, digest });
  });
  if (dimension === undefined) throw new FreshetError('VECTOR_INVALID', `${options.file} has no rows`);
  const { space, base: baseName = null } = options;
  const manifest = { base: baseName, rowCount: hash.rowCount, contentHash: hash.digest(), space, dimension };
  return { manifest, removals };
}

function readItemRow(row: Row, parts: readonly VectorPart[], isInt8: boolean): ItemRow {
  const [id, scale, ...values] = row.values;
  const itemId = readId(row, id, 'itemId');
  const numbers = readParts(values, parts);
  if (typeof numbers === 'string') throw invalid(row.line, numbers);
  if (numbers === null) return { itemId, packed: null, digest: rowDigest(itemId, 0, null) };
  const hasScale = scale !== undefined && scale !== null && scale !== '';
  const packed = isInt8 || hasScale ? pack(numbers, hasScale ? scale : DEFAULT_SCALE) : quantize(numbers);
  if (typeof packed === 'string') throw invalid(row.line, packed);
  return { itemId, packed, digest: rowDigest(itemId, packed.scale, packed.vector) };
}

function baseManifest(
  { version, base, space }: LoadItemVectorsOptions,
  manifests: ReadonlyMap<string, ItemManifest>,
): ItemManifest | undefined {
  if (base === undefined) return undefined;
  if (base === version) throw new FreshetError('USAGE', 'a version cannot be its own base');
  const manifest = manifests.get(base);
  if (manifest === undefined) throw new FreshetError('VECTOR_VERSION_UNKNOWN', base);
  if (manifest.space === space) return manifest;
  throw new FreshetError('VECTOR_INVALID', `space ${space}, but ${base} is in ${manifest.space}`, {
    remedy: 'A version shares the space of its base: correct --space, or load a version that stands alone.',
  });
}

const isEqual = (a: ItemManifest, b: ItemManifest): boolean =>
  a.base === b.base &&
  a.rowCount === b.rowCount &&
  a.contentHash === b.contentHash &&
  a.space === b.space &&
  a.dimension === b.dimension;

class VersionWriter {
  appended = 0;
  readonly #options: LoadItemVectorsOptions;
  readonly #timestampMs: number;
  readonly #batch: AppendBatch;

  constructor(options: LoadItemVectorsOptions) {
    this.#options = options;
    this.#timestampMs = options.timestampMs ?? Date.now();
    this.#batch = new AppendBatch(options.log);
  }

  /** Null takes the row out again. */
  async write(itemId: string, row: Pick<ItemEmbeddingRecord, 'vector' | 'scale' | 'manifest'> | null): Promise<void> {
    const { codec, version } = this.#options;
    const value = row === null ? null : codec.encode('item-embeddings-value', { version, itemId, ...row });
    this.#batch.add({ ...ITEM_TOPIC, timestampMs: this.#timestampMs, key: itemKey(version, itemId), value });
    this.appended += 1;
    if (this.#batch.isFull()) await this.#batch.flush();
  }

  flush(): Promise<void> {
    return this.#batch.flush();
  }
}
