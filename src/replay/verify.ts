/**
 * Compares what was emitted with what a replay makes of the same input, record by record by (user, version), one
 * partition after another in bounded memory.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { layoutOf, stateLayoutHash } from '../../state/layout.ts';
import { StateCodec } from '../../state/state-codec.ts';
import { decodeMetadata } from '../task/commit-metadata.ts';
import type { Featured } from '../task/features.ts';
import { Attribution } from './attribution.ts';
import { PartitionReplay, STEP_RECORDS, type PartitionReplayOptions, type ReplayStep } from './partition-replay.ts';
import type { Stretch } from './range.ts';
import { digestOf, RecordedFeatures, type Recorded } from './recorded.ts';
import { seedBefore } from './seed.ts';
import { VerifyReport } from './verify-report.ts';

export type VerifyStretch = Pick<Stretch, 'partition' | 'from' | 'to'>;

export interface VerifyOptions extends Omit<PartitionReplayOptions, 'partition' | 'folder'> {
  /** What of each partition is compared; not beyond what the application has committed. */
  readonly stretches: readonly VerifyStretch[];
  /** Offsets of input that one commit spans at the most; by default `commit.maxRecords`. */
  readonly commitSpan?: number;
  /** Input records of a step. */
  readonly stepRecords?: number;
  readonly onProgress?: (records: number) => void;
  readonly signal?: AbortSignal;
}

export async function verify(options: VerifyOptions): Promise<VerifyReport> {
  const report = new VerifyReport();
  const folder = await mkdtemp(join(tmpdir(), 'freshet-verify-'));
  try {
    for (const stretch of options.stretches) {
      const { partition } = stretch;
      const replay = await PartitionReplay.open({ ...options, partition, folder: join(folder, String(partition)) });
      try {
        await new PartitionVerify(options, replay, report, stretch).run();
      } finally {
        await replay.close();
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return report;
}

class PartitionVerify {
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

  async run(): Promise<void> {
    const { options, replay, report, stretch, partition, commitSpan } = this;
    const { log, codec, config, signal, stepRecords = STEP_RECORDS } = options;
    const { input } = replay;
    const committed = await log.committed(config.appId, input);
    const to = Math.min(stretch.to, committed?.offset ?? 0);
    const recorded = await RecordedFeatures.open({ log, codec, partition, commitSpan });
    const inputStart = await log.startOffset(input);
    this.start = inputStart === 0 ? stretch.from : Math.max(stretch.from, inputStart + commitSpan);
    this.begin = await seedBefore(replay, this.start, { log, codec, config, partition, commitSpan });
    const layout = committed === undefined ? undefined : decodeMetadata(committed.metadata, input).layout;
    const attribution = new Attribution({
      ...{ log, codec, input, features: recorded.at, report },
      isOtherLayout: layout !== undefined && layout !== stateLayoutHash(layoutOf(config)),
    });
    for (let offset = this.begin; offset < to;) {
      signal?.throwIfAborted();
      const end = Math.min(to, offset + stepRecords);
      const found = byUser(await recorded.before(end));
      const step = await replay.step({ to: end, maxRecords: stepRecords, emit: ruleOf(found) });
      attribution.addGaps(step.gaps);
      await this.compare(found, step, recorded, attribution);
      report.records += step.records;
      options.onProgress?.(step.records);
      offset = end;
    }
    for (const [userId, version] of this.awaited) {
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
        if (this.isUnknown(recorded, ours)) this.report.unverifiable += 1;
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

/** Versions ascending; what was handed out late stands first. */
function byUser(all: readonly Recorded[]): Map<string, Recorded[]> {
  const users = new Map<string, Recorded[]>();
  for (const recorded of all) {
    const ofUser = users.get(recorded.userId);
    if (ofUser === undefined) users.set(recorded.userId, [recorded]);
    else ofUser.push(recorded);
  }
  for (const ofUser of users.values()) ofUser.sort((a, b) => a.version - b.version);
  return users;
}

/** Emits a user wherever one of the versions lies behind it. */
function ruleOf(found: ReadonlyMap<string, readonly Recorded[]>): (userId: string, offset: number) => boolean {
  const next = new Map<string, number>();
  return (userId, offset) => {
    const ofUser = found.get(userId);
    if (ofUser === undefined) return false;
    const first = next.get(userId) ?? 0;
    let at = first;
    while (at < ofUser.length && ofUser[at]!.version < offset) at += 1;
    next.set(userId, at);
    return at > first;
  };
}

const keyOf = ({ userId, version }: { readonly userId: string; readonly version: number }): string =>
  `${version} ${userId}`;
