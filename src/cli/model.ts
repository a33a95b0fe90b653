import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { readModelFolder } from '../intent/model-card.ts';
import type { ScoreDistribution } from '../intent/score-distribution.ts';
import { ScoreSample } from '../intent/score-sample.ts';
import { watchedScorer } from '../observe/score-drift.ts';
import { PartitionReplay } from '../replay/partition-replay.ts';
import { parsePlace, resolveStretches, type Place } from '../replay/range.ts';
import type { Deployment } from '../run/deployment.ts';
import { command, commandGroup, contextOf, print, withDeployment } from './command.ts';
import { grouped, ProgressLine } from './progress.ts';
import { withScratch } from './replay-scores.ts';

/** Records of a step: bounds the features that are held at once. */
const STEP_RECORDS = 5_000;
const EVERY_ACTION = (): boolean => true;

/** `freshet model …`: what is done with a model's folder, beside serving it. */
export function modelCommand(): Command {
  return commandGroup('model', 'The card of an intent model.', [scores()]);
}

interface ScoresFlags extends Record<string, unknown> {
  readonly from?: string;
  readonly to?: string;
  readonly write?: boolean;
}

function scores(): Command {
  return command('scores', 'How the scores of the configured model are distributed over the log, for its card.', [
    'freshet model scores --model=models/intent',
    'freshet model scores --model=models/intent --to=2016-12-01T00:00:00Z --write',
  ])
    .option('--from <place>', 'Where to begin: an offset, offsets (0:120,3:88) or a time (default: the beginning).')
    .option('--to <place>', 'Where to end, exclusive (default: where the training of the model ended).')
    .option('--write', 'Put it into card.json of the model.')
    .action(async (flags: ScoresFlags) => {
      await withDeployment(contextOf(flags), async (deployment) => {
        const { model } = deployment.config;
        const from = flags.from === undefined ? undefined : parsePlace(flags.from, '--from');
        const end = flags.to ?? (await readModelFolder(model)).card.trainedOn.toExclusive;
        const found = await withScratch((folder) =>
          distributionOver(deployment, { from, to: parsePlace(end, '--to') }, folder),
        );
        const what = `the score after each action that arrived before ${end}`;
        if (flags.write === true) await writeCard(join(model, 'card.json'), { what, ...found });
        print(JSON.stringify({ what, ...found }));
      });
    });
}

/** Replays the log as the stream would take it one action at a time, and writes nothing. */
async function distributionOver(
  deployment: Deployment,
  { from, to }: { from: Place | undefined; to: Place },
  folder: string,
): Promise<ScoreDistribution> {
  const { log, config, logger } = deployment;
  const scorer = await deployment.loadScorer();
  const sample = new ScoreSample(scorer);
  const watched = watchedScorer(scorer, (score) => {
    sample.add(score);
  });
  const line = new ProgressLine(logger, 'REPLAY_PROGRESS');
  const partitions = Array.from({ length: config.partitions }, (_, partition) => partition);
  for (const stretch of await resolveStretches({ log, partitions, from, to })) {
    const own = { ...deployment, scorer: watched, partition: stretch.partition };
    const replay = await PartitionReplay.open({ ...own, folder: join(folder, `partition-${stretch.partition}`) });
    try {
      await replay.begin(stretch.from);
      for (let records = -1; records !== 0;) {
        ({ records } = await replay.step({ to: stretch.to, maxRecords: STEP_RECORDS, emit: EVERY_ACTION }));
        line.update(`partition ${stretch.partition}: ${grouped(sample.count)} scores`, { scores: sample.count });
      }
    } finally {
      await replay.discard();
    }
  }
  line.end();
  if (sample.count > 0) return sample.distribution();
  throw new FreshetError('USAGE', 'the log has no action of that time', {
    remedy: 'Load the log that the model was trained on, or name another stretch with --from and --to.',
  });
}

async function writeCard(file: string, found: object): Promise<void> {
  const card = JSON.parse(await readFile(file, 'utf8')) as object;
  await writeFile(file, `${JSON.stringify({ ...card, scores: found }, null, 2)}\n`);
}
