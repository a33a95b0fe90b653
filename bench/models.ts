/**
 * Actions a second of intent models on one core, in onnxruntime-node: `node bench/models.ts FOLDER_OR_FILE...`. A recurrent
 * model (one with a `hidden` input) moves on by one action; any other reads the user's whole window for each action. Models take
 * turns, so that other load meets all of them. The last line on stdout is one JSON object.
 */
import { readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describeEnvironment } from './environment.ts';

const WINDOW = 100;
const ROUNDS = 5;
const ROUND_CPU_MS = 300;
const BATCHES = [16, 64, 256];
const INDEX_LIMITS: Readonly<Record<string, number>> = { action_types: 9, surfaces: 4, gaps: 11 };

interface Case {
  readonly model: string;
  readonly rows: number;
  readonly stepsPerAction: number;
  readonly session: InferenceSession;
  readonly feeds: Record<string, Tensor>;
  actions: number;
  cpuMs: number;
}

function feedsOf(session: InferenceSession, rows: number, steps: number): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {};
  for (const input of session.inputMetadata) {
    if (!input.isTensor) throw new Error(`input ${input.name} is no tensor`);
    const width = Number(input.shape.at(-1));
    const step = (limit: number): Int32Array => Int32Array.from({ length: steps * rows }, (_, at) => (at * 7) % limit);
    if (input.name === 'lengths') feeds.lengths = new Tensor('int32', new Int32Array(rows).fill(steps), [rows]);
    else if (input.name === 'hidden')
      feeds.hidden = new Tensor('float32', new Float32Array(rows * width).fill(0.1), [rows, width]);
    else if (input.name === 'has_vector')
      feeds.has_vector = new Tensor('float32', new Float32Array(steps * rows).fill(1), [steps, rows]);
    else if (input.name === 'item_vectors') {
      const values = Float32Array.from({ length: steps * rows * width }, (_, at) => (((at * 31) % 255) - 127) / 900);
      feeds.item_vectors = new Tensor('float32', values, [steps, rows, width]);
    } else feeds[input.name] = new Tensor('int32', step(INDEX_LIMITS[input.name] ?? 1), [steps, rows]);
  }
  return feeds;
}

async function casesOf(file: string): Promise<Case[]> {
  const options = { intraOpNumThreads: 1, interOpNumThreads: 1 };
  const session = await InferenceSession.create(file, options);
  const stepsPerAction = session.inputNames.includes('hidden') ? 1 : WINDOW;
  return BATCHES.map((rows) => {
    const feeds = feedsOf(session, rows, stepsPerAction);
    return { model: basename(file, '.onnx'), rows, stepsPerAction, session, feeds, actions: 0, cpuMs: 0 };
  });
}

async function round(one: Case): Promise<void> {
  const start = process.cpuUsage();
  let spentMs = 0;
  while (spentMs < ROUND_CPU_MS) {
    await one.session.run(one.feeds);
    one.actions += one.rows;
    const { user, system } = process.cpuUsage(start);
    spentMs = (user + system) / 1e3;
  }
  one.cpuMs += spentMs;
}

const files = process.argv
  .slice(2)
  .flatMap((path) => (statSync(path).isDirectory() ? readdirSync(path).map((name) => join(path, name)) : [path]))
  .filter((path) => path.endsWith('.onnx'));
const cases = (await Promise.all(files.map(casesOf))).flat();
for (const one of cases) await one.session.run(one.feeds);
for (let turn = 0; turn < ROUNDS; turn += 1) for (const one of cases) await round(one);
const results = cases.map(({ model, rows, stepsPerAction, actions, cpuMs }) => ({
  model,
  rows,
  stepsPerAction,
  actionsPerCpuSecond: Math.round((actions / cpuMs) * 1e3),
}));
process.stdout.write(`${JSON.stringify({ ...describeEnvironment(['onnxruntime-node']), window: WINDOW, results })}\n`);
