/** Two small item-vector versions, v2 a change on v1, and the control records that activate them. */
import { ContentHash } from '../../src/base/content-hash.ts';
import { Codec } from '../../src/serde/codec.ts';
import { Registry } from '../../src/serde/registry.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT } from '../../topics/index.ts';
import type { ControlRecord, ItemEmbeddingRecord } from '../../topics/records.ts';
import type { RawRecord, Stream } from './stream.ts';

const codec = await Codec.open(await Registry.open({ dataDir: null }));
const SCALE = 0.5;

const VERSIONS: Record<string, { base: string | null; rows: Record<string, number[]> }> = {
  v1: { base: null, rows: { i1: [1, 2, 3, 4], i2: [-5, 6, -7, 8] } },
  v2: { base: 'v1', rows: { i1: [9, 9, 9, 9], i3: [1, 1, 1, 1] } },
};

function contentHash(rows: Record<string, number[]>): string {
  const hash = new ContentHash();
  for (const [itemId, vector] of Object.entries(rows)) hash.add(itemId, SCALE, Int8Array.from(vector));
  return hash.digest();
}

/** Writes both versions, rows and manifests, to `item-embeddings`. */
export async function publishTestVersion({ log }: Pick<Stream, 'log'>): Promise<void> {
  const record = (value: ItemEmbeddingRecord) => ({
    topic: 'item-embeddings',
    partition: 0,
    timestampMs: 0,
    key: Buffer.from(`${value.version}/${value.itemId}`),
    value: codec.encode('item-embeddings-value', value),
  });
  const all = Object.entries(VERSIONS).flatMap(([version, { base, rows }]) => {
    const manifest = {
      base,
      rowCount: Object.keys(rows).length,
      contentHash: contentHash(rows),
      space: 'test-space',
      dimension: 4,
    };
    return [
      ...Object.entries(rows).map(([itemId, vector]) =>
        record({ version, itemId, vector: Buffer.from(Int8Array.from(vector)), scale: SCALE, manifest: null }),
      ),
      record({ version, itemId: '', vector: null, scale: 0, manifest }),
    ];
  });
  await log.append(all);
}

export function activation(fields: NonNullable<ControlRecord['activation']>): RawRecord {
  const control: ControlRecord = { activation: fields, expire: null };
  const headers = { [CONTROL_HEADER]: Buffer.from(CONTROL_SUBJECT) };
  return { key: null, value: codec.encode(CONTROL_SUBJECT, control), headers, timestampMs: 1_000 };
}

export const ACTIVATE_TEST_VERSION: Readonly<Record<string, RawRecord>> = Object.fromEntries(
  Object.entries(VERSIONS).map(([version, { rows }]) => [
    version,
    activation({ version, rowCount: Object.keys(rows).length, contentHash: contentHash(rows), space: 'test-space' }),
  ]),
);
