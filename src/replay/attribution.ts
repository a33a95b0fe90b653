/**
 * Why records differ, in one partition: the first record of a user that differs is looked into, those after it are the
 * consequence until one is equal again. So each cause is told once, with the number of records that it explains.
 */
import { LRUCache } from 'lru-cache';
import type { Log, LogRecord, TopicPartition } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { fromColumns } from '../../state/columns.ts';
import type { SequenceFeaturesRecord, UserActionRecord } from '../../topics/records.ts';
import { differingFields } from './differing-fields.ts';
import { ownRecords } from './own-records.ts';
import type { Gap } from './passage.ts';
import type { Recorded } from './recorded.ts';
import type { Cause, CauseFound, VerifyReport } from './verify-report.ts';

export interface AttributionOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly input: TopicPartition;
  readonly features: TopicPartition;
  readonly report: VerifyReport;
  /** Whether the application has committed under another state layout than the replay's. */
  readonly isOtherLayout: boolean;
}

export interface Explained {
  readonly cause: Cause;
  readonly fields: readonly string[];
}

interface Suspect {
  found: CauseFound;
  /** Where the features record stands that may itself be what was altered: the user's next record tells. */
  readonly recordOffset: number | null;
}

/** Fields that derive from the state, the item vectors and the model. */
const DESCRIBED = /^(views|session|scoredSequence|itemVersion|itemsWithVector|intent|propensity|finite|scorerHash)/;
const BY_MODEL = /^(intent|propensity|finite)/;
const USERS_MAX = 200_000;

export class Attribution {
  private readonly options: AttributionOptions;
  /** Version of the last record that was equal, by user; of users met long ago the range that is searched is wider. */
  private readonly equalAt = new LRUCache<string, number>({ max: USERS_MAX });
  private readonly suspects = new LRUCache<string, Suspect>({ max: USERS_MAX });
  /** Causes of many users at once. */
  private readonly common = new Map<Cause, CauseFound>();
  private readonly gaps: Gap[] = [];

  constructor(options: AttributionOptions) {
    this.options = options;
  }

  addGaps(gaps: readonly Gap[]): void {
    const { report, input } = this.options;
    for (const gap of gaps) {
      report.gaps.push({ ...input, ...gap });
      this.gaps.push(gap);
    }
  }

  equal({ userId, version }: Recorded): void {
    this.equalAt.set(userId, version);
    const suspect = this.suspects.get(userId);
    if (suspect === undefined) return;
    this.suspects.delete(userId);
    // What was consumed would still show: the record alone was another one.
    const { found, recordOffset } = suspect;
    if (recordOffset === null || found.records > 1) return;
    Object.assign(found, { cause: 'altered record', topic: this.options.features.topic, offset: recordOffset });
  }

  /** A record that the replay makes otherwise. */
  async differing(
    recorded: Recorded,
    theirs: SequenceFeaturesRecord,
    ours: SequenceFeaturesRecord,
  ): Promise<Explained> {
    const fields = differingFields(theirs, ours);
    const found = this.consequence(recorded.userId) ?? (await this.causeOf(recorded, theirs, ours, fields));
    found.records += 1;
    return { cause: found.cause, fields };
  }

  /** A record at a version that the replay has not. */
  async extra(recorded: Recorded): Promise<Explained> {
    const found = this.consequence(recorded.userId) ?? (await this.causeOfExtra(recorded));
    found.records += 1;
    return { cause: found.cause, fields: [] };
  }

  /** A newest version of which there is no record. */
  missing(offset: number): Explained {
    const found = this.add('output missing', this.options.input.topic, offset, '');
    found.records += 1;
    return { cause: found.cause, fields: [] };
  }

  /** A features record that cannot be read at all. */
  unreadable(offset: number): void {
    this.add('altered record', this.options.features.topic, offset, '').records += 1;
  }

  private consequence(userId: string): CauseFound | undefined {
    return this.suspects.get(userId)?.found;
  }

