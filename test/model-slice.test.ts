/**
 * A slice of the evaluation, and what the stream keeps of 200 real users, against models/train/slice_check.py: numpy and
 * onnxruntime in Python, which share no code with what is tested and read the same committed ONNX files.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { OnnxScorer } from '../src/intent/onnx-scorer.ts';
import type { Scorer } from '../src/intent/scorer.ts';
import { LogReplay, type Trial } from '../src/quality/log-replay.ts';
import { mean, rankOf, VALUE } from '../src/quality/metrics.ts';
import { MidnightVectors } from '../src/quality/midnight-vectors.ts';
import { NP_FEATURES } from '../src/quality/np-features.ts';
import { ARMS, Rankers, type Arm } from '../src/quality/rankers.ts';
import { scoreRequests } from '../src/quality/ranking-request.ts';
import { UserStore } from '../src/task/user-store.ts';
import { DailyVectors } from '../src/vectors/daily.ts';
import { ITEM_VECTOR_SCALE } from '../src/vectors/item-vectors.ts';
import { readRecipes, type Recipes } from '../src/vectors/recipes.ts';
import type { Action } from '../state/action.ts';
import { stateLayoutHash } from '../state/layout.ts';
import { StateCodec } from '../state/state-codec.ts';
import type { EnvelopeRecord } from '../topics/records.ts';
import { LAYOUT, readModelJson, readShippedLog } from './quality-harness.ts';
import { disturbedLog, type Sent } from './support/disturbed-log.ts';
import { pythonEnvironment } from './support/python.ts';
import { actionRecord, Stream } from './support/stream.ts';
import { tempDir } from './support/temp-dir.ts';

type Vectors = Record<string, Record<string, number[]>>;
type PythonAction = readonly [itemId: string, actionType: string, eventTimeMs: number, surface: string];

interface SliceResult {
  readonly users: readonly { hidden: number[]; counts: Record<string, number> }[];
  readonly requests: readonly { scores: Record<Arm, number[]>; rank: Record<Arm, number> }[];
}

/** What Python and TypeScript may differ by, relative to numbers greater than 1. */
const TOLERANCE = 1e-5;
const USERS = 200;
const REQUESTS = 120;
const SCALE = Math.fround(ITEM_VECTOR_SCALE);

const log = readShippedLog();
let scorer: Scorer;
let rankers: Rankers;
let recipes: Recipes;
let python: string;
let trials: readonly Trial[];

beforeAll(async () => {
  python = join(pythonEnvironment('models/train/slice_requirements.txt'), 'bin', 'python');
  [scorer, rankers, recipes] = await Promise.all([
    OnnxScorer.load(packagePath('models', 'intent')),
    Rankers.load(),
    readRecipes(),
  ]);
  trials = firstTrials();
}, 180_000);

function inPython(
  slice: { users?: object[]; requests?: object[]; vectors: Vectors },
  models = packagePath('models'),
): SliceResult {
  const { windowSize: size, sealSize: chunk } = LAYOUT.sequences[LAYOUT.scored]!;
  const input = JSON.stringify({
    ...{ users: [], requests: [], npFeatures: NP_FEATURES, scale: SCALE },
    window: { size, chunk, max_future_ms: LAYOUT.maxFutureMs },
    ...slice,
  });
  const script = [packagePath('models', 'train', 'slice_check.py'), models];
  return JSON.parse(execFileSync(python, script, { input, encoding: 'utf8', maxBuffer: 2 ** 28 })) as SliceResult;
}

describe('the evaluation’s first requests after the cut', () => {
  it('have the same scores, ranks and MRR in Python, for every arm', async () => {
    const scores = await scoreRequests(trials, { scorer, rankers }, ARMS);
    const vectors: Vectors = {};
    const requests = trials.map((trial) => pythonRequest(trial, vectors));
    const found = inPython({ requests, vectors }).requests;
    expect(found).toHaveLength(REQUESTS);
    let worst = 0;
    for (const arm of ARMS) {
      const ranks = { typescript: [] as number[], python: [] as number[] };
      for (const [index, { target }] of trials.entries()) {
        const own = scores[arm][index]!;
        worst = Math.max(worst, furthest(own, found[index]!.scores[arm]));
        ranks.typescript.push(rankOf(own, target));
        ranks.python.push(found[index]!.rank[arm]);
      }
      const [ours, theirs] = [mean(ranks.typescript.map(VALUE.mrr)), mean(ranks.python.map(VALUE.mrr))];
      console.info(`${arm}: MRR of ${REQUESTS} requests ${ours.toFixed(4)}`);
      expect(Math.abs(ours - theirs)).toBeLessThanOrEqual(TOLERANCE);
      expect(ours).toBeGreaterThan(0.3);
    }
    console.info(`scores: largest difference ${worst.toExponential(1)}`);
    expect(worst).toBeLessThanOrEqual(TOLERANCE);
  }, 120_000);

  it('have others where Python reads a model that is not quite the same', async () => {
    const models = join(tempDir(), 'models');
    for (const name of ['intent', 'ranker']) {
      cpSync(packagePath('models', name), join(models, name), { recursive: true });
    }
    const card = readModelJson<{ gapBoundsSeconds: number[] }>('intent', 'card.json');
    const gapBoundsSeconds = card.gapBoundsSeconds.map((bound) => bound + 1);
    writeFileSync(join(models, 'intent', 'card.json'), JSON.stringify({ ...card, gapBoundsSeconds }));
    const { hybrid } = await scoreRequests(trials, { scorer, rankers }, ['hybrid']);
    const vectors: Vectors = {};
    const requests = trials.map((trial) => pythonRequest(trial, vectors));
    const found = inPython({ requests, vectors }, models).requests;
    const worst = Math.max(...hybrid.map((own, index) => furthest(own, found[index]!.scores.hybrid)));
    expect(worst).toBeGreaterThan(TOLERANCE);
  }, 120_000);
});

