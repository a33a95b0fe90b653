/** Log → reducer → vectors → fold → features → scores, in TypeScript against what the training made of the same log. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { OnnxScorer } from '../src/intent/onnx-scorer.ts';
import type { Scorer } from '../src/intent/scorer.ts';
import { LogReplay, type Trial } from '../src/quality/log-replay.ts';
import { MidnightVectors } from '../src/quality/midnight-vectors.ts';
import { rankOf } from '../src/quality/metrics.ts';
import { ARMS, RANKER_FEATURES, Rankers, type Arm } from '../src/quality/rankers.ts';
import { scoreRequests } from '../src/quality/ranking-request.ts';
import { ITEM_VECTOR_SCALE, ItemVectorBuilder } from '../src/vectors/item-vectors.ts';
import { readRecipes, type Recipes } from '../src/vectors/recipes.ts';
import { reduce } from '../state/reducer.ts';
import type { UserState } from '../state/user-state.ts';
import type { UserActionRecord } from '../topics/records.ts';
import { LAYOUT, readModelJson, readShippedLog } from './quality-harness.ts';
import { tempDir } from './support/temp-dir.ts';

interface ParityRequest {
  readonly userId: string;
  readonly timeMs: number;
  readonly target: string;
  readonly candidates: readonly string[];
  readonly features: readonly (readonly number[])[];
  readonly scores: Readonly<Record<Arm, readonly number[]>>;
  readonly rank: Readonly<Record<Arm, number>>;
}

type PlantedAction = Omit<UserActionRecord, 'surface'>;

const PARITY = readModelJson<{ columns: string[]; requests: ParityRequest[] }>('ranker', 'parity.json.gz');
/** Of these users' actions some arrive late and some are undone: what training planted, to be planted here again. */
const UNROLL = readModelJson<{
  planted: { late: (PlantedAction & { arrivalTimeMs: number })[]; undos: PlantedAction[] };
  users: { userId: string; midnightMs: number; accepted: number; sealed: number; hidden: number[] }[];
}>('intent', 'unroll.json.gz');

const log = readShippedLog();
let scorer: Scorer;
let rankers: Rankers;
let recipes: Recipes;

beforeAll(async () => {
  [scorer, rankers, recipes] = await Promise.all([
    OnnxScorer.load(packagePath('models', 'intent')),
    Rankers.load(),
    readRecipes(),
  ]);
});

describe('the rankers', () => {
  it('score the fixture’s features as training did, within 1e-4', async () => {
    expect(PARITY.columns).toEqual(RANKER_FEATURES);
    expect(PARITY.requests.length).toBeGreaterThanOrEqual(50);
    let worst = 0;
    for (const { features, scores } of PARITY.requests) {
      const rows = Float32Array.from(features.flat());
      for (const arm of ARMS) worst = Math.max(worst, furthest(await rankers.score(arm, rows), scores[arm]));
    }
    console.info(`ranker scores from the fixture's features: largest difference ${worst.toExponential(1)}`);
    expect(worst).toBeLessThanOrEqual(1e-4);
  });

  it('score long matrices in several calls', async () => {
    const rows = Float32Array.from(PARITY.requests.flatMap(({ features }) => features.flat()));
    const whole = await rankers.score('hybrid', rows);
    const parts = PARITY.requests.flatMap(({ scores }) => scores.hybrid);
    expect(whole.length).toBeGreaterThan(4_096);
    expect(furthest(whole, parts)).toBeLessThanOrEqual(1e-4);
    await expect(rankers.score('np', rows.subarray(1))).rejects.toThrow('whole rows');
  });
});

