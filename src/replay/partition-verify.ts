/** One partition of what was emitted, compared with what a replay makes of its input, step by step. */
import { layoutOf, stateLayoutHash } from '../../state/layout.ts';
import { StateCodec } from '../../state/state-codec.ts';
import type { Featured } from '../task/features.ts';
import { Attribution } from './attribution.ts';
import { courseOf } from './course.ts';
import type { PartitionReplay } from './partition-replay.ts';
import { digestOf, RecordedFeatures, type Recorded } from './recorded.ts';
import { byUser, ruleOf } from './recorded-users.ts';
import { seedBefore } from './seed.ts';
import { STEP_RECORDS, type ReplayStep } from './step.ts';
import type { VerifyOptions, VerifyStretch } from './verify.ts';
import type { VerifyReport } from './verify-report.ts';

/** Of what was emitted, read at once. */
const READ_RECORDS = 1_000;

export class PartitionVerify {
  private readonly options: VerifyOptions;
  private readonly replay: PartitionReplay;
  private readonly report: VerifyReport;
  private readonly stretch: VerifyStretch;
  private readonly partition: number;
  private readonly commitSpan: number;
  private readonly stateCodec: StateCodec;
  /** Users whose newest state is not among the records yet: version by user. */
  private readonly awaited = new Map<string, number>();
  /** The replay does not know what came before its beginning of a user whose first record stands there. */
  private begin = 0;
  private start = 0;

  constructor(options: VerifyOptions, replay: PartitionReplay, report: VerifyReport, stretch: VerifyStretch) {
    this.options = options;
    this.replay = replay;
    this.report = report;
    this.stretch = stretch;
    this.partition = stretch.partition;
    this.commitSpan = options.commitSpan ?? options.config.commit.maxRecords;
    this.stateCodec = new StateCodec(layoutOf(options.config));
  }

  /** Until the end, or to where it came when the signal is given. */
  async run(): Promise<void> {
    const { options, replay, report, stretch, partition, commitSpan } = this;
    const { log, codec, config, signal, stepRecords = STEP_RECORDS } = options;
    const { input } = replay;
    const course = await courseOf(log, config.appId, input);
    const to = Math.min(stretch.to, course.committed ?? 0);
    const recorded = await RecordedFeatures.open({
      ...{ log, codec, partition, course, commitSpan },
      maxRecords: Math.min(READ_RECORDS, stepRecords),
      onPassed: (why, { version }) => {
        if (Math.max(version, 0) >= stretch.from) report.addUnverifiable(why, partition);
      },
    });
    const inputStart = await log.startOffset(input);
    const first = Math.max(stretch.from, course.inputStart);
    this.start = inputStart === 0 ? first : Math.max(first, inputStart + commitSpan);
    this.begin = await seedBefore(replay, this.start, { log, codec, config, course, partition, commitSpan });
    const { layout } = course;
    const attribution = new Attribution({
      ...{ log, codec, input, features: recorded.at, report },
      isOtherLayout: layout !== undefined && layout !== stateLayoutHash(layoutOf(config)),
    });
    let offset = this.begin;
    while (offset < to && signal?.aborted !== true) {
      const end = Math.min(to, offset + stepRecords);
      const found = byUser(await recorded.before(end));
      const step = await replay.step({ to: end, maxRecords: stepRecords, emit: ruleOf(found) });
      attribution.addGaps(step.gaps);
      await this.compare(found, step, recorded, attribution);
      report.records += step.records;
      options.onProgress?.(step.records);
      offset = end;
    }
    for await (const rewritten of recorded.rewritten()) await this.compareRewritten(rewritten, recorded, attribution);
    // What the last commits have emitted may stand further on: whoever goes on compares them once more.
    const next = offset < to ? Math.max(this.start, offset - commitSpan) : to;
    report.next.set(partition, next);
    if (offset < to) report.complete = false;
    for (const [userId, version] of this.awaited) {
      if (version >= next) continue;
      const { cause } = attribution.missing(version);
      report.missing += 1;
      report.addDifference(userId, { kind: 'missing', partition, version, offset: null, cause, fields: [] });
    }
    this.tellTopic(recorded, attribution);
  }

