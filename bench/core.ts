/** reduce + fold + describe alone, on one thread, in commits of 20,000 records: no log, no store, no Avro input. */
import { loadConfig } from '../src/base/config.ts';
import type { ItemTable, ItemVector } from '../src/intent/item-table.ts';
import { OnnxScorer } from '../src/intent/onnx-scorer.ts';
import { cacheOf, foldRow, type CachedUser } from '../src/task/score-cache.ts';
import { describe } from '../state/describe.ts';
import { layoutOf } from '../state/layout.ts';
import { reduce } from '../state/reducer.ts';
import type { UserState } from '../state/user-state.ts';
import { measured, printResult } from './report.ts';
import { id, itemVector, workload, WORKLOAD, type UserAction } from './workload.ts';

const config = loadConfig({ env: {}, flags: {}, cwd: process.cwd() });
const layout = layoutOf(config);
const scorer = await OnnxScorer.load(config.model);
const table = makeTable();
const users = new Map<string, CachedUser<UserState>>();
let described = 0;
const spentMs = { reduce: 0, fold: 0, describe: 0 };

const result = await measured(async () => {
  let commit: UserAction[] = [];
  let offset = 0;
  for (const action of workload(WORKLOAD)) {
    commit.push(action);
    if (commit.length < config.commit.maxRecords) continue;
    await process20k(commit, offset);
    offset += commit.length;
    commit = [];
  }
  await process20k(commit, offset);
});
printResult({
  name: 'core',
  actionsPerSecond: Math.round((WORKLOAD.actions * 1000) / (spentMs.reduce + spentMs.fold + spentMs.describe)),
  ...result,
  described,
  spentMs,
});

async function process20k(actions: readonly UserAction[], firstOffset: number): Promise<void> {
  const startMs = performance.now();
  const changed = new Map<string, CachedUser<UserState>>();
  actions.forEach(({ userId, action, arrivalTimeMs }, index) => {
    const held = changed.get(userId) ?? users.get(userId);
    const record = { kind: 'action', offset: firstOffset + index, arrivalTimeMs, action } as const;
    const reduction = reduce(held?.state ?? null, record, { userId, partition: 0 }, layout);
    if (reduction.state === null) return;
    changed.set(userId, { state: reduction.state, cache: reduction.fold === 'refold' ? null : (held?.cache ?? null) });
  });
  const reducedMs = performance.now();
  const jobs = [...changed].map(([userId, { state, cache }]) => {
    const row = foldRow(state.sequences[layout.scored]!.window, cache, table, scorer.hash);
    return { userId, state, cache, row };
  });
  const scores = await scorer.fold(jobs.flatMap(({ row }) => (row === null ? [] : [row])));
  let next = 0;
  const caches = jobs.map(({ row, cache }) =>
    row === null ? cache! : cacheOf(row, scores[next++]!, cache, scorer.hash),
  );
  const foldedMs = performance.now();
  jobs.forEach(({ userId, state }, index) => {
    const cache = caches[index]!;
    const { intent, propensity, finite } = cache.score!;
    const score = { intent, propensity, finite, itemVersion: 'bench', itemsWithVector: cache.withVector };
    describe(
      state,
      { ...score, outcomes: scorer.outcomes, actionTypes: scorer.actionTypes, scorerHash: scorer.hash },
      layout,
    );
    users.set(userId, { state, cache });
    described += 1;
  });
  spentMs.reduce += reducedMs - startMs;
  spentMs.fold += foldedMs - reducedMs;
  spentMs.describe += performance.now() - foldedMs;
}

function makeTable(): ItemTable {
  const vectors = new Map<string, ItemVector>();
  for (let item = 0; item < WORKLOAD.items; item += 1) {
    vectors.set(id('i', item), { values: itemVector(item, scorer.dimension), scale: 1 / 127 });
  }
  return { version: 'bench', vector: (itemId) => vectors.get(itemId) };
}
