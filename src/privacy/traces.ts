/**
 * The files of a data folder, searched for the bytes of a user id. LevelDB's are read entry by entry, also those that
 * LevelDB itself would not show any more: their keys are stored in parts and their blocks may be compressed. Anything else
 * is searched as it lies there.
 */
import { createReadStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { journalEntries } from './level-journal.ts';
import { tableEntries, type TableEntry } from './level-table.ts';

export interface Trace {
  /** Relative to the data folder. */
  readonly file: string;
  readonly places: number;
}

/** Whether an entry of a table that holds the bytes of the id is the user's: a short id may stand in other words. */
export type OwnsEntry = (entry: TableEntry) => boolean;

/** Ours, of schemas and of offsets; no user is in them, but numbers are that an id may look like. */
const WITHOUT_USERS = new Set(['schemas.json', 'expire.json']);

/** Every file with a trace of the user. A file that is gone by the time it is read has none. */
export async function findTraces(dataDir: string, userId: string, owns: OwnsEntry): Promise<Trace[]> {
  const id = Buffer.from(userId);
  const traces: Trace[] = [];
  for (const entry of await readdir(dataDir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const file = relative(dataDir, path);
    if (WITHOUT_USERS.has(file)) continue;
    const places = await placesIn(path, id, owns).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return 0;
      throw error;
    });
    if (places > 0) traces.push({ file, places });
  }
  return traces;
}

async function placesIn(path: string, id: Buffer, owns: OwnsEntry): Promise<number> {
  const name = basename(path);
  if (/^\d+\.(?:ldb|sst)$/.test(name)) return placesInEntries(await readFile(path), tableEntries, id, owns);
  if (/^\d+\.log$/.test(name)) return placesInEntries(await readFile(path), journalEntries, id, owns);
  if (name.startsWith('MANIFEST-')) return count(await readFile(path), listedKey(id));
  if (name === 'LOG' || name === 'LOG.old') return count(await readFile(path), toldKey(id));
  return placesInStream(path, id, /\.(?:nd)?json$/.test(name));
}

/** What stands before a user's id in the key of a store (state/store-record.ts), and behind each key inside LevelDB. */
const STORE_ENTRY = 'e';
const KEY_SUFFIX_BYTES = 8;

/** A store's list of files names the first and last key of each, behind its length. */
function listedKey(id: Buffer): Buffer {
  const length = STORE_ENTRY.length + id.length + KEY_SUFFIX_BYTES;
  const varint = length < 0x80 ? [length] : [(length & 0x7f) | 0x80, length >> 7];
  return Buffer.concat([Buffer.from(varint), Buffer.from(STORE_ENTRY), id]);
}

/** LevelDB's own log tells of keys in quotes. */
function toldKey(id: Buffer): Buffer {
  const hex = (byte: number): string => `\\x${byte.toString(16).padStart(2, '0')}`;
  const told = Array.from(id, (byte) => (byte >= 0x20 && byte <= 0x7e ? String.fromCharCode(byte) : hex(byte)));
  return Buffer.from(`'${STORE_ENTRY}${told.join('')}'`);
}

type Entries = (file: Buffer) => Iterable<TableEntry>;

function placesInEntries(file: Buffer, entriesOf: Entries, id: Buffer, owns: OwnsEntry): number {
  let places = 0;
  try {
    for (const entry of entriesOf(file)) {
      if ((entry.key.includes(id) || entry.value.includes(id)) && owns(entry)) places += 1;
    }
    return places;
  } catch (error) {
    // Damaged or cut off: what cannot be read entry by entry is searched as it lies there.
    if (error instanceof RangeError) return Math.max(places, count(file, id));
    throw error;
  }
}

/** In text an id ends where its word does; so each place is judged once the byte behind it is read. */
async function placesInStream(path: string, id: Buffer, isText: boolean): Promise<number> {
  let places = 0;
  let bytes: Buffer = Buffer.alloc(0);
  // Once there is a byte carried over that only stands before a place.
  let first = 0;
  const isPlace = (at: number): boolean => !isText || !isInWord(bytes, at, at + id.length);
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES })) {
    bytes = Buffer.concat([bytes, chunk as Buffer]);
    for (let at = bytes.indexOf(id, first); at >= 0 && at + id.length < bytes.length; at = bytes.indexOf(id, at + 1)) {
      if (isPlace(at)) places += 1;
    }
    bytes = bytes.subarray(Math.max(0, bytes.length - id.length - 1));
    first = bytes.length > id.length ? 1 : 0;
  }
  const last = bytes.length - id.length;
  return places + (last >= 0 && bytes.subarray(last).equals(id) && isPlace(last) ? 1 : 0);
}

const CHUNK_BYTES = 4 * 1024 * 1024;

function count(bytes: Buffer, id: Buffer): number {
  let places = 0;
  for (let at = bytes.indexOf(id); at >= 0; at = bytes.indexOf(id, at + 1)) places += 1;
  return places;
}

const WORD = /[A-Za-z0-9_-]/;

const isInWord = (bytes: Buffer, from: number, to: number): boolean =>
  (from > 0 && WORD.test(String.fromCharCode(bytes[from - 1]!))) ||
  (to < bytes.length && WORD.test(String.fromCharCode(bytes[to]!)));
