/** The reference ranker as the demo has it, against what the training made of the same inputs. */
import { createHash } from 'node:crypto';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { EMPTY_TABLE, type ItemTable } from '../src/intent/item-table.ts';
import { RANKER_FEATURES } from '../src/quality/rankers.ts';
import { HEADS, ReferenceRanker } from '../src/quality/reference-ranker.ts';
import type { Action } from '../state/action.ts';
import { readModelJson } from './quality-harness.ts';
import { tempDir } from './support/temp-dir.ts';

interface ParityRequest {
  /** [L][D], newest first; a vector of zeros where the item has none. */
  readonly itemVectors: readonly (readonly number[])[];
  readonly actionTypes: readonly number[];
  readonly candidates: readonly (readonly number[])[];
  readonly context: readonly (readonly number[])[];
  readonly base: readonly (readonly number[])[];
  readonly scores: readonly (readonly number[])[];
}

const SCALE = 1 / 127;
const PARITY = readModelJson<{ requests: ParityRequest[] }>('transact', 'parity.json.gz').requests;
const CARD = readModelJson<{
  actionTypes: string[];
  dims: { L: number; D: number };
  base: { arm: string; sha256: string };
}>('transact', 'card.json');

let reference: ReferenceRanker;

beforeAll(async () => {
  reference = await ReferenceRanker.load();
});

/** The request's window, oldest first, and a table in which its items and candidates have the fixture's vectors. */
function requestOf({ itemVectors, actionTypes, candidates }: Omit<ParityRequest, 'scores'>) {
  const vectors = new Map<string, Int8Array>();
  const named = (kind: string, values: readonly number[], at: number): string => {
    if (values.some((value) => value !== 0)) vectors.set(`${kind}-${at}`, Int8Array.from(values));
    return `${kind}-${at}`;
  };
  const newest = itemVectors.map((values, at): Action => ({
    itemId: named('action', values, at),
    actionType: CARD.actionTypes[actionTypes[at]! - 1] ?? 'of another log',
    eventTimeMs: 1_000_000 - at,
    surface: 'web',
  }));
  const table: ItemTable = {
    version: 'v1',
    vector: (itemId) => (vectors.has(itemId) ? { values: vectors.get(itemId)!, scale: Math.fround(SCALE) } : undefined),
  };
  return {
    window: newest.reverse(),
    table,
    candidates: candidates.map((values, at) => named('candidate', values, at)),
  };
}

const baseOf = ({ base }: ParityRequest): Float32Array => Float32Array.from(base, ([click]) => click!);
const contextOf = ({ context }: ParityRequest): Float32Array => Float32Array.from(context.flat());

describe('the reference ranker', () => {
  it('scores the fixture’s requests as training did, within 1e-5: windows full, short and empty, both heads', async () => {
    const lengths = PARITY.map(({ actionTypes }) => actionTypes.length);
    expect(new Set(lengths)).toContain(0);
    expect(Math.max(...lengths)).toBe(CARD.dims.L);
    let worst = 0;
    for (const each of PARITY) {
      for (const [at, head] of HEADS.entries()) {
        const scores = await reference.score(requestOf(each), contextOf(each), baseOf(each), head);
        each.scores.forEach((expected, row) => (worst = Math.max(worst, Math.abs(scores[row]! - expected[at]!))));
      }
    }
    console.info(`reference ranker: largest difference ${worst.toExponential(1)}`);
    expect(worst).toBeLessThanOrEqual(1e-5);
  });

  it('stands on the score of the hybrid that is shipped', () => {
    const hybrid = createHash('sha256').update(readFileSync(packagePath('models', 'ranker', 'hybrid.onnx')));
    expect(reference.baseArm).toBe('hybrid');
    expect(CARD.base).toEqual({ arm: 'hybrid', sha256: hybrid.digest('hex') });
  });

  it('reads the newest actions alone: older ones change nothing', async () => {
    const full = PARITY.find(({ actionTypes }) => actionTypes.length === CARD.dims.L)!;
    const request = requestOf(full);
    const older = { ...request.window[0]!, itemId: 'action-0', actionType: 'like' };
    const scores = [request, { ...request, window: [older, ...request.window] }].map((each) =>
      reference.score(each, contextOf(full), baseOf(full), 'click'),
    );
    const [plain, longer] = await Promise.all(scores);
    expect(longer).toEqual(plain);
  });

  it('gives a candidate the same score in a list of any length', async () => {
    const each = PARITY[0]!;
    const request = requestOf(each);
    const times = 13;
    const repeated = <T>(values: readonly T[]): T[] => Array.from({ length: times }, () => values).flat();
    const many = { ...request, candidates: repeated(request.candidates) };
    const context = Float32Array.from(repeated([...contextOf(each)]));
    const scores = await reference.score(many, context, Float32Array.from(repeated([...baseOf(each)])), 'click');
    expect(many.candidates.length).toBeGreaterThan(64);
    const alone = await reference.score(request, contextOf(each), baseOf(each), 'click');
    const furthest = scores.reduce((most, score, at) => Math.max(most, Math.abs(score - alone[at % alone.length]!)), 0);
    expect(furthest).toBeLessThanOrEqual(1e-5);
  });

  it('refuses vectors of another space’s width, and rows that are not one a candidate', async () => {
    const each = PARITY[0]!;
    const request = requestOf(each);
    const wide: ItemTable = { version: 'v9', vector: () => ({ values: new Int8Array(3), scale: 1 }) };
    await expect(
      reference.score({ ...request, table: wide }, contextOf(each), baseOf(each), 'click'),
    ).rejects.toMatchObject({ code: 'SPACE_MISMATCH', message: expect.stringContaining('version v9') as string });
    await expect(
      reference.score(
        { ...request, table: EMPTY_TABLE },
        new Float32Array(RANKER_FEATURES.length),
        baseOf(each),
        'click',
      ),
    ).rejects.toThrow('not one row each');
  });

  it('is refused with features that are not those of the rankers', async () => {
    const folder = tempDir();
    cpSync(packagePath('models', 'transact'), folder, { recursive: true });
    const file = join(folder, 'card.json');
    const card = JSON.parse(readFileSync(file, 'utf8')) as { features: string[] };
    writeFileSync(file, JSON.stringify({ ...card, features: card.features.toReversed() }));
    await expect(ReferenceRanker.load(folder)).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining('features: are not those of the rankers') as string,
    });
  });
});
