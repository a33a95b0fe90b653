/**
 * The bytes of a file, told by its content to be plain, gzip or zip: read as they are asked for, never ahead by more
 * than the buffers of a stream.
 */
import { createReadStream, type ReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { openPromise, type Entry, type ZipFile } from 'yauzl';
import { FreshetError } from '../base/errors.ts';

export interface SourceEntry {
  /** Name inside a zip archive; null for a file of its own. */
  readonly name: string | null;
  readonly chunks: AsyncIterable<Buffer>;
}

export interface Source {
  /** Size on disk; of a zip archive the size of the unpacked entries. */
  readonly totalBytes: number;
  /** How much of totalBytes has been read. */
  readonly bytesRead: () => number;
  /** The entries one after the other; each must be read before the next is asked for. */
  readonly entries: () => AsyncGenerator<SourceEntry>;
}

/** Which entries of a zip archive are meant, of those it has. Folders and macOS's resource forks are left out before. */
export type EntryChoice = (names: readonly string[]) => readonly string[];

/** The entries whose names end so, e.g. /\.csv$/i; an archive of one entry means that one whatever its name. */
export const byExtension =
  (extension: RegExp): EntryChoice =>
  (names) =>
    names.length === 1 ? names : names.filter((name) => extension.test(name));

const MAX_ZIP_ENTRIES = 10_000;
const CHUNK_BYTES = 256 * 1024;

/**
 * Opens a file. Throws FILE_NOT_FOUND, and INPUT_MALFORMED for a damaged archive, there or while reading. A path that
 * is no regular file is refused: what it is is told from its first bytes, which a pipe gives only once.
 */
export async function openSource(file: string, choose: EntryChoice): Promise<Source> {
  const { size, magic } = await inspect(file);
  if (magic.readUInt16BE() === 0x504b && [0x0304, 0x0506].includes(magic.readUInt16BE(2))) {
    return openZip(file, choose);
  }
  let raw: ReadStream | undefined;
  return {
    totalBytes: size,
    bytesRead: () => raw?.bytesRead ?? 0,
    async *entries() {
      raw = createReadStream(file, { highWaterMark: CHUNK_BYTES });
      const isGzip = magic.readUInt16BE() === 0x1f8b;
      // pipeline closes both ends whichever fails or is left early; the error itself comes with the reading.
      const bytes = isGzip ? pipeline(raw, createGunzip({ chunkSize: CHUNK_BYTES }), () => undefined) : raw;
      yield { name: null, chunks: readChunks(bytes, file) };
    },
  };
}

async function inspect(file: string): Promise<{ size: number; magic: Buffer }> {
  try {
    const handle = await open(file, 'r');
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) throw new Error('not a regular file');
      const magic = Buffer.alloc(4);
      await handle.read(magic, 0, 4, 0);
      return { size: stats.size, magic };
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new FreshetError('FILE_NOT_FOUND', `${file}: ${(error as Error).message}`, { cause: error });
  }
}

async function openZip(file: string, choose: EntryChoice): Promise<Source> {
  const zip = await openPromise(file, { lazyEntries: true, autoClose: false }).catch((error: unknown) => {
    throw unreadable(file, error);
  });
  let bytesRead = 0;
  try {
    const entries = await chosenEntries(zip, file, choose);
    return {
      totalBytes: entries.reduce((sum, entry) => sum + entry.uncompressedSize, 0),
      bytesRead: () => bytesRead,
      async *entries() {
        try {
          for (const entry of entries) {
            const stream = await zip.openReadStreamPromise(entry).catch((error: unknown) => {
              throw unreadable(`${file}: ${entry.fileName}`, error);
            });
            const count = (bytes: number): void => void (bytesRead += bytes);
            yield { name: entry.fileName, chunks: readChunks(stream, `${file}: ${entry.fileName}`, count) };
          }
        } finally {
          zip.close();
        }
      },
    };
  } catch (error) {
    zip.close();
    throw error;
  }
}

async function chosenEntries(zip: ZipFile, file: string, choose: EntryChoice): Promise<Entry[]> {
  if (zip.entryCount > MAX_ZIP_ENTRIES) {
    throw new FreshetError('INPUT_MALFORMED', `${file} has more than ${MAX_ZIP_ENTRIES} entries`);
  }
  const entries = new Map<string, Entry>();
  try {
    for await (const entry of zip.eachEntry()) entries.set(entry.fileName, entry);
  } catch (error) {
    throw unreadable(file, error);
  }
  const names = [...entries.keys()].filter((name) => !name.endsWith('/') && !/(^|\/)(__MACOSX\/|\.)/.test(name));
  const chosen = choose(names);
  if (chosen.length === 0) throw new FreshetError('INPUT_MALFORMED', `${file} has no entry of this format`);
  return chosen.map((name) => entries.get(name)!);
}

async function* readChunks(bytes: Readable, what: string, count?: (bytes: number) => void): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of bytes as AsyncIterable<Buffer>) {
      count?.(chunk.length);
      yield chunk;
    }
  } catch (error) {
    throw unreadable(what, error);
  }
}

const unreadable = (what: string, error: unknown): FreshetError =>
  new FreshetError('INPUT_MALFORMED', `${what}: ${(error as Error).message}`, { cause: error });
