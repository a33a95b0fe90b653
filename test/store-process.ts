/** A child process that holds a store, to be killed in the middle of its commits. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** Starts a process that commits model batches up to `lastBatch`; resolves once it has committed `batch`. */
export async function holdStoreUntil(folder: string, batch: number, lastBatch: number): Promise<StoreProcess> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'store-model.ts'), folder, String(lastBatch)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let seen = -1;
  for await (const line of createInterface({ input: child.stdout })) {
    seen = Number(line);
    if (seen >= batch) break;
  }
  if (seen < batch) throw new Error(`the process ended after batch ${seen}`);
  return {
    seenBatch: seen,
    kill: async () => {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}

export interface StoreProcess {
  /** Number of the last batch it has said to have committed. */
  readonly seenBatch: number;
  kill(): Promise<void>;
}
