/** A row to train on: the label, and what ranking would have been given for it. */
import { fromColumns } from '../../state/columns.ts';
import type { Layout } from '../../state/layout.ts';
import type { LongTermSideRecord, SequenceFeaturesRecord } from '../../topics/records.ts';
import type { LabelContent } from './label.ts';
import type { Request } from './request.ts';

export interface TrainingRow {
  readonly request: Request;
  readonly content: LabelContent;
  readonly partition: number;
  readonly position: number;
  /** Null: nothing was known of the user. */
  readonly features: DatedRecord | null;
  readonly longTerm: LongTermSideRecord | null;
}

/** A features record, and the actions of each sequence that the row lists. */
export interface DatedRecord {
  readonly record: SequenceFeaturesRecord;
  /** The Avro body. */
  readonly body: Buffer;
  readonly sequences: readonly ListedActions[];
}

/** Newest first, down to the K-th that is not hidden, or the whole window. */
interface ListedActions {
  readonly itemIds: readonly string[];
  readonly actionTypes: readonly string[];
  readonly eventTimesMs: readonly number[];
  readonly surfaces: readonly string[];
  readonly hidden: readonly boolean[];
}

/** With `wholeWindow` all actions that the model folds, else those that readers of the features look at. */
export function datedRecord(
  record: SequenceFeaturesRecord,
  body: Buffer,
  { layout, wholeWindow }: { readonly layout: Layout; readonly wholeWindow: boolean },
): DatedRecord {
  const sequences = record.sequences.map((sequence, index) => {
    const hidden = new Set(record.views[index]!.hiddenPositions);
    const { windowSize } = layout.sequences[index]!;
    const actions = fromColumns(sequence).reverse();
    let count = 0;
    const most = wholeWindow ? Infinity : windowSize;
    for (let shown = 0; count < actions.length && shown < most; count += 1) if (!hidden.has(count)) shown += 1;
    const kept = actions.slice(0, count);
    return {
      itemIds: kept.map(({ itemId }) => itemId),
      actionTypes: kept.map(({ actionType }) => actionType),
      eventTimesMs: kept.map(({ eventTimeMs }) => eventTimeMs),
      surfaces: kept.map(({ surface }) => surface),
      hidden: kept.map((_, at) => hidden.has(at)),
    };
  });
  return { record, body, sequences };
}
