/** The parts of the store's proof, each alone: checksums, tables, batch numbers, the mark. */
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FreshetError } from '../src/base/errors.ts';
import { crc32c } from '../src/base/crc32c.ts';
import { readMark, removeMark, writeMark } from '../state/store-mark.ts';
import {
  META_KEY,
  checksum,
  decodeMeta,
  encodeMeta,
  entryKey,
  seal,
  sequenceKey,
  unseal,
} from '../state/store-record.ts';
import { SEQUENCE_WINDOW } from '../state/store-scan.ts';
import { tableDamage } from '../state/store-table.ts';
import { KeyedStore } from '../state/store.ts';

const OPTIONS = { layoutHash: 'layout-1' };
const NOTHING = Buffer.alloc(0);
const FOOTER_BYTES = 48;
const sealed = (key: Buffer, value: Buffer): Buffer => seal(value, checksum(key, value));

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'freshet-store-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function withLevel(work: (db: ClassicLevel<Buffer, Buffer>) => Promise<void>): Promise<void> {
  const db = new ClassicLevel<Buffer, Buffer>(folder, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    compression: false,
  });
  await work(db);
  await db.close();
}

async function reasonAtOpen(): Promise<string | undefined> {
  const { store, reason } = await KeyedStore.open(folder, OPTIONS);
  await store.close();
  return reason;
}

async function fill(entries: number): Promise<void> {
  const { store } = await KeyedStore.open<number>(folder, OPTIONS);
  for (let n = 0; n < entries; n += 1) {
    await store.commit({ puts: [[Buffer.from(`key-${n}`), Buffer.from(`value-${n}`)]], deletes: [], position: n });
  }
  await store.close();
}

