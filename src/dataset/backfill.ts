/**
 * `freshet backfill`: labels in, rows to train on out, each with the features as they were servable just before the
 * label. Labels are sorted on disk, then each partition of the log is passed over once; rows come out in the order of
 * partition and position. Memory does not grow with labels, rows, users or log.
 */
import { join } from 'node:path';
import { FreshetError } from '../base/errors.ts';
import { RejectedRows } from '../ingest/rejected-rows.ts';
import type { FeatureContext } from '../task/feature-context.ts';
import { layoutOf } from '../../state/layout.ts';
import { datasetCard, cardText, type DatasetCard } from './card.ts';
import { DatasetFolder } from './dataset-folder.ts';
import type { Lag } from './dated-features.ts';
import { LabelLayout, type LabelLayoutOptions } from './label.ts';
import { openLabels, type LabelSource } from './label-source.ts';
import { RequestOrder } from './request-order.ts';
import { trainingColumns } from './training-columns.ts';
import { TrainingRows } from './training-rows.ts';

export interface BackfillOptions extends FeatureContext, Pick<LabelLayoutOptions, 'map' | 'keep' | 'timeUnit'> {
  readonly source: LabelSource;
  /** A new folder, or an empty one. */
  readonly out: string;
  readonly lag: Lag;
  /** Whether each row lists its sequences as the model folds them, not only the K actions that readers are shown. */
  readonly wholeWindow?: boolean;
  /** Whether each row holds the features record as bytes too. */
  readonly withRecord?: boolean;
  /** Stop at the first bad label; by default they are counted and set aside. */
  readonly strict?: boolean;
  readonly partRows?: number;
  readonly onProgress?: (progress: BackfillProgress) => void;
}

export interface BackfillProgress {
  readonly labels: number;
  readonly rows: number;
}

export interface BackfillResult extends DatasetCard {
  /** Of labels that gave no row; null: there were none. */
  readonly sideFile: string | null;
}

/**
 * Throws ROW_REJECTED (strict), USAGE, ITEM_VERSION_INCOMPLETE, SPACE_MISMATCH, and what the source and the log throw.
 */
export async function backfill(options: BackfillOptions): Promise<BackfillResult> {
  const { config, scorer, out, keep = [], wholeWindow = false, withRecord = false, partRows } = options;
  const layout = layoutOf(config);
  const columns = trainingColumns({ layout, outcomes: scorer.outcomes, kept: keep, wholeWindow, withRecord });
  const folder = await DatasetFolder.create(out, columns, partRows);
  try {
    const order = await RequestOrder.open({
      ...{ folder: join(folder.work, 'labels'), partitions: config.partitions, lagMs: options.lag.featuresMs },
    });
    try {
      const labels = await sortLabels(options, order);
      const rows = new TrainingRows({ ...options, order, folder, labels: labels.count });
      for (let partition = 0; partition < config.partitions; partition += 1) await rows.pass(partition);
      await folder.endParts();
      const { rejected, sideFile, count } = labels;
      const card = datasetCard({ ...options, columns, rejected, labels: count, parts: folder.parts, made: rows });
      await order.close();
      await folder.finish({ json: `${JSON.stringify(card, null, 2)}\n`, markdown: cardText(card) });
      return { ...card, sideFile };
    } finally {
      await order.close();
    }
  } catch (error) {
    await folder.abort();
    throw error;
  }
}

/** Reads all labels into their order on disk. */
async function sortLabels(
  options: BackfillOptions,
  order: RequestOrder,
): Promise<{ count: number; rejected: Record<string, number>; sideFile: string | null }> {
  const { config, source, lag, strict = false, onProgress } = options;
  const layout = new LabelLayout({ ...options, needsTime: lag.featuresMs > 0, maxIdBytes: config.maxIdBytes });
  const { rows } = await openLabels(source, layout.columns, options);
  const rejects = await RejectedRows.open(config.dataDir, nameOf(source), false);
  let count = 0;
  try {
    for await (const read of rows) {
      for (const row of read) {
        count += 1;
        const request = row.problem ?? layout.request(row, count);
        if (!('cause' in request)) await order.add(request);
        else if (strict)
          throw new FreshetError('ROW_REJECTED', `line ${row.line}: ${request.cause}, ${request.detail}`);
        else rejects.add({ entry: null, line: row.line, raw: row.raw }, request);
      }
      await rejects.flush();
      onProgress?.({ labels: count, rows: 0 });
    }
    await order.flush();
  } finally {
    await rejects.close();
  }
  const hasRejected = Object.keys(rejects.counts).length > 0;
  return { count, rejected: rejects.counts, sideFile: hasRejected ? rejects.path : null };
}

const nameOf = (source: LabelSource): string =>
  source.kind === 'file' ? source.file : `labels-of-${source.kind === 'topic' ? source.topic : 'user-actions'}`;
