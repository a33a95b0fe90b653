/** A user's features as a test asks about them. What the record itself holds is there as it is. */
import { FreshetError } from '../base/errors.ts';
import { visibleColumns } from '../join/visible.ts';
import type { Action } from '../../state/action.ts';
import { fromColumns } from '../../state/columns.ts';
import type { Layout } from '../../state/layout.ts';
import type { EnvelopeRecord, SequenceFeaturesRecord, SessionRecord } from '../../topics/records.ts';
import { ageMs, type Age } from './clock.ts';

export class UserFeatures {
  /** As consumers of `sequence-features` decode it. */
  readonly record: SequenceFeaturesRecord;
  /** False: no model was asked, and intent and propensity are the zeros of a stand-in. */
  readonly isScored: boolean;
  private readonly layout: Layout;

  constructor(record: SequenceFeaturesRecord, layout: Layout, isScored: boolean) {
    this.record = record;
    this.layout = layout;
    this.isScored = isScored;
  }

  get userId(): string {
    return this.record.userId;
  }

  /** Offset of the last record that was consumed for the user. */
  get version(): number {
    return this.record.version;
  }

  /** How many records were accepted, duplicate, late, future or rejected; and the newest times. */
  get counts(): EnvelopeRecord {
    return this.record.envelope;
  }

  /** Length, age and gap of the running session, in the scored sequence. */
  get session(): SessionRecord {
    return this.record.session;
  }

  /** What ranking is shown of a sequence, newest first: at most K actions, without those undone or too old. */
  window(sequence?: string): readonly Action[] {
    const at = this.indexOf(sequence);
    const { hiddenPositions } = this.record.views[at]!;
    const visible = visibleColumns(this.record.sequences[at]!, hiddenPositions, this.layout.sequences[at]!.windowSize);
    return fromColumns(visible).reverse();
  }

  /** Actions that have left the window of a sequence for its history. */
  sealed(sequence?: string): number {
    return this.record.sequences[this.indexOf(sequence)]!.sealed;
  }

  /** Decayed count of an action type as of the newest event, for one of the configured half-lives; 0 where there were none. */
  count(actionType: string, halfLife: Age, sequence?: string): number {
    const { counters, counterTypes } = this.record.views[this.indexOf(sequence)]!;
    const { halfLivesMs } = this.layout;
    const at = halfLivesMs.indexOf(ageMs(halfLife));
    if (at < 0)
      throw new FreshetError(
        'USAGE',
        `no counter has the half-life ${halfLife}; there are ${halfLivesMs.join(', ')} ms`,
      );
    const type = counterTypes.indexOf(actionType);
    return type < 0 ? 0 : counters[type * halfLivesMs.length + at]!;
  }

  /** By outcome: the vector whose product with an item's vector is its score. */
  get intent(): Readonly<Record<string, readonly number[]>> {
    return Object.fromEntries(this.record.intent.map(({ outcome, vector }) => [outcome, vector]));
  }

  /** By action type: the probability that the next action is of it. */
  get propensity(): Readonly<Record<string, number>> {
    const { propensity, propensityTypes } = this.record;
    return Object.fromEntries(propensityTypes.map((type, index) => [type, propensity[index]!]));
  }

  private indexOf(sequence = this.record.scoredSequence): number {
    const at = this.record.sequences.findIndex(({ name }) => name === sequence);
    if (at >= 0) return at;
    const names = this.record.sequences.map(({ name }) => name).join(', ');
    throw new FreshetError('USAGE', `there is no sequence ${JSON.stringify(sequence)}; there are ${names}`);
  }
}