describe('a folder of rankers that does not agree with its card', () => {
  const spoiled = (spoil: (folder: string) => void): Promise<Rankers> => {
    const folder = tempDir();
    cpSync(packagePath('models', 'ranker'), folder, { recursive: true });
    spoil(folder);
    return Rankers.load(folder);
  };
  const editCard = (edit: (card: { arms: Record<string, { features: string[]; sha256: string }> }) => void) =>
    spoiled((folder) => {
      const file = join(folder, 'card.json');
      const card = JSON.parse(readFileSync(file, 'utf8')) as Parameters<typeof edit>[0];
      edit(card);
      writeFileSync(file, JSON.stringify(card));
    });

  it.each([
    [
      'a model of another arm',
      () => spoiled((folder) => cpSync(join(folder, 'np.onnx'), join(folder, 'hybrid.onnx'))),
      'sha256',
    ],
    ['a feature nobody knows', () => editCard(({ arms }) => arms['np']!.features.push('mood')), 'arms.np.features'],
    ['no arm hybrid', () => editCard(({ arms }) => delete arms['hybrid']), 'arms.hybrid'],
    ['no card', () => Rankers.load(tempDir()), 'cannot be read'],
    ['a card that is not JSON', () => spoiled((folder) => writeFileSync(join(folder, 'card.json'), '{')), 'not JSON'],
    [
      'one feature less than the model has',
      async () => {
        const loaded = await editCard(({ arms }) => arms['np']!.features.pop());
        return loaded.score('np', new Float32Array(RANKER_FEATURES.length));
      },
      'a call of 1 rows failed',
    ],
  ])('is refused: %s', async (_name, load, message) => {
    await expect(load()).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining(message) as string,
    });
  });
});

it('a replay of the shipped log reaches the fixture’s features within 1e-4, and its ranks', async () => {
  const requests = new Map(PARITY.requests.map((request) => [keyOf(request), request]));
  const found: { trial: Trial; expected: ParityRequest }[] = [];
  const replay = new LogReplay({ layout: LAYOUT, vectors: new MidnightVectors(recipes), fromMs: rankers.trainedToMs });
  for (const [timeMs, tied] of Map.groupBy(log, ({ eventTimeMs }) => eventTimeMs)) {
    for (const trial of replay.take(tied)) {
      const target = trial.candidates[trial.target];
      const expected = target === undefined ? undefined : requests.get(keyOf({ userId: trial.userId, timeMs, target }));
      if (expected !== undefined) found.push({ trial, expected });
    }
  }
  expect(found).toHaveLength(PARITY.requests.length);

  let rows = new Float32Array();
  const recorder = {
    score: (arm: Arm, matrix: Float32Array<ArrayBuffer>) => {
      rows = matrix;
      return rankers.score(arm, matrix);
    },
  };
  const worst = { features: 0, scores: 0 };
  for (const { trial, expected } of found) {
    const scores = await scoreRequests([trial], { scorer, rankers: recorder }, ARMS);
    expect(trial.candidates.toSorted()).toEqual(expected.candidates.toSorted());
    const places = trial.candidates.map((itemId) => expected.candidates.indexOf(itemId));
    worst.features = Math.max(
      worst.features,
      furthest(
        rows,
        places.flatMap((place) => expected.features[place]!),
      ),
    );
    for (const arm of ARMS) {
      const [own] = scores[arm];
      worst.scores = Math.max(
        worst.scores,
        furthest(
          own!,
          places.map((place) => expected.scores[arm][place]!),
        ),
      );
      expect(rankOf(own!, trial.target)).toBe(expected.rank[arm]);
    }
  }
  console.info(
    `replayed requests: largest difference in features ${worst.features.toExponential(1)}, in scores ${worst.scores.toExponential(1)}`,
  );
  expect(worst.features).toBeLessThanOrEqual(1e-4);
  expect(worst.scores).toBeLessThanOrEqual(1e-3);
}, 120_000);

