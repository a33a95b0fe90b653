import { basename } from 'node:path';
import { Option, type Command } from 'commander';
import { FreshetError } from '../base/errors.ts';
import { activateVersion } from '../ingest/activate.ts';
import { loadItemVectors } from '../ingest/load-item-vectors.ts';
import { loadUserVectors } from '../ingest/load-user-vectors.ts';
import type { RowFormat } from '../ingest/row-file.ts';
import { buildVersion } from '../vectors/build.ts';
import { readRecipes } from '../vectors/recipes.ts';
import { command, commandGroup, contextOf, print, withDeployment } from './command.ts';
import { pairsOption } from './options.ts';
import { grouped, ProgressLine } from './progress.ts';

/** `freshet vectors …`: item vectors and long-term user vectors, one's own or built from the log. */
export function vectorsCommand(): Command {
  const summary = 'Item vectors by version, and long-term user vectors.';
  return commandGroup('vectors', summary, [loadVectors(), activate(), build()]);
}

interface LoadFlags extends Record<string, unknown> {
  readonly kind: 'item' | 'user';
  readonly version: string;
  readonly base?: string;
  readonly space?: string;
  readonly format?: RowFormat;
  readonly map?: Record<string, string>;
  readonly asOf?: string;
}

function loadVectors(): Command {
  return command('load <file>', 'Load vectors from Parquet, NDJSON or CSV; run again, it goes on where it stopped.', [
    'freshet vectors load items.parquet --kind=item --version=2026-01-01',
    'freshet vectors load changes.ndjson --kind=item --version=2026-01-02 --base=2026-01-01',
    'freshet vectors load users.csv --kind=user --version=2026-01-01 --as-of=2026-01-01T00:00:00Z',
  ])
    .addOption(new Option('--kind <kind>', 'Whose vectors they are.').choices(['item', 'user']).makeOptionMandatory())
    .requiredOption('--version <name>', 'Name of the version, or of the run that made the user vectors.')
    .option('--base <version>', 'The earlier item version that this one is a change on.')
    .option('--space <name>', 'Space of the vectors (default: that of the configured model).')
    .addOption(new Option('--format <format>', 'Default: told by the file.').choices(['parquet', 'ndjson', 'csv']))
    .option('--map <pairs>', 'field=column,… for itemId or userId, vector, scale, asOf.', pairsOption)
    .option('--as-of <time>', 'User vectors: they use only actions before this time, ISO 8601 or milliseconds.')
    .action(async (file: string, flags: LoadFlags) => {
      await withDeployment(contextOf(flags), async (deployment) => {
        const { log, codec, logger } = deployment;
        const { kind, version, base, format, map, asOf } = flags;
        const line = new ProgressLine(logger, 'LOAD_PROGRESS');
        const options = {
          log,
          codec,
          file,
          version,
          space: flags.space ?? (await deployment.loadScorer()).space,
          ...(format && { format }),
          ...(map && { map }),
          onProgress: ({ rows, rowsPerSecond }: { rows: number; rowsPerSecond: number }) => {
            line.update(`${basename(file)}: ${grouped(rows)} rows, ${grouped(rowsPerSecond)}/s`, { rows });
          },
        };
        const result =
          kind === 'item'
            ? await loadItemVectors({ ...options, ...(base !== undefined && { base }) })
            : await loadUserVectors({ ...options, ...(asOf !== undefined && { asOf }) });
        line.end();
        print(JSON.stringify(result));
      });
    });
}

function activate(): Command {
  return command('activate <version>', 'From here on in the log, fold windows under this item-vector version.', [
    'freshet vectors activate 2026-01-01',
  ]).action(async (version: string, flags: Record<string, unknown>) => {
    await withDeployment(contextOf(flags), async (deployment) => {
      const { space } = await deployment.loadScorer();
      const { manifest, offsets } = await activateVersion(deployment.log, deployment.codec, version, { space });
      print(JSON.stringify({ version, ...manifest, offsets }));
    });
  });
}

function build(): Command {
  return command('build', 'Build item and user vectors from the actions in the log, publish and activate them.', [
    'freshet vectors build --version=2017-03-01 --as-of=2017-03-01T00:00:00Z',
    'freshet load data/deskdrop/actions.csv.gz --format=deskdrop --daily-vectors   # the same at every midnight of the log',
  ])
    .requiredOption('--version <name>', 'Name of the version.')
    .requiredOption('--as-of <time>', 'Use only actions before this time, ISO 8601.')
    .action(async (flags: Record<string, unknown>) => {
      const asOfMs = Date.parse(flags['asOf'] as string);
      if (Number.isNaN(asOfMs)) throw new FreshetError('USAGE', `--as-of=${String(flags['asOf'])} is not a time`);
      await withDeployment(contextOf(flags), async ({ log, codec, config }) => {
        const recipes = await readRecipes();
        print(
          JSON.stringify(
            await buildVersion({ log, codec, config, recipes, version: flags['version'] as string, asOfMs }),
          ),
        );
      });
    });
}
