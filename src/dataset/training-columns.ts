/** The columns of a dataset, in their order: a function of configuration and model, not of what the rows hold. */
import type { Layout } from '../../state/layout.ts';
import type { Column, ColumnType } from './parquet-file.ts';
import type { TrainingRow } from './training-row.ts';

export interface ColumnOptions {
  readonly layout: Layout;
  /** Of the model. */
  readonly outcomes: readonly string[];
  /** Columns of the labels that are passed on. */
  readonly kept: readonly string[];
  /** Whether sequences are listed down to the oldest action of the window. */
  readonly wholeWindow: boolean;
  /** Whether each row has the whole record as bytes too. */
  readonly withRecord: boolean;
}

type TrainingColumn = Column<TrainingRow>;

export function trainingColumns({ layout, outcomes, kept, wholeWindow, withRecord }: ColumnOptions): TrainingColumn[] {
  return [
    ...labelColumns(kept),
    ...envelopeColumns(),
    ...layout.sequences.flatMap(({ name, windowSize }, at) =>
      sequenceColumns(name, wholeWindow ? null : windowSize, at),
    ),
    ...derivedColumns(outcomes),
    ...longTermColumns(),
    ...(withRecord ? [feature('record', 'bytes', 'The Avro body of sequence-features.', ({ body }) => body)] : []),
  ];
}

const labelColumns = (kept: readonly string[]): TrainingColumn[] => [
  column('labelRow', 'int64', 'Number of the label in its source, from 1.', ({ request }) => request.number),
  column('userId', 'string', 'The user.', ({ request }) => request.userId),
  column('itemId', 'string', 'The item of the label.', ({ content }) => content.itemId),
  column('labelTimeMs', 'int64', 'Time of the label, ms since the epoch.', ({ request }) => request.timeMs),
  column('label', 'double', 'The label.', ({ content }) => content.label),
  ...kept.map((name, at) =>
    column(`label_${name}`, 'string', `\`${name}\` of the label.`, ({ content }) => content.kept[at] ?? null),
  ),
  column('partition', 'int32', "The user's partition of user-actions.", ({ partition }) => partition),
  column('position', 'int64', 'The features know of offsets below it.', ({ position }) => position),
];

const envelopeColumns = (): TrainingColumn[] => [
  feature('version', 'int64', 'Version of the features; null: nothing was known.', ({ record }) => record.version),
  feature('newestEventTimeMs', 'int64', 'Newest event time.', ({ record }) => record.envelope.newestEventTimeMs),
  feature('newestArrivalTimeMs', 'int64', 'Newest arrival.', ({ record }) => record.envelope.newestArrivalTimeMs),
  ...(['accepted', 'duplicate', 'late', 'future', 'rejected'] as const).map((outcome) =>
    feature(outcome, 'int64', `Records of the user that were ${outcome}.`, ({ record }) => record.envelope[outcome]),
  ),
];

/** A `windowSize` of null: the whole window. */
const sequenceColumns = (name: string, windowSize: number | null, at: number): TrainingColumn[] => [
  features(
    `${name}_itemIds`,
    'string',
    windowSize === null
      ? 'Items, newest first: the whole window, as the model folds it.'
      : `Items, newest first, down to the ${windowSize}th that is not hidden.`,
    ({ sequences }) => sequences[at]!.itemIds,
  ),
  features(`${name}_actionTypes`, 'string', 'Their action types.', ({ sequences }) => sequences[at]!.actionTypes),
  features(`${name}_eventTimesMs`, 'int64', 'Their event times.', ({ sequences }) => sequences[at]!.eventTimesMs),
  features(`${name}_surfaces`, 'string', 'Their surfaces.', ({ sequences }) => sequences[at]!.surfaces),
  features(`${name}_hidden`, 'boolean', 'Whether ranking is not shown them.', ({ sequences }) => sequences[at]!.hidden),
  feature(`${name}_sealed`, 'int64', 'Actions that left the window.', ({ record }) => record.sequences[at]!.sealed),
  features(`${name}_counterTypes`, 'string', 'Types counted.', ({ record }) => record.views[at]!.counterTypes),
  features(
    `${name}_counters`,
    'float',
    'For each of them one decayed count a half-life, as of the newest event.',
    ({ record }) => record.views[at]!.counters,
  ),
];

const derivedColumns = (outcomes: readonly string[]): TrainingColumn[] => [
  feature('sessionLength', 'int32', 'Actions in the session.', ({ record }) => record.session.length),
  feature('sessionAgeMs', 'int64', 'From its first to its newest event.', ({ record }) => record.session.ageMs),
  feature('sessionGapMs', 'int64', 'Between the two newest; -1: there is one.', ({ record }) => record.session.gapMs),
  ...outcomes.map((outcome) =>
    features(
      `intent_${outcome}`,
      'float',
      `Short-term intent towards ${outcome}.`,
      ({ record }) => record.intent.find((each) => each.outcome === outcome)?.vector ?? null,
    ),
  ),
  features('propensityTypes', 'string', 'Action types of the propensity.', ({ record }) => record.propensityTypes),
  features('propensity', 'float', 'How likely each is next.', ({ record }) => record.propensity),
  feature('finite', 'boolean', "Whether the model's output was; if not, it is zeros.", ({ record }) => record.finite),
  feature('itemVersion', 'string', 'Item vectors in force at the version.', ({ record }) => record.itemVersion),
  feature('itemsWithVector', 'int32', 'Actions that have a vector.', ({ record }) => record.itemsWithVector),
  feature('scorerHash', 'string', 'Model, description and arithmetic.', ({ record }) => record.scorerHash),
];

const longTermColumns = (): TrainingColumn[] => [
  column(
    'longTermVersion',
    'string',
    'Of the vector; null: there is none.',
    ({ longTerm }) => longTerm?.version ?? null,
  ),
  column('longTermAsOfMs', 'int64', 'It knows actions before this time.', ({ longTerm }) => longTerm?.asOfMs ?? null),
  column('longTermSpace', 'string', 'The space it lives in.', ({ longTerm }) => longTerm?.space ?? null),
  column('longTermOffset', 'int64', 'Its offset in user-embeddings.', ({ longTerm }) => longTerm?.offset ?? null),
  { ...column('longTerm', 'float', 'The long-term vector.', ({ longTerm }) => longTerm?.vector ?? null), isList: true },
];

const column = (name: string, type: ColumnType, doc: string, of: (row: TrainingRow) => unknown): TrainingColumn => ({
  ...{ name, type, doc, of, isList: false },
});

type OfFeatures = (features: NonNullable<TrainingRow['features']>) => unknown;

/** Null where nothing was known of the user. */
const feature = (name: string, type: ColumnType, doc: string, of: OfFeatures): TrainingColumn =>
  column(name, type, doc, ({ features: known }) => (known === null ? null : of(known)));

const features = (name: string, type: ColumnType, doc: string, of: OfFeatures): TrainingColumn => ({
  ...feature(name, type, doc, of),
  isList: true,
});
