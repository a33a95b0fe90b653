import { basename } from 'node:path';
import { Option, type Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { loadActions } from '../ingest/load-actions.ts';
import { DailyVectors } from '../vectors/daily.ts';
import { readRecipes } from '../vectors/recipes.ts';
import { command, contextOf, print, withDeployment } from './command.ts';
import { integerOption, listOption, pairsOption } from './options.ts';
import { grouped, ProgressLine } from './progress.ts';

interface LoadFlags extends Record<string, unknown> {
  readonly format: 'csv' | 'ndjson' | 'deskdrop';
  readonly header: boolean;
  readonly columns?: string[];
  readonly map?: Record<string, string>;
  readonly timeUnit?: 's' | 'ms' | 'us';
  readonly actionMap?: Record<string, string>;
  readonly strict?: boolean;
  readonly skipRows?: number;
  readonly dailyVectors?: boolean;
}

/** `freshet load FILE`: a file of actions into the log. */
export function loadCommand(): Command {
  return command('load <file>', 'Load a file of actions into the log: plain, .gz or .zip.', [
    'freshet load data/deskdrop/actions.csv.gz --format=deskdrop',
    'freshet load clicks.csv --format=csv --map userId=user_id,itemId=article,eventTime=ts --time-unit=s',
    'freshet load clicks.csv --format=csv --no-header --columns=userId,itemId,actionType,eventTime',
    'freshet load events.ndjson.gz --format=ndjson --action-map click=view,save=bookmark --strict',
  ])
    .addOption(
      new Option('--format <format>', 'What the file holds.')
        .choices(['csv', 'ndjson', 'deskdrop'])
        .makeOptionMandatory(),
    )
    .option('--no-header', 'The CSV has no header line; name its columns with --columns.')
    .option('--columns <names>', 'Names of the columns, in order: a,b,…', listOption)
    .option(
      '--map <pairs>',
      'field=column,… for the fields userId, itemId, actionType, eventTime, surface, arrivalTime; by default a field ' +
        'is the column of its name. The arrival time, else the event time, becomes the record timestamp.',
      pairsOption,
    )
    .addOption(new Option('--time-unit <unit>', 'Unit of numeric times (default: ms).').choices(['s', 'ms', 'us']))
    .option('--action-map <pairs>', 'from=to,… renames action types.', pairsOption)
    .option('--strict', 'Stop at the first bad row; by default bad rows are counted and go to a side file.')
    .option('--skip-rows <n>', 'Rows at the start that an interrupted load has dealt with.', integerOption(0))
    .option('--daily-vectors', 'At each midnight of the log, build item and user vectors from what came before it.')
    .option('--json', 'Print the result as one line of JSON.')
    .action(async (file: string, flags: LoadFlags) => {
      if (flags.dailyVectors === true && (flags.skipRows ?? 0) > 0) {
        throw new FreshetError('USAGE', '--daily-vectors needs the log from its beginning, without --skip-rows');
      }
      const context = contextOf(flags);
      await withDeployment(context, async ({ log, codec, config, logger }) => {
        const line = new ProgressLine(logger, 'LOAD_PROGRESS');
        const { format, header, columns, map, timeUnit, actionMap, strict, skipRows } = flags;
        const { partitions } = config;
        const daily =
          flags.dailyVectors === true ? new DailyVectors({ codec, partitions, ...(await readRecipes()) }) : null;
        const result = await loadActions({
          log,
          codec,
          file,
          dataDir: config.dataDir,
          format,
          header,
          ...(columns && { columns }),
          ...(map && { map }),
          ...(timeUnit && { timeUnit }),
          ...(actionMap && { actionMap }),
          ...(strict && { strict }),
          ...(skipRows !== undefined && { skipRows }),
          ...(daily && { before: (action) => daily.before(action) }),
          onProgress: (progress) => {
            line.update(`${basename(file)}: ${grouped(progress.rows)} rows, ${grouped(progress.rowsPerSecond)}/s`, {
              rows: progress.rows,
            });
          },
        });
        line.end();
        if (flags['json'] === true) print(JSON.stringify(result));
        else {
          print(`${grouped(result.rowsRead)} rows read, ${grouped(result.appended)} appended to user-actions`);
          for (const [cause, count] of Object.entries(result.rejected)) print(`  ${grouped(count)} rejected: ${cause}`);
          if (result.sideFile !== null) print(`  rejected rows: ${result.sideFile}`);
        }
      });
    });
}