  private async compare(
    found: ReadonlyMap<string, readonly Recorded[]>,
    step: ReplayStep,
    records: RecordedFeatures,
    attribution: Attribution,
  ): Promise<void> {
    const featured = new Map(step.featured.map((each) => [keyOf(each.state), each]));
    for (const [userId, ofUser] of found) {
      for (const recorded of ofUser) {
        if (recorded.version < this.start) continue;
        const ours = featured.get(keyOf(recorded));
        if (this.isUnknown(recorded, ours)) this.report.addUnverifiable('unknown past', this.partition);
        else await this.compareOne(recorded, ours, records, attribution);
      }
      const last = ofUser.at(-1)!;
      if ((this.awaited.get(userId) ?? Infinity) <= last.version) this.awaited.delete(userId);
      if (this.isUnknown(last, featured.get(keyOf(last)))) await this.adopt(last, step, records);
    }
    for (const [userId, state] of step.changed) {
      const isThere = state === null || found.get(userId)?.some(({ version }) => version === state.version) === true;
      if (isThere) this.awaited.delete(userId);
      else if (state.version >= this.start) this.awaited.set(userId, state.version);
    }
  }

  /** What a reset has written of users who have not acted since: of others the replay has passed it. */
  private async compareRewritten(
    rewritten: readonly Recorded[],
    records: RecordedFeatures,
    attribution: Attribution,
  ): Promise<void> {
    const after = rewritten.filter(({ version }) => version >= this.start);
    const newest = await this.replay.features(new Set(after.map(({ userId }) => userId)));
    for (const recorded of after) {
      const { userId, version } = recorded;
      const ours = newest.get(userId);
      if (ours?.state.version !== version) {
        this.report.addUnverifiable('superseded', this.partition);
        continue;
      }
      await this.compareOne(recorded, ours, records, attribution);
      if (this.awaited.get(userId) === version) this.awaited.delete(userId);
    }
  }

  private async compareOne(
    recorded: Recorded,
    ours: Featured | undefined,
    records: RecordedFeatures,
    attribution: Attribution,
  ): Promise<void> {
    const { report, partition, options } = this;
    const { userId, version, offset } = recorded;
    report.compared += 1;
    if (ours !== undefined && digestOf(options.codec.body(ours.features!)) === recorded.digest) {
      report.equal += 1;
      attribution.equal(recorded);
      return;
    }
    const kind = ours === undefined ? 'extra' : 'differing';
    report[kind] += 1;
    const { cause, fields } =
      ours === undefined
        ? await attribution.extra(recorded)
        : await attribution.differing(
            recorded,
            await records.read(recorded),
            options.codec.decode('sequence-features-value', ours.features!),
          );
    report.addDifference(userId, { kind, partition, version, offset, cause, fields });
  }

  private isUnknown({ firstOffset }: Recorded, ours: Featured | undefined): boolean {
    return firstOffset < this.begin && ours?.state.firstOffset !== firstOffset;
  }

  /** From here on the user can be verified, if nothing of it was consumed since. */
  private async adopt(last: Recorded, step: ReplayStep, records: RecordedFeatures): Promise<void> {
    if (step.changed.get(last.userId)?.version !== last.version) return;
    const record = await records.read(last);
    await this.replay.put([{ state: this.stateCodec.fromRecord(record), itemVersion: record.itemVersion }]);
  }

  private tellTopic(recorded: RecordedFeatures, attribution: Attribution): void {
    const { report } = this;
    report.tombstones += recorded.tombstones;
    for (const gap of recorded.gaps) {
      report.gaps.push({ ...recorded.at, ...gap });
      attribution.unreadable(gap.from);
    }
    for (const { offset } of recorded.unreadable) {
      report.compared += 1;
      report.differing += 1;
      attribution.unreadable(offset);
    }
  }
}

const keyOf = ({ userId, version }: { readonly userId: string; readonly version: number }): string =>
  `${version} ${userId}`;
