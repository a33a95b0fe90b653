import { mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FreshetError } from '../src/base/errors.ts';
import type { ErrorCode } from '../src/base/errors.ts';
import { KeyedStore } from '../state/store.ts';
import type { StoreOptions } from '../state/store.ts';
import { MODEL_OPTIONS, modelBatch, modelState } from './store-model.ts';
import type { ModelPosition } from './store-model.ts';
import { holdStoreUntil } from './store-process.ts';

const OPTIONS: StoreOptions = { layoutHash: 'layout-1' };
const bytes = (text: string): Buffer => Buffer.from(text);

let folder: string;
const open = async (options = OPTIONS) => KeyedStore.open<{ offset: number }>(folder, options);

beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'freshet-store-')), 'store');
});

afterEach(() => {
  rmSync(join(folder, '..'), { recursive: true });
});

/** The error's code; fails the test if there is none. */
async function codeOf(work: Promise<unknown>): Promise<ErrorCode> {
  try {
    await work;
  } catch (error) {
    if (error instanceof FreshetError) return error.code;
    throw error;
  }
  throw new Error('nothing was thrown');
}

async function contentOf(store: KeyedStore<unknown>): Promise<Map<string, string>> {
  const content = new Map<string, string>();
  for await (const [key, value] of store.entries()) content.set(key.toString('latin1'), value.toString('latin1'));
  return content;
}

describe('a store', () => {
  it('begins empty and says that it is new', async () => {
    const { store, reason } = await open();
    expect(reason).toMatch(/^new: /);
    expect(store.position()).toBeUndefined();
    expect(store.size).toBe(0);
    expect(await store.getMany([bytes('a')])).toEqual([undefined]);
    await store.close();
  });

  it('keeps entries, deletes and the position over a close, and opens without a reason', async () => {
    const first = (await open()).store;
    await first.commit({
      puts: [
        [bytes('a'), bytes('1')],
        [bytes(''), bytes('')],
      ],
      deletes: [],
      position: { offset: 1 },
    });
    await first.commit({
      puts: [[bytes('b'), bytes('2')]],
      deletes: [bytes('a'), bytes('z')],
      position: { offset: 2 },
    });
    await first.close();
    const { store, reason } = await open();
    expect(reason).toBeUndefined();
    expect(store.position()).toEqual({ offset: 2 });
    expect(store.size).toBe(2);
    expect(await store.getMany([bytes('b'), bytes('a'), bytes('')])).toEqual([bytes('2'), undefined, bytes('')]);
    await store.close();
  });

  it('is wiped under another layout, and says so in the log without a user id', async () => {
    const first = (await open()).store;
    await first.commit({ puts: [[bytes('secret-user'), bytes('1')]], deletes: [], position: { offset: 1 } });
    await first.close();
    const logged: unknown[] = [];
    const logger = { warn: (details: object, message: string) => logged.push(details, message) };
    const { store, reason } = await open({ layoutHash: 'layout-2', logger });
    expect(reason).toMatch(/^layout_changed: /);
    expect(store.size).toBe(0);
    expect(JSON.stringify(logged)).toContain('layout_changed');
    expect(JSON.stringify(logged)).not.toContain('secret-user');
    await store.close();
  });

  it('is emptied by wipe() and goes on', async () => {
    const { store } = await open();
    await store.commit({ puts: [[bytes('a'), bytes('1')]], deletes: [], position: { offset: 1 } });
    await store.wipe();
    expect(store.position()).toBeUndefined();
    expect(await contentOf(store)).toEqual(new Map());
    await store.commit({ puts: [[bytes('b'), bytes('2')]], deletes: [], position: { offset: 9 } });
    await store.close();
    const again = await open();
    expect(again.reason).toBeUndefined();
    expect(await contentOf(again.store)).toEqual(new Map([['b', '2']]));
    await again.store.close();
  });

  it('wipes its own files only', async () => {
    await (await open()).store.close();
    writeFileSync(join(folder, 'notes.txt'), 'mine');
    const { store, reason } = await open({ layoutHash: 'layout-2' });
    expect(reason).toMatch(/^layout_changed: /);
    expect(readFileSync(join(folder, 'notes.txt'), 'utf8')).toBe('mine');
    await store.close();
  });

  it('equals a map under any commits, reads, deletes and reopenings, with few checksums remembered', async () => {
    const key = fc.integer({ min: 0, max: 9 }).map((n) => `k${n}`);
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ changes: fc.dictionary(key, fc.option(fc.string(), { nil: null })) }) },
      { weight: 2, arbitrary: fc.record({ read: fc.array(key) }) },
      { weight: 1, arbitrary: fc.constant({ reopen: true as const }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const options = { ...OPTIONS, rememberedKeys: 3 };
        const model = new Map<string, string>();
        let { store } = await open(options);
        await store.wipe();
        for (const [offset, step] of [...steps, { reopen: true as const }].entries()) {
          if ('changes' in step) {
            const puts: [Buffer, Buffer][] = [];
            const deletes: Buffer[] = [];
            for (const [name, value] of Object.entries(step.changes)) {
              if (value === null) {
                deletes.push(bytes(name));
                model.delete(name);
              } else {
                puts.push([bytes(name), bytes(value)]);
                model.set(name, bytes(value).toString('latin1'));
              }
            }
            await store.commit({ puts, deletes, position: { offset } });
          } else if ('read' in step) {
            const values = await store.getMany(step.read.map(bytes));
            expect(values.map((value) => value?.toString('latin1'))).toEqual(step.read.map((name) => model.get(name)));
          } else {
            await store.close();
            const opened = await open(options);
            expect(opened.reason).toBeUndefined();
            store = opened.store;
            expect(store.size).toBe(model.size);
            expect(await contentOf(store)).toEqual(new Map([...model].sort(([a], [b]) => (a < b ? -1 : 1))));
          }
        }
        await store.close();
      }),
      { numRuns: 40 },
    );
  });
});

