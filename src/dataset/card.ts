/** What a dataset is: the log and the labels it was made of, what was in force, and what each column holds. */
import { hash } from 'node:crypto';
import type { Config } from '../base/config.ts';
import type { Scorer } from '../intent/scorer.ts';
import { layoutOf, stateLayoutHash } from '../../state/layout.ts';
import type { Lag, PassReport } from './dated-features.ts';
import type { LabelSource } from './label-source.ts';
import type { Column } from './parquet-file.ts';
import type { TrainingRow } from './training-row.ts';
import type { TrainingRows } from './training-rows.ts';

export interface DatasetCard {
  readonly labels: number;
  readonly rows: number;
  /** Labels that gave no row, by cause. */
  readonly rejected: Readonly<Record<string, number>>;
  readonly withoutFeatures: number;
  readonly withoutLongTerm: number;
  readonly source: LabelSource;
  readonly lag: Lag;
  readonly scorerHash: string;
  readonly model: string;
  readonly stateLayoutHash: string;
  /** Of the settings that the rows depend on, which are in `config`. */
  readonly configHash: string;
  readonly config: object;
  /** Rows by item-vector version. */
  readonly itemVersions: Readonly<Record<string, number>>;
  readonly log: readonly PassReport[];
  readonly parts: readonly { readonly file: string; readonly rows: number }[];
  readonly columns: readonly { readonly name: string; readonly type: string; readonly doc: string }[];
}

export interface CardOptions {
  readonly config: Config;
  readonly scorer: Scorer;
  readonly source: LabelSource;
  readonly lag: Lag;
  readonly columns: readonly Column<TrainingRow>[];
  readonly labels: number;
  readonly rejected: Readonly<Record<string, number>>;
  readonly parts: DatasetCard['parts'];
  readonly made: TrainingRows;
}

const SETTINGS = [
  ...['partitions', 'actionTypes', 'undo', 'sequences', 'scoredSequence', 'counterHalfLivesMs', 'sessionGapMs'],
  ...['maxFutureMs', 'maxIdBytes', 'maxSurfaceBytes'],
] as const;

export function datasetCard(options: CardOptions): DatasetCard {
  const { config, scorer, source, lag, columns, labels, rejected, parts, made } = options;
  const settings = Object.fromEntries(SETTINGS.map((key) => [key, config[key as keyof Config]]));
  return {
    ...{ labels, rows: made.rows, rejected },
    ...{ withoutFeatures: made.withoutFeatures, withoutLongTerm: made.withoutLongTerm },
    ...{ source, lag, scorerHash: made.scorerHash, model: scorer.hash },
    stateLayoutHash: stateLayoutHash(layoutOf(config)),
    configHash: hash('sha256', JSON.stringify(settings)).slice(0, 16),
    config: settings,
    itemVersions: Object.fromEntries(made.itemVersions),
    log: made.passes,
    parts,
    columns: columns.map(({ name, type, isList, doc }) => ({ name, type: isList ? `list<${type}>` : type, doc })),
  };
}

/** The card for people. */
export function cardText(card: DatasetCard): string {
  const { rows, labels, rejected, lag, log, columns } = card;
  const bad = Object.entries(rejected).map(([cause, count]) => `${count} ${cause}`);
  const passes = log.map(({ partition, start, end, records, gaps, afterEnd, beforeStart }) => {
    const missing =
      gaps.length === 0 ? 'none' : gaps.map(({ from, to, code }) => `${from}–${to - 1} ${code}`).join(', ');
    return `| ${partition} | ${start} | ${end} | ${records} | ${missing} | ${beforeStart} | ${afterEnd} |`;
  });
  return `# Training rows

${rows} rows of ${labels} labels${bad.length === 0 ? '' : ` (no row: ${bad.join(', ')})`}, in the order of partition and position.
${card.withoutFeatures} know nothing of their user, ${card.withoutLongTerm} have no long-term vector.

Features are those that were servable just before the label: ${lag.featuresMs} ms after an action's arrival, long-term
vectors ${lag.vectorsMs} ms after their timestamp. Scorer ${card.scorerHash}, configuration ${card.configHash}, state layout
${card.stateLayoutHash}.

## The log

| Partition | From | Up to | Records | Could not be read | Labels before it | Labels after it |
| --- | --- | --- | --- | --- | --- | --- |
${passes.join('\n')}

## Columns

| Column | Type | What it holds |
| --- | --- | --- |
${columns.map(({ name, type, doc }) => `| \`${name}\` | ${type} | ${doc} |`).join('\n')}
`;
}
