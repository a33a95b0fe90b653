/**
 * Steps a second of the scorer on one core, tensor filling included: `node bench/fold.ts [MODEL_FOLDER]`. The last line
 * on stdout is one JSON object.
 */
import { packagePath } from '../src/base/package-root.ts';
import { OnnxScorer } from '../src/intent/onnx-scorer.ts';
import type { ItemTable, ItemVector } from '../src/intent/item-table.ts';
import type { FoldRow, Scorer } from '../src/intent/scorer.ts';
import type { Action } from '../state/action.ts';

const ITEM_COUNT = 3_000;
const MEASURED_MS = 1_500;
/** Rows a call, and the length of each: whole windows, one-step rows, and what a commit has (1 whole in 32). */
const SHAPES: readonly [string, number, (row: number) => number][] = [
  ['16 rows of 100', 16, () => 100],
  ['64 rows of 100', 64, () => 100],
  ['256 rows of 100', 256, () => 100],
  ['64 one-step rows', 64, () => 1],
  ['256 one-step rows', 256, () => 1],
  ['5,000 rows of a commit', 5_000, (row) => (row % 32 === 0 ? 100 : 1)],
];

const rssMb = (): number => Math.round(process.memoryUsage.rss() / 1e6);

function randomTable(dimension: number): ItemTable {
  const rows = new Map<string, ItemVector>();
  for (let item = 0; item < ITEM_COUNT; item += 1) {
    const values = Int8Array.from({ length: dimension }, (_, at) => ((item * 31 + at * 17) % 255) - 127);
    rows.set(`item-${item}`, { values, scale: 1 / 127 });
  }
  return { version: 'bench', vector: (itemId) => rows.get(itemId) };
}

function rowOf(scorer: Scorer, table: ItemTable, row: number, length: number): FoldRow {
  const actions: Action[] = Array.from({ length }, (_, step) => ({
    eventTimeMs: step * 60_000,
    itemId: `item-${(row * 131 + step * 7) % ITEM_COUNT}`,
    actionType: scorer.actionTypes[(row + step) % scorer.actionTypes.length] ?? '',
    surface: 'web',
  }));
  const carried = length === 1;
  const hidden = carried ? new Float32Array(scorer.hiddenSize).fill(0.1) : null;
  return { hidden, previousEventTimeMs: carried ? -60_000 : null, actions, table };
}

const startRssMb = rssMb();
const startedMs = performance.now();
const scorer = await OnnxScorer.load(process.argv[2] ?? packagePath('models', 'intent'));
const loadMs = Math.round(performance.now() - startedMs);
const table = randomTable(scorer.dimension);
const results = [];
for (const [name, count, lengthOf] of SHAPES) {
  const rows = Array.from({ length: count }, (_, row) => rowOf(scorer, table, row, lengthOf(row)));
  const steps = rows.reduce((sum, row) => sum + row.actions.length, 0);
  await scorer.fold(rows);
  const fromMs = performance.now();
  const cpuFrom = process.cpuUsage();
  let calls = 0;
  for (; performance.now() - fromMs < MEASURED_MS; calls += 1) await scorer.fold(rows);
  const elapsedMs = performance.now() - fromMs;
  const cpu = process.cpuUsage(cpuFrom);
  const stepsPerSecond = Math.round((calls * steps * 1_000) / elapsedMs);
  // On a busy machine the wall clock measures the neighbours; garbage collection's threads count here too.
  const stepsPerCpuSecond = Math.round((calls * steps * 1e6) / (cpu.user + cpu.system));
  const rowsPerSecond = Math.round((calls * count * 1_000) / elapsedMs);
  results.push({ name, stepsPerSecond, stepsPerCpuSecond, rowsPerSecond });
  console.log(`${name}: ${stepsPerSecond} steps/s, ${stepsPerCpuSecond} steps/CPU s, ${rowsPerSecond} rows/s`);
}
const { hiddenSize, dimension, hash } = scorer;
console.log(JSON.stringify({ hiddenSize, dimension, hash, loadMs, startRssMb, rssMb: rssMb(), results }));
