/**
 * reduce + fold + describe alone, on one thread: no log, no store, no Avro. Partition after partition, in commits of
 * 20,000 records of one, as a task takes them; all users of the partition are in memory.
 */
import { loadConfig } from '../src/base/config.ts';
import { partitionOf } from '../src/base/murmur2.ts';
import { boundProcessMemory } from '../src/base/process-memory.ts';
import type { ItemTable, ItemVector } from '../src/intent/item-table.ts';
import { OnnxScorer } from '../src/intent/onnx-scorer.ts';
import { cacheOf, foldRow, type CachedUser } from '../src/task/score-cache.ts';
import { describe } from '../state/describe.ts';
import { layoutOf } from '../state/layout.ts';
import { reduce } from '../state/reducer.ts';
import type { UserState } from '../state/user-state.ts';
import { measured, printResult, seconds, Shares } from './report.ts';
import { id, itemVector, workload, WORKLOAD, type UserAction } from './workload.ts';

boundProcessMemory();
const config = loadConfig({ env: {}, flags: {}, cwd: process.cwd() });
const layout = layoutOf(config);
const scorer = await OnnxScorer.load(config.model);
const table = makeTable();
let described = 0;
const shares = new Shares(['input', 'reduce', 'fold', 'describe']);

const result = await measured(async () => {
  for (let partition = 0; partition < config.partitions; partition += 1) await processPartition(partition);
});
const { reduce: reduceMs, fold: foldMs, describe: describeMs } = shares.spentMs;
printResult({
  name: 'core',
  actionsPerSecond: Math.round((WORKLOAD.actions * 1000) / (reduceMs! + foldMs! + describeMs!)),
  ...result,
  described,
  spentSeconds: seconds(shares.spentMs),
});

async function processPartition(partition: number): Promise<void> {
  const users = new Map<string, CachedUser<UserState>>();
  const partitions = new Map<string, number>();
  let commit: UserAction[] = [];
  let offset = 0;
  for (const action of workload(WORKLOAD)) {
    const { userId } = action;
    if (!partitions.has(userId)) partitions.set(userId, partitionOf(Buffer.from(userId), config.partitions));
    if (partitions.get(userId) !== partition) continue;
    commit.push(action);
    if (commit.length < config.commit.maxRecords) continue;
    await processCommit(users, partition, commit, offset);
    offset += commit.length;
    commit = [];
  }
  await processCommit(users, partition, commit, offset);
}

async function processCommit(
  users: Map<string, CachedUser<UserState>>,
  partition: number,
  actions: readonly UserAction[],
  firstOffset: number,
): Promise<void> {
  shares.spent('input');
  const changed = new Map<string, CachedUser<UserState>>();
  actions.forEach(({ userId, action, arrivalTimeMs }, index) => {
    const held = changed.get(userId) ?? users.get(userId);
    const record = { kind: 'action', offset: firstOffset + index, arrivalTimeMs, action } as const;
    const { state, fold } = reduce(held?.state ?? null, record, { userId, partition }, layout);
    if (state !== null) changed.set(userId, { state, cache: fold === 'refold' ? null : (held?.cache ?? null) });
  });
  shares.spent('reduce');
  const jobs = [...changed].map(([userId, { state, cache }]) => {
    const row = foldRow(state.sequences[layout.scored]!.window, cache, table, scorer.hash);
    return { userId, state, cache, row };
  });
  const scores = await scorer.fold(jobs.flatMap(({ row }) => row ?? []));
  let next = 0;
  for (const { userId, state, cache, row } of jobs) {
    users.set(userId, { state, cache: row === null ? cache : cacheOf(row, scores[next++]!, cache, scorer.hash) });
  }
  shares.spent('fold');
  for (const { userId, state } of jobs) {
    const { score, withVector } = users.get(userId)!.cache!;
    const { intent, propensity, finite } = score!;
    const { outcomes, actionTypes, hash } = scorer;
    const version = { itemVersion: table.version, itemsWithVector: withVector };
    describe(state, { ...version, intent, propensity, finite, outcomes, actionTypes, scorerHash: hash }, layout);
    described += 1;
  }
  shares.spent('describe');
}

function makeTable(): ItemTable {
  const vectors = new Map<string, ItemVector>();
  for (let item = 0; item < WORKLOAD.items; item += 1) {
    vectors.set(id('item', item), { values: itemVector(item, scorer.dimension), scale: 1 / 127 });
  }
  return { version: 'bench', vector: (itemId) => vectors.get(itemId) };
}