describe('CRC-32C', () => {
  it('gives the values of RFC 3720', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
    expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
    expect(crc32c(Buffer.from(Array.from({ length: 32 }, (_, n) => n)))).toBe(0x46dd794e);
  });

  it('equals the bitwise definition for any bytes at any alignment', () => {
    const bitwise = (bytes: Uint8Array): number => {
      let crc = ~0;
      for (const byte of bytes) {
        crc ^= byte;
        for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
      }
      return ~crc >>> 0;
    };
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(8), fc.nat(8), (bytes, skip, cut) => {
        const start = Math.min(skip, bytes.length);
        const end = Math.max(start, bytes.length - cut);
        expect(crc32c(bytes, start, end)).toBe(bitwise(bytes.subarray(start, end)));
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('a record', () => {
  const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array));

  it('is unsealed to what was sealed', () => {
    fc.assert(
      fc.property(bytes, bytes, (key, value) => {
        const stored = entryKey(key);
        expect(unseal(stored, sealed(stored, value))).toEqual({ value, sum: checksum(stored, value) });
      }),
      { numRuns: 1_000 },
    );
  });

  it('proves false after a flip of any bit in key or value, or a cut', () => {
    fc.assert(
      fc.property(bytes, bytes, fc.nat(), fc.nat(7), (key, value, at, bit) => {
        const stored = entryKey(key);
        const whole = Buffer.concat([stored, sealed(stored, value)]);
        whole[at % whole.length]! ^= 1 << bit;
        expect(unseal(whole.subarray(0, stored.length), whole.subarray(stored.length))).toBeUndefined();
        const cut = sealed(stored, value).subarray(0, at % (value.length + 4));
        expect(unseal(stored, cut)).toBeUndefined();
      }),
      { numRuns: 2_000 },
    );
  });

  it('proves false if bytes move from the key to the value', () => {
    const key = Buffer.from('ab');
    expect(unseal(Buffer.from('a'), seal(Buffer.from('bc'), checksum(key, Buffer.from('c'))))).toBeUndefined();
  });

  it('keeps what the store holds', () => {
    const meta = { layoutHash: 'h', batch: 2 ** 40, count: 7, digest: 2n ** 64n - 1n, position: '{"offset":1}' };
    expect(decodeMeta(encodeMeta(meta))).toEqual(meta);
    expect(decodeMeta(encodeMeta({ ...meta, position: undefined }))).toEqual({ ...meta, position: undefined });
  });
});

describe('a table', () => {
  /** A small table with every kind of block. */
  async function makeTable(): Promise<Buffer> {
    await fill(40);
    await fill(0);
    const name = readdirSync(folder).find((file) => file.endsWith('.ldb'))!;
    return readFileSync(join(folder, name));
  }

  it('is found damaged after a flip of any byte, but for the padding of the footer', async () => {
    const table = await makeTable();
    expect(tableDamage(table)).toBeUndefined();
    const unnoticed: number[] = [];
    for (let at = 0; at < table.length; at += 1) {
      const bit = 1 << (at % 8);
      table[at]! ^= bit;
      if (tableDamage(table) === undefined) unnoticed.push(at);
      table[at]! ^= bit;
    }
    // Two block handles of at least two bytes each open the footer; the magic at its end is checked by LevelDB.
    expect(unnoticed.filter((at) => at < table.length - FOOTER_BYTES + 4)).toEqual([]);
    const magic = Array.from({ length: 8 }, (_, byte) => table.length - 8 + byte);
    expect(unnoticed).toEqual(expect.arrayContaining(magic));
  });

  it('without a footer is left to LevelDB, which refuses it where it is in use', async () => {
    const table = await makeTable();
    const name = readdirSync(folder).find((file) => file.endsWith('.ldb'))!;
    for (const length of [0, 20, table.length - 1]) expect(tableDamage(table.subarray(0, length))).toBeUndefined();
    writeFileSync(join(folder, name), table.subarray(0, table.length - 1));
    expect(await reasonAtOpen()).toMatch(/^unreadable: /);
  });

  it('is found damaged if bytes follow it, which LevelDB would not notice', async () => {
    expect(tableDamage(Buffer.concat([await makeTable(), Buffer.alloc(1)]))).toBe('bytes follow its end');
  });

  it('left unfinished by a killed process does not spoil the store', async () => {
    const table = await makeTable();
    writeFileSync(join(folder, '000900.ldb'), table.subarray(0, table.length / 2));
    expect(await reasonAtOpen()).toBeUndefined();
  });
});

describe('the proof at open', () => {
  it('keeps the newest 65,536 batch numbers', async () => {
    await fill(1);
    const meta = { layoutHash: 'layout-1', batch: SEQUENCE_WINDOW, count: 0, digest: 0n, position: '0' };
    await withLevel(async (db) => {
      await db.clear();
      const puts = Array.from({ length: SEQUENCE_WINDOW }, (_, n) => sequenceKey(n + 1)).map((key) => ({
        type: 'put' as const,
        key,
        value: sealed(key, NOTHING),
      }));
      await db.batch([...puts, { type: 'put', key: META_KEY, value: encodeMeta(meta) }]);
    });
    rmSync(join(folder, 'CLEAN'));
    const { store, reason } = await KeyedStore.open<number>(folder, OPTIONS);
    expect(reason).toBeUndefined();
    await store.commit({ puts: [], deletes: [], position: 1 });
    await store.close();
    await withLevel(async (db) => {
      expect(await db.hasMany([1, 2, SEQUENCE_WINDOW, SEQUENCE_WINDOW + 1].map(sequenceKey))).toEqual([
        false,
        true,
        true,
        true,
      ]);
    });
    expect(await reasonAtOpen()).toBeUndefined();
  });

  const key = entryKey(Buffer.from('key-3'));
  const other = entryKey(Buffer.from('key-x'));
  it.each<[string, RegExp, (db: ClassicLevel<Buffer, Buffer>) => Promise<void>]>([
    ['a batch number missing', /^sequence_gap: /, (db) => db.del(sequenceKey(4))],
    ['the last batch number missing', /^sequence_gap: /, (db) => db.del(sequenceKey(9))],
    ['a batch number too many', /^sequence_gap: /, (db) => db.put(sequenceKey(10), sealed(sequenceKey(10), NOTHING))],
    ['an entry missing', /^count_mismatch: /, (db) => db.del(key)],
    ['an entry too many', /^count_mismatch: /, (db) => db.put(other, sealed(other, NOTHING))],
    ['a stale entry', /^digest_mismatch: /, (db) => db.put(key, sealed(key, Buffer.from('value-2')))],
    ['an entry without a checksum', /^checksum: /, (db) => db.put(key, NOTHING)],
    ['a record of no kind', /^checksum: /, (db) => db.put(Buffer.from('x'), sealed(Buffer.from('x'), NOTHING))],
    ['the meta record missing', /^meta_missing: /, (db) => db.del(META_KEY)],
    ['the meta record damaged', /^checksum: /, (db) => db.put(META_KEY, Buffer.from('12345'))],
  ])('wipes a store with %s', async (_, reason, damage) => {
    await fill(9);
    await withLevel(damage);
    expect(await reasonAtOpen()).toMatch(reason);
    expect(await reasonAtOpen()).toBeUndefined();
  });

  it('wipes a store with an entry under another key', async () => {
    await fill(9);
    await withLevel(async (db) => {
      await db.batch([
        { type: 'del', key },
        { type: 'put', key: other, value: sealed(other, Buffer.from('value-3')) },
      ]);
    });
    expect(await reasonAtOpen()).toMatch(/^digest_mismatch: /);
  });

  it('wipes a store whose write-ahead log has a hole, which LevelDB opens without a word', async () => {
    const { store } = await KeyedStore.open<number>(folder, OPTIONS);
    for (let n = 0; n < 60; n += 1) {
      await store.commit({ puts: [[Buffer.from(`key-${n}`), Buffer.alloc(2_000, n)]], deletes: [], position: n });
    }
    const names = readdirSync(folder).filter((name) => name !== 'LOCK');
    const files = new Map(names.map((name) => [name, readFileSync(join(folder, name))]));
    await store.wipe();
    await store.close();
    for (const name of readdirSync(folder)) rmSync(join(folder, name));
    for (const [name, content] of files) {
      if (name.endsWith('.log')) content[40_000]! ^= 1;
      writeFileSync(join(folder, name), content);
    }
    expect(await reasonAtOpen()).toMatch(/^sequence_gap: /);
  });

  it('wipes a store that was closed after more batches than it holds', async () => {
    await fill(9);
    await writeMark(folder, 10);
    expect(await reasonAtOpen()).toMatch(/^batches_lost: /);
  });

  it('wipes a store without CURRENT', async () => {
    await fill(9);
    rmSync(join(folder, 'CURRENT'));
    expect(await reasonAtOpen()).toMatch(/^files_missing: /);
  });
});

describe('the clean-close mark', () => {
  it('is there after a close and gone while the store is open', async () => {
    await fill(3);
    expect(await readMark(folder)).toBe(3);
    const { store } = await KeyedStore.open(folder, OPTIONS);
    expect(await readMark(folder)).toBeUndefined();
    await store.close();
    expect(await readMark(folder)).toBe(3);
    await removeMark(folder);
    expect(await reasonAtOpen()).toBeUndefined();
  });

  it('proves nothing when torn', async () => {
    await fill(3);
    for (const text of ['', '3', '3 ', '4 6dd28e9b\n']) {
      writeFileSync(join(folder, 'CLEAN'), text);
      expect(await readMark(folder)).toBeUndefined();
    }
  });
});

describe('damage that comes while the store is open', () => {
  it('is met by the read, stops the store, leaves no mark, and is wiped by the owner or at the next open', async () => {
    await fill(5);
    const { store } = await KeyedStore.open<number>(folder, OPTIONS);
    for (const name of readdirSync(folder).filter((file) => file.endsWith('.ldb'))) {
      const table = readFileSync(join(folder, name));
      const at = table.indexOf('value-3');
      if (at >= 0) table[at]! ^= 1;
      writeFileSync(join(folder, name), table, { flag: 'r+' });
    }
    const damaged = expect.objectContaining({ code: 'STORE_DAMAGED' }) as FreshetError;
    await expect(store.getMany([Buffer.from('key-3')])).rejects.toEqual(damaged);
    await expect(store.commit({ puts: [], deletes: [], position: 9 })).rejects.toEqual(damaged);
    await store.close();
    expect(await readMark(folder)).toBeUndefined();
    expect(await reasonAtOpen()).toMatch(/^checksum: /);
  });

  it('is gone after wipe()', async () => {
    await fill(5);
    const { store } = await KeyedStore.open<number>(folder, OPTIONS);
    const name = readdirSync(folder).find((file) => file.endsWith('.ldb'))!;
    const table = readFileSync(join(folder, name));
    table[table.indexOf('value-1')]! ^= 1;
    writeFileSync(join(folder, name), table, { flag: 'r+' });
    const readAll = async () => {
      for await (const [key] of store.entries()) expect(key.toString()).toMatch(/^key-\d$/);
    };
    await expect(readAll()).rejects.toThrow(FreshetError);
    await store.wipe();
    await store.commit({ puts: [[Buffer.from('a'), NOTHING]], deletes: [], position: 1 });
    await store.close();
    expect(await reasonAtOpen()).toBeUndefined();
  });
});