it('200 real users, with ties, duplicates, undos and late actions: hidden states within 1e-5 of training', async () => {
  const items = new ItemVectorBuilder(recipes.items);
  const counted = new Map<string, UserState>();
  const states = new Map<string, UserState>();
  const arrivals = altered();
  const outcomes = new Map<string, number>();
  let next = 0;
  let arrived = 0;
  let worst = 0;
  let compared = 0;
  for (const [midnightMs, users] of [...Map.groupBy(UNROLL.users, (user) => user.midnightMs)].sort(
    ([a], [b]) => a - b,
  )) {
    for (; log[next]!.eventTimeMs < midnightMs; next += 1) {
      const { userId, itemId, actionType, eventTimeMs } = log[next]!;
      if (take({ record: log[next]!, arrivalTimeMs: eventTimeMs, offset: next }, counted) !== 'accepted') continue;
      items.add(userId, itemId, actionType);
    }
    for (; arrivals[arrived]!.arrivalTimeMs < midnightMs; arrived += 1) {
      const outcome = take({ ...arrivals[arrived]!, offset: arrived }, states);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    const scale = ITEM_VECTOR_SCALE;
    const vector = (itemId: string) => {
      const values = items.vector(itemId);
      return values === undefined ? undefined : { values, scale };
    };
    const table = { version: new Date(midnightMs).toISOString(), vector };
    const rows = users.map(({ userId, accepted, sealed }) => {
      const state = states.get(userId)!;
      const { base, window } = state.sequences[LAYOUT.scored]!;
      expect([state.envelope.accepted, base.sealed, window.length]).toEqual([accepted, sealed, accepted - sealed]);
      return { hidden: null, previousEventTimeMs: null, actions: window, table };
    });
    for (const [index, { hidden }] of (await scorer.fold(rows)).entries()) {
      worst = Math.max(worst, furthest(hidden, users[index]!.hidden));
      compared += 1;
    }
  }
  console.info(`hidden states of ${compared} users: largest difference ${worst.toExponential(1)}`, outcomes);
  for (const outcome of ['duplicate', 'late']) expect(outcomes.get(outcome)).toBeGreaterThan(0);
  expect(compared).toBe(200);
  expect(worst).toBeLessThanOrEqual(1e-5);
});

interface Arrival {
  readonly record: UserActionRecord;
  readonly arrivalTimeMs: number;
}

/** The fixture's users as training altered them, in order of arrival; ties as they stand in the log, undos behind them. */
function altered(): Arrival[] {
  const { planted } = UNROLL;
  const actionKey = ({ userId, itemId, actionType, eventTimeMs }: PlantedAction): string =>
    JSON.stringify([userId, itemId, actionType, eventTimeMs]);
  const late = new Map(planted.late.map((action) => [actionKey(action), action.arrivalTimeMs]));
  const users = new Set(UNROLL.users.map(({ userId }) => userId));
  const undos = planted.undos.map((action) => ({ ...action, surface: null }));
  return [...log.filter(({ userId }) => users.has(userId)), ...undos]
    .map((record) => ({ record, arrivalTimeMs: late.get(actionKey(record)) ?? record.eventTimeMs }))
    .sort((a, b) => a.arrivalTimeMs - b.arrivalTimeMs);
}

/** Ties as they stand: the reducer sorts them. */
function take(
  { record, arrivalTimeMs, offset }: Arrival & { readonly offset: number },
  states: Map<string, UserState>,
): string {
  const { userId } = record;
  const action = { ...record, surface: record.surface ?? '' };
  const reduction = reduce(
    states.get(userId) ?? null,
    { kind: 'action', offset, arrivalTimeMs, action },
    { userId, partition: 0 },
    LAYOUT,
  );
  if (reduction.state !== null) states.set(userId, reduction.state);
  return reduction.outcome;
}

const keyOf = ({ userId, timeMs, target }: Pick<ParityRequest, 'userId' | 'timeMs' | 'target'>): string =>
  `${userId} ${timeMs} ${target}`;

/** NaN, which no bound holds, where the lengths differ or a number is not finite. */
function furthest(found: Float32Array, expected: readonly number[]): number {
  if (found.length !== expected.length) return NaN;
  return found.reduce((worst, value, index) => Math.max(worst, Math.abs(value - expected[index]!)), 0);
}