describe('200 real users with ties, undos, duplicates, and records out of order, late and from the future', () => {
  it('have the hidden states that Python reaches by rules of its own', async () => {
    const { sent, users } = disturbedLog(log, USERS);
    const half = Math.floor(sent.length / 2);
    const { vectors, kept } = await throughTheStream(sent, half, users);
    const of = Map.groupBy(sent.entries(), ([, { userId }]) => userId);
    const slice = users.map((userId) => {
      const own = [...of.get(userId)!];
      const records = own.map(([, each]) => [...asPython(each), each.arrivalTimeMs]);
      // Each user is folded under the version that its last record was taken under.
      return { version: own.at(-1)![0] < half ? 'before' : 'after', records };
    });
    const found = inPython({ users: slice, vectors }).users;
    const totals: Record<string, number> = {};
    let worst = 0;
    for (const [index, { hidden, counts }] of found.entries()) {
      const { envelope, cache } = kept[index]!;
      expect(cache.version).toBe(slice[index]!.version);
      const { accepted, duplicate, late, future } = envelope;
      expect({ accepted, duplicate, late, future }).toEqual(counts);
      for (const [outcome, count] of Object.entries(counts)) totals[outcome] = (totals[outcome] ?? 0) + count;
      worst = Math.max(worst, furthest(cache.hidden, hidden));
    }
    console.info(`hidden states of ${found.length} users: largest difference ${worst.toExponential(1)}`, totals);
    expect(found).toHaveLength(USERS);
    expect(sent.filter(({ actionType }) => actionType.startsWith('un')).length).toBeGreaterThan(50);
    for (const outcome of ['accepted', 'duplicate', 'late', 'future']) expect(totals[outcome]).toBeGreaterThan(50);
    expect(worst).toBeLessThanOrEqual(TOLERANCE);
  }, 120_000);
});

function firstTrials(): Trial[] {
  const found: Trial[] = [];
  const replay = new LogReplay({ layout: LAYOUT, vectors: new MidnightVectors(recipes), fromMs: rankers.trainedToMs });
  for (const tied of Map.groupBy(log, ({ eventTimeMs }) => eventTimeMs).values()) {
    found.push(...replay.take(tied).filter(({ target }) => target >= 0));
    if (found.length >= REQUESTS) break;
  }
  return found.slice(0, REQUESTS);
}

/** The request as Python takes it; the vectors it needs are added to those of its day. */
function pythonRequest({ window, longTerm, table, candidates, npFeatures, target }: Trial, vectors: Vectors): object {
  const version = table.version!;
  const known = (vectors[version] ??= {});
  for (const itemId of [...candidates, ...window.map((action) => action.itemId)]) {
    const vector = table.vector(itemId);
    if (vector !== undefined) known[itemId] = Array.from(vector.values);
  }
  const width = NP_FEATURES.length;
  const rows = candidates.map((_, row) => Array.from(npFeatures.subarray(row * width, (row + 1) * width)));
  const own = longTerm === null ? null : Array.from(longTerm);
  return { version, window: window.map(asPython), longTerm: own, candidates, npFeatures: rows, target };
}

const asPython = ({ itemId, actionType, eventTimeMs, surface }: Action): PythonAction => [
  itemId,
  actionType,
  eventTimeMs,
  surface,
];

interface KeptUser {
  readonly envelope: EnvelopeRecord;
  readonly cache: { readonly version: string | null; readonly hidden: Float32Array };
}

/** Runs the records through a task; item vectors are replaced when half of them are in. */
async function throughTheStream(
  sent: readonly Sent[],
  half: number,
  users: readonly string[],
): Promise<{ vectors: Vectors; kept: KeptUser[] }> {
  const stream = await Stream.open({ commitMaxRecords: 997 }, { scorer });
  try {
    const daily = new DailyVectors({ codec: stream.codec, partitions: 1, ...recipes });
    const vectors: Vectors = {};
    const publish = async (version: string): Promise<void> => {
      await stream.log.append(daily.cut(version, 0));
      vectors[version] = Object.fromEntries(daily.items.all().map(([itemId, each]) => [itemId, Array.from(each)]));
    };
    for (const action of log.slice(0, log.length / 2)) daily.add(action);
    await publish('before');
    await stream.append(...sent.slice(0, half).map(actionRecord));
    for (const action of log.slice(log.length / 2)) daily.add(action);
    await publish('after');
    await stream.append(...sent.slice(half).map(actionRecord));
    await stream.run();
    return { vectors, kept: await readStore(stream, users) };
  } finally {
    await stream.close();
  }
}

async function readStore(stream: Stream, users: readonly string[]): Promise<KeptUser[]> {
  const store = await UserStore.open(stream.storeFolder(), {
    ...{ layoutHash: stateLayoutHash(LAYOUT), stateCodec: new StateCodec(LAYOUT), logger: pino({ level: 'silent' }) },
    rememberedKeys: USERS,
  });
  try {
    return (await store.getMany(users)).map((found) => {
      const { state, cache } = found!;
      const { itemVersion: version, hidden } = cache!;
      return { envelope: state.envelope, cache: { version, hidden } };
    });
  } finally {
    await store.close();
  }
}

/** Relative where numbers exceed 1; NaN, which no bound holds, where lengths differ or a number is not finite. */
function furthest(found: Float32Array, expected: readonly number[]): number {
  if (found.length !== expected.length) return NaN;
  const differences = expected.map((value, at) => Math.abs(found[at]! - value) / Math.max(1, Math.abs(value)));
  return differences.reduce((worst, each) => Math.max(worst, each), 0);
}
