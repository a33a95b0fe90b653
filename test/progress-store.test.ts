/** The store that knows how far it has come: commits in slices, and what one that was cut short leaves. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ProgressStore, type Change } from '../state/progress-store.ts';
import { KeyedStore } from '../state/store.ts';

const FAST = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const OPTIONS = { layoutHash: 'layout' };
/** Three slices of about 256 KB. */
const KEYS = 30;
const VALUE_BYTES = 25_000;

interface Position {
  readonly offset: number;
}

let folder: string;
const open = (): Promise<ProgressStore<Position>> => ProgressStore.open<Position>(folder, OPTIONS);

beforeEach(() => {
  folder = join(mkdtempSync(join(FAST, 'freshet-progress-')), 'store');
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
  rmSync(join(folder, '..'), { recursive: true });
});

/** The same keys with values of this generation; every tenth key is removed in odd ones. */
function* changes(generation: number): Generator<Change> {
  for (let at = 0; at < KEYS; at += 1) {
    const isRemoved = generation % 2 === 1 && at % 10 === 0;
    yield [Buffer.from(`key-${String(at).padStart(2, '0')}`), isRemoved ? null : Buffer.alloc(VALUE_BYTES, generation)];
  }
}

async function generations(store: ProgressStore<Position>): Promise<number[]> {
  return Array.fromAsync(store.entries(), ([, value]) => value[0]!);
}

/** As if the process ended before the slice of this number; the first is 0. */
async function cutShort(slice: number, work: (store: ProgressStore<Position>) => Promise<void>): Promise<void> {
  const store = await open();
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called with the store as `this`.
  const commit = KeyedStore.prototype.commit;
  let slices = 0;
  vi.spyOn(KeyedStore.prototype, 'commit').mockImplementation(function (this: KeyedStore<unknown>, change) {
    if (slices === slice) return Promise.reject(new Error('cut short'));
    slices += 1;
    return commit.call(this, change);
  });
  await expect(work(store)).rejects.toThrow('cut short');
  vi.restoreAllMocks();
  await store.close();
}

describe('a commit', () => {
  it('goes in slices, and the position moves with the last', async () => {
    const store = await open();
    const spy = vi.spyOn(KeyedStore.prototype, 'commit');
    await store.commit(changes(2), { offset: 7 });
    const positions = spy.mock.calls.map(([{ position }]) => position as { position: Position | null; whole: boolean });
    expect(positions.map(({ position, whole }) => [position, whole])).toEqual([
      [null, false],
      [null, false],
      [{ offset: 7 }, true],
    ]);
    expect(store.position()).toEqual({ offset: 7 });
    expect(store.isWhole()).toBe(true);
    expect(await generations(store)).toEqual(new Array(KEYS).fill(2));
    await store.close();
  });

  it('of nothing moves the position', async () => {
    const store = await open();
    expect([store.isEmpty(), store.isWhole(), store.position()]).toEqual([true, true, undefined]);
    await store.commit([], { offset: 1 });
    expect([store.isEmpty(), store.isWhole(), store.position()]).toEqual([false, true, { offset: 1 }]);
    await store.close();
  });

  it.each([1, 2])('cut short before slice %i leaves the old position, and is not whole', async (slice) => {
    const first = await open();
    await first.commit(changes(2), { offset: 7 });
    await first.close();
    await cutShort(slice, (store) => store.commit(changes(3), { offset: 9 }));

    const store = await open();
    expect([store.isWhole(), store.position()]).toEqual([false, { offset: 7 }]);
    expect(new Set(await generations(store))).toEqual(new Set([2, 3]));
    // The tail of the log from the old position on, some of it once more and in other pieces.
    await store.add(changes(3));
    expect([store.isWhole(), store.position()]).toEqual([false, { offset: 7 }]);
    await store.commit([], { offset: 9 });
    expect([store.isWhole(), store.position()]).toEqual([true, { offset: 9 }]);
    const undisturbed = [...changes(3)].flatMap(([, value]) => (value === null ? [] : [value[0]]));
    expect(await generations(store)).toEqual(undisturbed);
    await store.close();
  });

  it('cut short in the first fill leaves no position', async () => {
    await cutShort(1, (store) => store.commit(changes(2), { offset: 7 }));
    const store = await open();
    expect([store.isEmpty(), store.isWhole(), store.position()]).toEqual([false, false, undefined]);
    await store.wipe();
    expect([store.isEmpty(), store.isWhole(), store.position()]).toEqual([true, true, undefined]);
    await store.close();
  });
});

describe('the age of a store', () => {
  it('counts from its last whole commit, over a restart', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_000_000 });
    let store = await open();
    expect(store.isOlderThan(Infinity)).toBe(true);
    await store.commit(changes(2), { offset: 1 });
    vi.setSystemTime(1_000_500);
    await store.add(changes(4));
    await store.close();
    store = await open();
    expect([store.isOlderThan(500), store.isOlderThan(499)]).toEqual([false, true]);
    await store.commit([], { offset: 2 });
    expect(store.isOlderThan(0)).toBe(false);
    await store.close();
  });

  it('is not known where the clock has gone back since', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_000_000 });
    const store = await open();
    await store.commit([], { offset: 1 });
    vi.setSystemTime(999_999);
    expect(store.isOlderThan(1_000_000)).toBe(true);
    await store.close();
  });
});
