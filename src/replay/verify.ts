/**
 * Compares what was emitted with what a replay makes of the same input, record by record by (user, version), one
 * partition after another in bounded memory.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PartitionReplay, type PartitionReplayOptions } from './partition-replay.ts';
import { PartitionVerify } from './partition-verify.ts';
import type { Stretch } from './range.ts';
import { VerifyReport } from './verify-report.ts';

export type VerifyStretch = Pick<Stretch, 'partition' | 'from' | 'to'>;

export interface VerifyOptions extends Omit<PartitionReplayOptions, 'partition' | 'folder'> {
  /** What of each partition is compared; not beyond what the application has committed. */
  readonly stretches: readonly VerifyStretch[];
  /** Offsets of input that one commit spans at the most; by default `commit.maxRecords`. */
  readonly commitSpan?: number;
  /** Input records of a step. */
  readonly stepRecords?: number;
  readonly onProgress?: (records: number) => void;
  /** Ends it after the step at hand: the report then tells where to go on. */
  readonly signal?: AbortSignal;
}

export async function verify(options: VerifyOptions): Promise<VerifyReport> {
  const report = new VerifyReport();
  const folder = await mkdtemp(join(tmpdir(), 'freshet-verify-'));
  try {
    for (const stretch of options.stretches) {
      const { partition } = stretch;
      if (options.signal?.aborted === true) {
        report.complete = false;
        report.next.set(partition, stretch.from);
        continue;
      }
      const replay = await PartitionReplay.open({ ...options, partition, folder: join(folder, String(partition)) });
      try {
        await new PartitionVerify(options, replay, report, stretch).run();
      } finally {
        await replay.close();
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return report;
}
