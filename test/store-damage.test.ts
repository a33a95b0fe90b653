/**
 * Files of a closed and of killed stores, damaged anywhere: opening gives exactly the state after some commit (the last
 * one, if the store was closed), by reads as well as by iteration, or an empty store with a reason.
 */
import { hash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KeyedStore } from '../state/store.ts';
import { MODEL_OPTIONS, modelBatch, modelKeys, modelState } from './store-model.ts';
import type { ModelPosition } from './store-model.ts';
import { holdStoreUntil } from './store-process.ts';

const RUNS = Number(process.env['STORE_DAMAGE_RUNS'] ?? 200);

interface Damage {
  readonly file: number;
  /** Where in the file, modulo its size. */
  readonly at: number;
  readonly kind: 'flip' | 'truncate' | 'zero' | 'append' | 'delete';
  readonly bit: number;
}

const damages: fc.Arbitrary<Damage> = fc.record({
  // Without fast-check's bias to small numbers, which would damage the first bytes of each file most of the time.
  file: fc.noBias(fc.nat()),
  at: fc.noBias(fc.nat()),
  kind: fc.oneof(
    { weight: 12, arbitrary: fc.constant('flip' as const) },
    { weight: 6, arbitrary: fc.constant('truncate' as const) },
    { weight: 2, arbitrary: fc.constantFrom('zero' as const, 'append' as const) },
    { weight: 1, arbitrary: fc.constant('delete' as const) },
  ),
  bit: fc.nat(7),
});

let root: string;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'freshet-damage-'));
});

afterAll(() => {
  rmSync(root, { recursive: true });
});

/** A store of several tables, a write-ahead log and a manifest of several edits. */
async function makeClosed(folder: string, lastBatch: number): Promise<void> {
  for (let batch = 1; batch <= lastBatch;) {
    const { store } = await KeyedStore.open<ModelPosition>(folder, MODEL_OPTIONS);
    for (let n = 0; n < 15 && batch <= lastBatch; n += 1, batch += 1) await store.commit(modelBatch(batch));
    await store.close();
  }
}

/** Damages one file; returns its name, or undefined where the damage changes no byte. */
function inflict(folder: string, { file, at, kind, bit }: Damage): string | undefined {
  const names = readdirSync(folder).filter((name) => name !== 'LOCK');
  const name = names[file % names.length]!;
  const path = join(folder, name);
  const before = readFileSync(path);
  const position = at % Math.max(1, before.length);
  const after = Buffer.from(before);
  if (kind === 'delete') rmSync(path);
  else if (kind === 'truncate') truncateSync(path, position);
  else if (kind === 'append') writeFileSync(path, Buffer.alloc(1 + bit * 100, 0x5a), { flag: 'a' });
  else {
    if (kind === 'zero') after.fill(0, position, Math.min(position + 64, after.length));
    else if (before.length > 0) after[position]! ^= 1 << bit;
    if (after.equals(before)) return undefined;
    writeFileSync(path, after);
  }
  return name;
}

/** Opens and compares with the model; returns the reason and the last batch held. */
async function openAndCompare(folder: string): Promise<{ reason: string | undefined; batch: number }> {
  const { store, reason } = await KeyedStore.open<ModelPosition>(folder, MODEL_OPTIONS);
  const batch = store.position()?.batch ?? 0;
  try {
    if (reason !== undefined) expect(batch).toBe(0);
    const state = modelState(batch);
    const held = [...state].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => describeEntry(key, value));
    const iterated: string[] = [];
    for await (const [key, value] of store.entries()) iterated.push(describeEntry(key.toString('latin1'), value));
    expect(iterated).toEqual(held);
    const read = await store.getMany(modelKeys);
    const wrong = modelKeys.filter((key, index) => !sameBytes(read[index], state.get(key.toString('latin1'))));
    expect(wrong.map(String)).toEqual([]);
    // It goes on from there, whatever it was.
    await store.commit(modelBatch(batch + 1));
    expect(store.size).toBe(modelState(batch + 1).size);
  } finally {
    await store.close();
  }
  return { reason, batch };
}

/** Vitest compares buffers byte by byte in JavaScript, which would take most of the time here. */
const describeEntry = (key: string, value: Buffer): string => `${key}: ${value.length} bytes, ${hash('sha1', value)}`;
const sameBytes = (a: Buffer | undefined, b: Buffer | undefined): boolean =>
  a === undefined || b === undefined ? a === b : a.equals(b);

/** Runs the damages over copies of `original`; returns how often each file type was damaged and noticed. */
async function runDamages(original: string, check: (batch: number, reason: string | undefined) => void) {
  const tally = new Map<string, { damaged: number; wiped: number }>();
  const copy = join(root, 'copy');
  await fc.assert(
    fc.asyncProperty(damages, async (damage) => {
      rmSync(copy, { recursive: true, force: true });
      cpSync(original, copy, { recursive: true });
      const name = inflict(copy, damage);
      if (name === undefined) return;
      const { reason, batch } = await openAndCompare(copy);
      check(batch, reason);
      const type = name.replace(/\d+/, 'N');
      const { damaged, wiped } = tally.get(type) ?? { damaged: 0, wiped: 0 };
      tally.set(type, { damaged: damaged + 1, wiped: wiped + Number(reason !== undefined) });
    }),
    { numRuns: RUNS },
  );
  return tally;
}

describe('a closed store', () => {
  it('opens as it was closed or is wiped, whatever byte was damaged', async () => {
    const original = join(root, 'closed');
    await makeClosed(original, 50);
    const names = readdirSync(original);
    expect(names.filter((name) => name.endsWith('.ldb')).length).toBeGreaterThan(1);
    const tally = await runDamages(original, (batch, reason) => {
      if (reason === undefined) expect(batch).toBe(50);
    });
    const noticed = [...tally.values()].reduce((sum, { wiped }) => sum + wiped, 0);
    expect(noticed).toBeGreaterThan(RUNS / 4);
    expect([...tally.keys()]).toEqual(expect.arrayContaining(['N.ldb', 'N.log', 'MANIFEST-N', 'CURRENT', 'CLEAN']));
  });
});

describe('a store whose process was killed', () => {
  it.each([20, 47])('in the commits after number %i, holds all it has said to have committed', async (atBatch) => {
    const folder = join(root, `whole-${atBatch}`);
    await makeClosed(folder, 15);
    const child = await holdStoreUntil(folder, atBatch, 100_000);
    await child.kill();
    const { reason, batch } = await openAndCompare(folder);
    expect(reason).toBeUndefined();
    expect(batch).toBeGreaterThanOrEqual(child.seenBatch);
  });

  it('opens as of a commit or is wiped, whatever byte was damaged', async () => {
    const original = join(root, 'killed');
    await makeClosed(original, 40);
    const child = await holdStoreUntil(original, 60, 60);
    await child.kill();
    expect(readdirSync(original)).not.toContain('CLEAN');
    const tally = await runDamages(original, (batch, reason) => {
      if (reason === undefined) expect(batch).toBeLessThanOrEqual(60);
    });
    expect([...tally.keys()]).toEqual(expect.arrayContaining(['N.ldb', 'N.log', 'MANIFEST-N', 'CURRENT']));
  });
});
