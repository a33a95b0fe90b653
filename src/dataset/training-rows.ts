/** The answers of one partition after the other as rows of a dataset, and what was counted on the way. */
import { join } from 'node:path';
import { layoutOf } from '../../state/layout.ts';
import type { Layout } from '../../state/layout.ts';
import type { SequenceFeaturesRecord } from '../../topics/records.ts';
import type { Featured } from '../task/features.ts';
import type { DatasetFolder } from './dataset-folder.ts';
import { DatedFeatures, type Answer, type DatedFeaturesOptions, type PassReport } from './dated-features.ts';
import { contentOf } from './label.ts';
import { datedRecord, type DatedRecord, type TrainingRow } from './training-row.ts';

export interface TrainingRowsOptions extends Omit<DatedFeaturesOptions, 'partition' | 'folder'> {
  readonly folder: DatasetFolder<TrainingRow>;
  /** Whether sequences are listed as the model folds them, not only as readers are shown them. */
  readonly wholeWindow?: boolean;
  /** Read from the source, for the progress. */
  readonly labels: number;
  readonly onProgress?: (progress: { readonly labels: number; readonly rows: number }) => void;
}

/** Item-vector versions that the card counts rows of; the rest are counted together. */
const MAX_VERSIONS = 1_000;

export class TrainingRows {
  readonly passes: PassReport[] = [];
  /** Rows by the item vectors of their features; the empty string: none were in force. */
  readonly itemVersions = new Map<string, number>();
  scorerHash = '';
  rows = 0;
  withoutFeatures = 0;
  withoutLongTerm = 0;
  private readonly options: TrainingRowsOptions;
  private readonly layout: Layout;

  constructor(options: TrainingRowsOptions) {
    this.options = options;
    this.layout = layoutOf(options.config);
  }

  async pass(partition: number): Promise<void> {
    const { folder } = this.options;
    const dated = await DatedFeatures.open({
      ...this.options,
      ...{ partition, folder: join(folder.work, `partition-${partition}`) },
    });
    try {
      this.scorerHash = dated.scorerHash;
      for await (const answers of dated.answers()) await this.add(answers, partition);
      this.passes.push(dated.report());
    } finally {
      await dated.close();
    }
  }

  private async add(answers: readonly Answer[], partition: number): Promise<void> {
    const decoded = new Map<Featured, DatedRecord>();
    for (const { request, position, features, longTerm } of answers) {
      let known = features === null ? null : decoded.get(features);
      if (known === undefined) decoded.set(features!, (known = this.decode(features!)));
      this.count(known, longTerm !== null);
      const content = contentOf(request);
      await this.options.folder.add({ request, content, partition, position, features: known, longTerm });
    }
    this.options.onProgress?.({ labels: this.options.labels, rows: this.rows });
  }

  private decode({ features }: Featured): DatedRecord {
    const { codec, wholeWindow = false } = this.options;
    const record = codec.decode<SequenceFeaturesRecord>('sequence-features-value', features!);
    return datedRecord(record, codec.body(features!), { layout: this.layout, wholeWindow });
  }

  private count(features: DatedRecord | null, hasLongTerm: boolean): void {
    this.rows += 1;
    if (!hasLongTerm) this.withoutLongTerm += 1;
    if (features === null) {
      this.withoutFeatures += 1;
      return;
    }
    const version = features.record.itemVersion ?? '';
    const place = this.itemVersions.has(version) || this.itemVersions.size < MAX_VERSIONS ? version : '…';
    this.itemVersions.set(place, (this.itemVersions.get(place) ?? 0) + 1);
  }
}
