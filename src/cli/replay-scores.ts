/** `freshet replay` without output: whether the stretch goes through, and what comes of its records. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { replayScores } from '../replay/replay-scores.ts';
import { grouped } from './progress.ts';
import type { ReplayInput, ReplayResult } from './replay.ts';

export async function replayForScores(input: ReplayInput): Promise<ReplayResult> {
  const { deployment, line } = input;
  const startedMs = performance.now();
  const result = await withScratch(async (folder) =>
    replayScores({
      ...deployment,
      ...input,
      scorer: await deployment.loadScorer(),
      folder,
      onProgress: ({ partition, records, left }) => {
        const perSecond = Math.round((records * 1000) / (performance.now() - startedMs));
        const text = `partition ${partition}: ${grouped(records)} records, ${grouped(perSecond)}/s, ${grouped(left)} to go`;
        line.update(text, { partition, records, left, perSecond });
      },
    }),
  );
  const seconds = Math.round((performance.now() - startedMs) / 100) / 10;
  const outcomes = Object.entries(result.counts).map(([outcome, count]) => `${grouped(count)} ${outcome}`);
  const text = [
    `${grouped(result.records)} records replayed in ${seconds} s; nothing is written without --out or --topic-prefix`,
    `  ${outcomes.join(', ')}`,
    ...result.gaps.map(
      ({ partition, from, to, code }) => `  partition ${partition}: ${from} to ${to} passed over, ${code}`,
    ),
    ...(result.complete ? [] : ['Interrupted.']),
  ];
  return { json: { ...result, seconds }, text: text.join('\n') };
}

/** A folder for the time of the work. */
export async function withScratch<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'freshet-replay-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
