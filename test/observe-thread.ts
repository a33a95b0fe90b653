/** A worker thread that reports on one task, counts commits, and blocks its event loop when it is told to. */
import { parentPort, workerData } from 'node:worker_threads';
import { WorkerObserver } from '../src/observe/worker-observer.ts';
import type { TaskRef } from '../src/task/observer.ts';

const { worker } = workerData as { worker: number };
const port = parentPort!;
const task: TaskRef = { kind: 'features', partition: worker };

const observer = new WorkerObserver({
  worker,
  stallMs: 60_000,
  send: (report) => port.postMessage(report),
  reportIntervalMs: 50,
});
observer.joined([task]);

port.on('message', (message: 'run' | 'commit' | 'block' | 'close') => {
  if (message === 'run') for (const state of ['FENCING', 'RESTORING', 'RUNNING'] as const) observer.state(task, state);
  else if (message === 'commit') {
    observer.committed(task, {
      records: 10,
      outputs: 5,
      outputBytes: 500,
      durationMs: 20,
      commitMs: 10,
      offset: 10,
      newestEventTimeMs: null,
      newestArrivalTimeMs: null,
      counts: new Map([['accepted', 10]]),
    });
  } else if (message === 'block') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 9_000);
  else void observer.close().then(() => port.close());
});
