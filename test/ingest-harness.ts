/** What the tests of the loaders share: chunks of a text, rows of a reader, and an embedded log in a folder of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BadRow, Row, Rows } from '../src/ingest/row.ts';
import { EmbeddedLog } from '../src/log/embedded.ts';
import type { Log, LogRecord } from '../src/log/log.ts';
import { records } from '../src/log/newest.ts';
import { Codec } from '../src/serde/codec.ts';
import { Registry } from '../src/serde/registry.ts';
import { declareTopics, type TopicName } from '../topics/index.ts';

export const PARTITIONS = 4;

export const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/ingest/${name}`, import.meta.url));

/** The bytes in chunks of these sizes, over and over. */
export async function* chunksOf(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length]!;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

export async function collect(rows: Rows): Promise<(Row | BadRow)[]> {
  const all: (Row | BadRow)[] = [];
  for await (const some of rows) for (const row of some) all.push(row);
  return all;
}

export interface Bench {
  readonly log: Log;
  readonly codec: Codec;
  readonly dataDir: string;
  readonly close: () => Promise<void>;
}

export async function openBench(): Promise<Bench> {
  const dataDir = await mkdtemp(join(tmpdir(), 'freshet-ingest-'));
  const log = await EmbeddedLog.open(join(dataDir, 'log'));
  await log.createTopics(declareTopics(PARTITIONS));
  const codec = await Codec.open(await Registry.open({ dataDir: null }));
  const close = async (): Promise<void> => {
    await log.close();
    await rm(dataDir, { recursive: true });
  };
  return { log, codec, dataDir, close };
}

/** The records of a topic, partition after partition. */
export async function readAll(log: Log, topic: TopicName): Promise<(LogRecord & { readonly partition: number })[]> {
  const all: (LogRecord & { readonly partition: number })[] = [];
  const partitions = (await log.topics()).get(topic)!;
  for (let partition = 0; partition < partitions; partition += 1) {
    const at = { topic, partition };
    for await (const record of records(log, at, 0, await log.endOffset(at))) all.push({ ...record, partition });
  }
  return all;
}
