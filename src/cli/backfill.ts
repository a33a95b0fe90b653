import { Option, type Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { backfill, type BackfillResult } from '../dataset/backfill.ts';
import type { LabelField } from '../dataset/label.ts';
import type { LabelSource } from '../dataset/label-source.ts';
import type { RowFormat } from '../ingest/row-file.ts';
import { command, contextOf, print, withDeployment } from './command.ts';
import { lagOption, listOption, pairsOption } from './options.ts';
import { grouped, ProgressLine } from './progress.ts';

interface BackfillFlags extends Record<string, unknown> {
  readonly out: string;
  readonly topic?: string;
  readonly actions?: string[] | true;
  readonly format?: RowFormat;
  readonly map?: Partial<Record<LabelField, string>>;
  readonly keep?: string[];
  readonly timeUnit?: 's' | 'ms' | 'us';
  readonly lag: number;
  readonly vectorLag?: number;
  readonly wholeWindow?: boolean;
  readonly withRecord?: boolean;
  readonly strict?: boolean;
  readonly json?: boolean;
}

const FORMATS = ['parquet', 'csv', 'ndjson'];

/** `freshet backfill`: labels in, rows to train on out. */
export function backfillCommand(): Command {
  return command('backfill [labels]', 'Turn labels into rows to train on, with the features as they were then.', [
    'freshet backfill labels.parquet --out=rows',
    'freshet backfill labels.csv --out=rows --map=userId=user,itemId=article,time=ts --time-unit=s --lag=2s',
    'freshet backfill --actions=like,bookmark --out=rows --keep=actionType',
    'freshet backfill --topic=impressions --out=rows --lag=500ms --vector-lag=6h --json',
  ])
    .requiredOption('--out <folder>', 'A new folder for the rows, Parquet in parts, and their card.')
    .option('--topic <name>', 'Labels are the values of this topic, JSON objects, in place of a file.')
    .option(
      '--actions [types]',
      'Each action, of these types (a,b,…), is a label that stands before itself.',
      listOption,
    )
    .addOption(new Option('--format <format>', 'Of the file (default: told by it).').choices(FORMATS))
    .option('--map <pairs>', 'field=column,… for the fields userId, itemId, time, label, position.', pairsOption)
    .option('--keep <columns>', 'Further columns of the labels that the rows get: a,b,…', listOption)
    .addOption(new Option('--time-unit <unit>', 'Unit of numeric times (default: ms).').choices(['s', 'ms', 'us']))
    .option('--lag <time>', 'From an arrival until features were servable: 0, 500ms, 2s, 1m.', lagOption, 0)
    .option('--vector-lag <time>', 'The same of long-term vectors, from their timestamp (default: --lag).', lagOption)
    .option('--whole-window', 'Sequences as the model folds them, not only the K actions that readers are shown.')
    .option('--with-record', 'A column with the features record as bytes.')
    .option('--strict', 'Stop at the first bad label; by default they are counted and go to a side file.')
    .option('--json', 'One line of JSON.')
    .action(async (file: string | undefined, flags: BackfillFlags) => {
      const source = sourceOf(file, flags);
      const context = contextOf(flags);
      const line = new ProgressLine(context.logger, 'BACKFILL_PROGRESS');
      const { map, keep, timeUnit, wholeWindow, withRecord, strict, lag, vectorLag = lag } = flags;
      try {
        const result = await withDeployment(context, async (deployment) =>
          backfill({
            ...deployment,
            ...{
              scorer: await deployment.loadScorer(),
              source,
              out: flags.out,
              lag: { featuresMs: lag, vectorsMs: vectorLag },
            },
            ...(map && { map }),
            ...(keep && { keep }),
            ...(timeUnit && { timeUnit }),
            ...(wholeWindow && { wholeWindow }),
            ...(withRecord && { withRecord }),
            ...(strict && { strict }),
            onProgress: ({ labels, rows }) => {
              line.update(`${grouped(labels)} labels, ${grouped(rows)} rows`, { labels, rows });
            },
          }),
        );
        line.end();
        print(flags.json === true ? JSON.stringify(result) : textOf(result, flags.out));
      } finally {
        line.end();
      }
    });
}

function sourceOf(file: string | undefined, { topic, actions, format }: BackfillFlags): LabelSource {
  if ([file, topic, actions].filter((each) => each !== undefined).length !== 1) {
    throw new FreshetError('USAGE', 'backfill needs one source of labels: a file, --topic or --actions');
  }
  if (file !== undefined) return { kind: 'file', file, ...(format && { format }) };
  if (topic !== undefined) return { kind: 'topic', topic };
  return { kind: 'actions', actionTypes: actions === true || actions === undefined ? null : actions };
}

function textOf(
  { rows, labels, rejected, sideFile, withoutFeatures, withoutLongTerm, log }: BackfillResult,
  out: string,
) {
  const gaps = log.flatMap((pass) => pass.gaps);
  return [
    `${grouped(rows)} rows of ${grouped(labels)} labels in ${out}`,
    `  ${grouped(withoutFeatures)} without features, ${grouped(withoutLongTerm)} without a long-term vector`,
    ...Object.entries(rejected).map(([cause, count]) => `  ${grouped(count)} labels without a row: ${cause}`),
    ...(sideFile === null ? [] : [`  they are in ${sideFile}`]),
    ...(gaps.length === 0 ? [] : [`  ${gaps.length} stretches of the log could not be read: see _card.json`]),
  ].join('\n');
}