describe('wrong use', () => {
  it('refuses a commit while it is iterated over, and takes it once the iteration was left', async () => {
    const { store } = await open();
    await store.commit({ puts: [[bytes('a'), bytes('1')]], deletes: [], position: { offset: 1 } });
    const change = { puts: [[bytes('b'), bytes('2')]] as const, deletes: [], position: { offset: 2 } };
    for await (const [key] of store.entries()) {
      expect(key).toEqual(bytes('a'));
      expect(await codeOf(store.commit(change))).toBe('INTERNAL');
      expect(await codeOf(store.wipe())).toBe('INTERNAL');
      expect(await store.getMany([bytes('a')])).toEqual([bytes('1')]);
      break;
    }
    expect(store.position()).toEqual({ offset: 1 });
    await store.commit(change);
    expect(await contentOf(store)).toEqual(
      new Map([
        ['a', '1'],
        ['b', '2'],
      ]),
    );
    await store.close();
  });

  it.each([
    [
      'a key put twice',
      {
        puts: [
          [bytes('a'), bytes('1')],
          [bytes('a'), bytes('2')],
        ],
        deletes: [],
      },
    ],
    ['a key put and deleted', { puts: [[bytes('a'), bytes('1')]], deletes: [bytes('a')] }],
  ] as const)('refuses a commit with %s, and changes nothing', async (_, change) => {
    const { store } = await open();
    expect(await codeOf(store.commit({ ...change, position: { offset: 1 } }))).toBe('INTERNAL');
    expect(store.position()).toBeUndefined();
    await store.commit({ puts: [[bytes('a'), bytes('3')]], deletes: [], position: { offset: 2 } });
    await store.close();
    expect(await open().then(async ({ store, reason }) => (await store.close(), reason))).toBeUndefined();
  });

  it('refuses calls after close, which may be called again', async () => {
    const { store } = await open();
    await store.close();
    await store.close();
    expect(await codeOf(store.getMany([bytes('a')]))).toBe('INTERNAL');
    expect(await codeOf(store.wipe())).toBe('INTERNAL');
  });

  it('runs overlapping calls in their order', async () => {
    const { store } = await open();
    const commit = (offset: number) =>
      store.commit({ puts: [[bytes('a'), bytes(String(offset))]], deletes: [], position: { offset } });
    const read = () => store.getMany([bytes('a')]).then(([value]) => value?.toString());
    const results = await Promise.all([read(), commit(1), read(), commit(2), commit(3), read()]);
    expect(results).toEqual([undefined, undefined, '1', undefined, undefined, '3']);
    await store.close();
  });

  it('refuses more calls than may wait', async () => {
    const { store } = await open();
    const calls = Array.from({ length: 1_025 }, () => store.getMany([]));
    const outcomes = await Promise.allSettled(calls);
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1);
    await store.close();
  });
});

