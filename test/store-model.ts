/** What a store must hold after each batch, computed without it; and the process that the tests kill. */
import { crc32 } from 'node:zlib';
import { KeyedStore } from '../state/store.ts';

export interface ModelPosition {
  readonly batch: number;
}

export interface ModelBatch {
  readonly puts: (readonly [key: Buffer, value: Buffer])[];
  readonly deletes: Buffer[];
  readonly position: ModelPosition;
}

export const MODEL_OPTIONS = { layoutHash: 'model-layout', rememberedKeys: 16 } as const;
const KEYS = 300;
const WRITES_PER_BATCH = 12;

export const modelKeys = Array.from({ length: KEYS }, (_, index) => Buffer.from(`user-${index}`));

/** The batch of a number: always the same, with new keys, replaced ones, deletes, and values of 0 to 1.4 KB. */
export function modelBatch(batch: number): ModelBatch {
  const changed = new Map<number, Buffer | null>();
  for (let write = 0; write < WRITES_PER_BATCH; write += 1) {
    const draw = crc32(`${batch}/${write}`);
    const value = Buffer.alloc(draw % 1_400);
    for (let at = 0; at + 4 <= value.length; at += 4) value.writeUInt32LE(Math.imul(draw, at + 1) >>> 0, at);
    changed.set((draw >>> 8) % KEYS, draw % 7 === 0 ? null : value);
  }
  const puts: ModelBatch['puts'] = [];
  const deletes: Buffer[] = [];
  for (const [key, value] of changed) {
    if (value === null) deletes.push(modelKeys[key]!);
    else puts.push([modelKeys[key]!, value]);
  }
  return { puts, deletes, position: { batch } };
}

/** Key (latin1) to value after batches 1 to `batch`, by key order of bytes; cached, as tests ask for few of them. */
export function modelState(batch: number): ReadonlyMap<string, Buffer> {
  for (let next = STATES.length; next <= batch; next += 1) {
    const state = new Map<string, Buffer>(STATES[next - 1]);
    const { puts, deletes } = modelBatch(next);
    for (const [key, value] of puts) state.set(key.toString('latin1'), value);
    for (const key of deletes) state.delete(key.toString('latin1'));
    STATES.push(state);
  }
  return STATES[batch]!;
}

const STATES: Map<string, Buffer>[] = [new Map<string, Buffer>()];

/** `node store-model.ts FOLDER LAST`: commits batches up to LAST, prints each one's number, then holds the store. */
async function holdStore(folder: string, lastBatch: number): Promise<void> {
  const { store } = await KeyedStore.open<ModelPosition>(folder, MODEL_OPTIONS);
  let batch = store.position()?.batch ?? 0;
  process.stdout.write(`${batch}\n`);
  while (batch < lastBatch) {
    batch += 1;
    await store.commit(modelBatch(batch));
    process.stdout.write(`${batch}\n`);
  }
  process.stdin.resume();
}

if (import.meta.main) await holdStore(process.argv[2]!, Number(process.argv[3]));
