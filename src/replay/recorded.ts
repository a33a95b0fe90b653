/**
 * What was emitted, in the order in which a replay comes to it. The topic has commits in order, and the records of one
 * commit in any: a version below a given offset may stand up to a commit's length behind that offset's own.
 */
import { hash } from 'node:crypto';
import type { Type } from 'avsc';
import { FreshetError, invariant } from '../base/errors.ts';
import type { Log, LogRecord, ReadLimits, TopicPartition } from '../log/log.ts';
import { boundedType } from '../serde/bounded-type.ts';
import type { Codec } from '../serde/codec.ts';
import { shippedSchema } from '../../topics/index.ts';
import type { SequenceFeaturesRecord } from '../../topics/records.ts';
import { isConverted, isRewritten, supersededBy, type Course } from './course.ts';
import { Passage, type Gap } from './passage.ts';

/** A features record as it was found; its bytes are read again when they differ. */
export interface Recorded {
  readonly userId: string;
  readonly version: number;
  readonly firstOffset: number;
  /** Of the Avro body. */
  readonly digest: string;
  /** In the features topic. */
  readonly offset: number;
}

export interface RecordedOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly partition: number;
  /** Of the application whose features they are. */
  readonly course: Course;
  /** Offsets of input that one commit spans at the most. */
  readonly commitSpan: number;
  /** Read at once. */
  readonly maxRecords: number;
  /** Hears of a record that is not handed out, as it was not made from the input, or not in the present course. */
  readonly onPassed: (why: 'seeded' | 'superseded', recorded: Recorded) => void;
}

const READ_BYTES = 4 * 1024 * 1024;
/** So many records in a row are all of later commits: one of them may have been tampered with. */
const LATER_IN_A_ROW = 32;
const LEADING_FIELDS = ['userId', 'version', 'firstOffset'];

export const digestOf = (body: Buffer): string => hash('sha1', body, 'base64');

export class RecordedFeatures {
  readonly at: TopicPartition;
  /** Records without a user's features: tombstones, and what cannot be read as features. */
  tombstones = 0;
  readonly unreadable: { readonly offset: number; readonly detail: string }[] = [];
  private readonly options: RecordedOptions;
  private readonly passage: Passage;
  private readonly leading: Type = leadingType();
  /** Read and not handed out yet. */
  private ahead: Recorded[] = [];
  private laterInARow = 0;
  private next = 0;

  private constructor(options: RecordedOptions, at: TopicPartition) {
    this.options = options;
    this.at = at;
    this.passage = new Passage(options.log, at);
  }

  /** Of all that the topic holds now. */
  static async open(options: RecordedOptions): Promise<RecordedFeatures> {
    const at = { topic: 'sequence-features', partition: options.partition };
    const recorded = new RecordedFeatures(options, at);
    recorded.next = Math.max(options.course.featuresStart, await options.log.startOffset(at));
    recorded.passage.end = await options.log.endOffset(at);
    return recorded;
  }

  get gaps(): Gap[] {
    return this.passage.takeGaps();
  }

  /** Those not handed out yet whose version is below `offset`, in the order of the topic. */
  async before(offset: number): Promise<Recorded[]> {
    while (this.next < this.passage.end && this.laterInARow < LATER_IN_A_ROW) {
      const records = await this.passage.log.read(this.at, this.next, this.limits);
      if (records.length === 0) break;
      await this.options.codec.learn(records);
      for (const record of records) this.take(record, offset);
      this.next = records.at(-1)!.offset + 1;
    }
    const taken = this.ahead.filter(({ version }) => version < offset);
    this.ahead = this.ahead.filter(({ version }) => version >= offset);
    // The next offset asked for is further on: what is later than that is counted anew.
    this.laterInARow = 0;
    return taken;
  }

  /** What resets have written of users as they were at the offset that they went back to. */
  async *rewritten(): AsyncGenerator<Recorded[]> {
    const { course, codec } = this.options;
    for (const { featuresEnd, offset: before } of course.resets) {
      for (
        let next = Math.max(featuresEnd, course.featuresStart), isOver = false;
        !isOver && next < this.passage.end;
      ) {
        const records = await this.passage.log.read(this.at, next, this.limits);
        if (records.length === 0) break;
        await codec.learn(records);
        next = records.at(-1)!.offset + 1;
        const found = records.flatMap(({ offset, value, headers }) =>
          value === null ? [] : (this.decode(offset, value, headers) ?? []),
        );
        // Tasks went on from there, and have written nothing older since.
        isOver = found.some(({ version }) => version >= before);
        yield found.filter(
          (each) => isRewritten(course, each) && !isConverted(course, each) && supersededBy(course, each) === undefined,
        );
      }
    }
  }

  /** The record whole. */
  async read({ offset }: Recorded): Promise<SequenceFeaturesRecord> {
    const [record] = await this.options.log.read(this.at, offset, { maxRecords: 1, maxBytes: 1 });
    invariant(record?.offset === offset && record.value !== null, 'the features record is gone', this.at);
    return this.options.codec.decode('sequence-features-value', record.value, record.headers);
  }

  private take({ offset, value, headers }: LogRecord, before: number): void {
    if (value === null) {
      this.tombstones += 1;
      return;
    }
    const recorded = this.decode(offset, value, headers);
    if (recorded === undefined) return;
    const { course, commitSpan, onPassed } = this.options;
    const superseded = supersededBy(course, recorded);
    if (isConverted(course, recorded)) onPassed('seeded', recorded);
    else if (superseded !== undefined) onPassed('superseded', recorded);
    else if (!isRewritten(course, recorded)) this.ahead.push(recorded);
    // Behind what was superseded there are records that are asked for already.
    const isLater =
      recorded.version >= before + commitSpan && !(superseded !== undefined && superseded.offset < before);
    this.laterInARow = isLater ? this.laterInARow + 1 : 0;
  }

  private get limits(): ReadLimits {
    return { maxRecords: this.options.maxRecords, maxBytes: READ_BYTES };
  }

  private decode(offset: number, value: Buffer, headers: LogRecord['headers']): Recorded | undefined {
    try {
      const body = this.options.codec.body(value, headers);
      const leading = this.leading.decode(body, 0);
      if (leading.offset < 0) throw new FreshetError('RECORD_UNDECODABLE', 'the value ends inside the record');
      const { userId, version, firstOffset } = leading.value as Recorded;
      return { userId, version, firstOffset, digest: digestOf(body), offset };
    } catch (error) {
      this.unreadable.push({ offset, detail: (error as Error).message });
      return undefined;
    }
  }
}

function leadingType(): Type {
  const schema = shippedSchema('sequence-features-value');
  const fields = schema.fields.slice(0, LEADING_FIELDS.length);
  invariant(
    fields.every(({ name }, index) => name === LEADING_FIELDS[index]),
    'features begin with user and versions',
  );
  return boundedType({ ...schema, name: 'Leading', fields });
}
