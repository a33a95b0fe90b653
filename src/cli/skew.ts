import { Option, type Command } from 'commander';
import type { ServedSource } from '../dataset/served.ts';
import { measureSkew, type SkewReport } from '../dataset/skew.ts';
import type { RowFormat } from '../ingest/row-file.ts';
import { command, contextOf, print, withDeployment } from './command.ts';
import { lagOption } from './options.ts';
import { grouped, ProgressLine } from './progress.ts';

interface SkewFlags extends Record<string, unknown> {
  readonly format?: RowFormat;
  readonly timeUnit?: 's' | 'ms' | 'us';
  readonly lag: number;
  readonly vectorLag?: number;
  readonly json?: boolean;
}

/** `freshet skew`: what the ranker was given, and what it should have been. */
export function skewCommand(): Command {
  return command('skew [served]', 'Compare what the ranker was given with what a model would learn from.', [
    'freshet skew',
    'freshet skew served.ndjson --lag=2s',
    'freshet skew served.parquet --lag=500ms --vector-lag=6h --json',
  ])
    .addOption(new Option('--format <format>', 'Of the file (default: told by it).').choices(FORMATS))
    .addOption(new Option('--time-unit <unit>', 'Unit of numeric times (default: ms).').choices(['s', 'ms', 'us']))
    .option('--lag <time>', 'From an arrival until features were servable: 0, 500ms, 2s, 1m.', lagOption, 0)
    .option('--vector-lag <time>', 'The same of long-term vectors, from their timestamp (default: --lag).', lagOption)
    .option('--json', 'One line of JSON.')
    .action(async (file: string | undefined, flags: SkewFlags) => {
      const { format, timeUnit, lag, vectorLag = lag } = flags;
      const source: ServedSource =
        file === undefined
          ? { kind: 'topic' }
          : { kind: 'file', file, ...(format && { format }), ...(timeUnit && { timeUnit }) };
      const context = contextOf(flags);
      const line = new ProgressLine(context.logger, 'SKEW_PROGRESS');
      try {
        const report = await withDeployment(context, async (deployment) =>
          measureSkew({
            ...deployment,
            ...{ scorer: await deployment.loadScorer(), source, lag: { featuresMs: lag, vectorsMs: vectorLag } },
            onProgress: ({ served, compared }) => {
              line.update(`${grouped(served)} served, ${grouped(compared)} comparisons`, { served, compared });
            },
          }),
        );
        line.end();
        print(flags.json === true ? JSON.stringify(report) : textOf(report));
      } finally {
        line.end();
      }
    });
}

const FORMATS = ['parquet', 'csv', 'ndjson'];

function textOf({ served, equal, undated, rejected, features, examples }: SkewReport): string {
  const bad = Object.entries(rejected).map(([cause, count]) => `  ${grouped(count)} could not be read: ${cause}`);
  const rows = Object.entries(features).map(([name, { compared, equal: same, causes }]) => {
    const why = Object.entries(causes).map(([cause, count]) => `${grouped(count)} ${cause}`);
    const share = `${((100 * same) / compared).toFixed(2)} %`.padStart(9);
    return `${share} of ${grouped(compared).padStart(9)}  ${name}${why.length === 0 ? '' : `: ${why.join(', ')}`}`;
  });
  return [
    `${grouped(served)} served records, ${grouped(equal)} right in every feature`,
    ...(undated === 0 ? [] : [`  ${grouped(undated)} tell neither a time nor a version: nothing to compare`]),
    ...bad,
    ...rows,
    ...examples.map(
      ({ feature, cause, number, user, servedVersion, servableVersion }) =>
        `  ${cause} ${feature}: record ${number}, user ${user}, version ${servedVersion ?? 'none'} served, ` +
        `${servableVersion ?? 'none'} servable`,
    ),
  ].join('\n');
}