describe('what stands around a store', () => {
  it('is not damage if another process holds it', async () => {
    const holder = await holdStoreUntil(folder, 5, 5);
    try {
      expect(await codeOf(open())).toBe('DATA_DIR_IN_USE');
      // Even where this process takes the other one's files for damaged.
      writeFileSync(join(folder, 'CURRENT.saved'), readFileSync(join(folder, 'CURRENT')));
      rmSync(join(folder, 'CURRENT'));
      expect(await codeOf(open())).toBe('DATA_DIR_IN_USE');
      writeFileSync(join(folder, 'CURRENT'), readFileSync(join(folder, 'CURRENT.saved')));
    } finally {
      await holder.kill();
    }
    const { store, reason } = await KeyedStore.open<ModelPosition>(folder, MODEL_OPTIONS);
    expect(reason).toBeUndefined();
    expect(store.position()).toEqual({ batch: 5 });
    await store.close();
  });

  it('is not damage if this process holds it already', async () => {
    const { store } = await open();
    expect(await codeOf(open())).toBe('DATA_DIR_IN_USE');
    await store.commit({ puts: [], deletes: [], position: { offset: 1 } });
    await store.close();
  });

  it('is an error with a remedy if the folder is a file', async () => {
    writeFileSync(folder, '');
    expect(await codeOf(open())).toBe('FILE_NOT_FOUND');
  });

  it('stops on a full disk at open, wipes nothing, and goes on once there is room', async () => {
    const { store } = await KeyedStore.open<ModelPosition>(folder, MODEL_OPTIONS);
    for (let batch = 1; batch <= 5; batch += 1) await store.commit(modelBatch(batch));
    await store.close();
    // Files that LevelDB is about to write, each as full as a disk can be.
    const full = Array.from({ length: 40 }, (_, n) => join(folder, `MANIFEST-${String(n).padStart(6, '0')}`));
    const used = new Set(readdirSync(folder).map((name) => join(folder, name)));
    const links = full.filter((path) => !used.has(path));
    for (const path of links) symlinkSync('/dev/full', path);
    expect(await codeOf(KeyedStore.open(folder, MODEL_OPTIONS))).toBe('DISK_FULL');
    for (const path of links) rmSync(path, { force: true });
    const again = await KeyedStore.open<ModelPosition>(folder, MODEL_OPTIONS);
    expect(again.reason).toBeUndefined();
    expect(again.store.size).toBe(modelState(5).size);
    await again.store.close();
  });

  it('stops on a full disk at commit, refuses what follows, and resumes from a commit once there is room', async () => {
    const { store } = await open({ ...OPTIONS, writeBufferBytes: 64 * 1024 });
    await store.commit({ puts: [[bytes('a'), bytes('1')]], deletes: [], position: { offset: 0 } });
    const names = new Set(readdirSync(folder));
    const links = Array.from({ length: 200 }, (_, n) => String(n).padStart(6, '0'))
      .flatMap((number) => [`${number}.log`, `${number}.ldb`])
      .filter((name) => Number.parseInt(name) > 3 && !names.has(name))
      .map((name) => join(folder, name));
    for (const path of links) symlinkSync('/dev/full', path);
    let taken = 0;
    const fill = async () => {
      for (; taken < 100; taken += 1) {
        const value = Buffer.alloc(20_000, taken);
        await store.commit({ puts: [[bytes(`k${taken}`), value]], deletes: [], position: { offset: taken + 1 } });
      }
    };
    expect(await codeOf(fill())).toBe('DISK_FULL');
    expect(await codeOf(store.getMany([bytes('a')]))).toBe('DISK_FULL');
    await store.close();
    for (const path of links) rmSync(path, { force: true });
    const again = await open();
    expect(again.reason).toBeUndefined();
    expect([taken, taken + 1]).toContain(again.store.position()?.offset);
    expect(again.store.size).toBe(again.store.position()!.offset + 1);
    await again.store.close();
  });
});
