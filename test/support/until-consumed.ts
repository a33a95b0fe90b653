/** Waits for workers that run elsewhere. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log, TopicPartition } from '../../src/log/log.ts';
import type { Deployment } from '../../src/run/deployment.ts';

const POLL_MS = 200;

/** Resolves when features and joins are at the ends of their inputs. */
export async function untilConsumed(deployment: Pick<Deployment, 'log' | 'config'>, timeoutMs: number): Promise<void> {
  const { log, config } = deployment;
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    let isConsumed = true;
    for (let partition = 0; partition < config.partitions; partition += 1) {
      for (const topic of ['user-actions', 'sequence-features', 'user-embeddings']) {
        isConsumed = isConsumed && (await isAtEnd(log, config.appId, { topic, partition }));
      }
    }
    if (isConsumed) return;
    if (performance.now() > deadlineMs) throw new Error('the workers did not catch up');
    await sleep(POLL_MS);
  }
}

async function isAtEnd(log: Log, appId: string, at: TopicPartition): Promise<boolean> {
  const end = await log.endOffset(at);
  const committed = (await log.committed(appId, at))?.offset ?? (await log.startOffset(at));
  if (committed >= end) return true;
  // Nothing but markers of transactions may stand between what is consumed and the end.
  return (await log.read(at, committed, { maxRecords: 1, maxBytes: 1 })).length === 0;
}