  private async causeOf(
    recorded: Recorded,
    theirs: SequenceFeaturesRecord,
    ours: SequenceFeaturesRecord,
    fields: readonly string[],
  ): Promise<CauseFound> {
    const { input, features, isOtherLayout } = this.options;
    const { userId, version, offset } = recorded;
    const field = fields[0] ?? '';
    const ofState = fields.filter((each) => !DESCRIBED.test(each));
    if (ofState.length === 0) {
      if (fields.includes('itemVersion')) return this.commonCause('item version', version, 'itemVersion');
      if (!fields.includes('scorerHash')) return this.add('altered record', features.topic, offset, field);
      const byModel = fields.find((each) => BY_MODEL.test(each));
      return this.commonCause(byModel === undefined ? 'config' : 'model', version, byModel ?? field);
    }
    if (isOtherLayout) return this.commonCause('config', version, field);
    const more = consumed(theirs) - consumed(ours);
    const first = (this.equalAt.get(userId) ?? theirs.firstOffset - 1) + 1;
    const { own, hole } = await ownRecords(this.options, { userId, first, last: version });
    if (more > 0) {
      const gap = this.gaps.find((each) => each.to > first && each.from <= version);
      return this.suspect(userId, this.add('input missing', input.topic, gap?.from ?? hole ?? first, field), null);
    }
    const altered = more === 0 ? own.find((each) => this.isOnlyIn(each, ours, theirs)) : undefined;
    if (altered !== undefined) {
      return this.suspect(userId, this.add('altered input', input.topic, altered.offset, field), offset);
    }
    return this.suspect(userId, this.add(more === 0 ? 'altered record' : 'code', features.topic, offset, field), null);
  }

  private async causeOfExtra({ userId, version, offset }: Recorded): Promise<CauseFound> {
    const { log, input, features } = this.options;
    const isGap = this.gaps.some((each) => each.from <= version && version < each.to);
    const [record] = isGap ? [] : await log.read(input, version, { maxRecords: 1, maxBytes: 1 }).catch(() => []);
    if (record?.offset !== version) {
      return this.suspect(userId, this.add('input missing', input.topic, version, ''), null);
    }
    if (record.key?.toString() === userId) return this.add('code', features.topic, offset, '');
    return this.add('altered record', features.topic, offset, 'version');
  }

  /** Whether the record's action, or its rejection, shows in our record and not in theirs. */
  private isOnlyIn(record: LogRecord, ours: SequenceFeaturesRecord, theirs: SequenceFeaturesRecord): boolean {
    if (record.value === null) return true;
    let action: UserActionRecord;
    try {
      action = this.options.codec.decode('user-actions-value', record.value, record.headers);
    } catch {
      return true; // It was read once, or their record would tell of a rejection too.
    }
    const { itemId, actionType, eventTimeMs, surface } = action;
    const has = ({ sequences }: SequenceFeaturesRecord): boolean =>
      sequences.some((columns) =>
        fromColumns(columns).some(
          (each) =>
            each.itemId === itemId &&
            each.actionType === actionType &&
            each.eventTimeMs === eventTimeMs &&
            each.surface === (surface ?? ''),
        ),
      );
    return has(ours) ? !has(theirs) : ours.envelope.rejected !== theirs.envelope.rejected;
  }

  private suspect(userId: string, found: CauseFound, recordOffset: number | null): CauseFound {
    this.suspects.set(userId, { found, recordOffset });
    return found;
  }

  private commonCause(cause: Cause, offset: number, field: string): CauseFound {
    const known = this.common.get(cause);
    if (known !== undefined) return known;
    const found = this.add(cause, this.options.input.topic, offset, field);
    this.common.set(cause, found);
    return found;
  }

  private add(cause: Cause, topic: string, offset: number, field: string): CauseFound {
    return this.options.report.addCause({ cause, topic, partition: this.options.input.partition, offset, field });
  }
}

/** Input records of the user that its state has taken account of. */
const consumed = ({ envelope }: SequenceFeaturesRecord): number =>
  envelope.accepted + envelope.duplicate + envelope.late + envelope.future + envelope.rejected;
