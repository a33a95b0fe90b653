/**
 * Each request of one partition answered with the features that were servable just before it: those of the newest
 * version below its position, to the bit what `run` writes at that version. One pass over the log.
 */
import { join } from 'node:path';
import { invariant } from '../base/errors.ts';
import type { Gap } from '../replay/passage.ts';
import { PartitionReplay } from '../replay/partition-replay.ts';
import { asRecorded, type ActionReader } from '../replay/recorded-rejections.ts';
import type { FeatureContext } from '../task/feature-context.ts';
import type { Featured } from '../task/features.ts';
import { judge, type JudgeOptions } from '../task/judge.ts';
import type { LongTermSideRecord } from '../../topics/records.ts';
import { InputAhead } from './input-ahead.ts';
import { LongTermVectors } from './long-term.ts';
import { PendingRequests } from './pending-requests.ts';
import { PlacedRequests, type PlacedRequest } from './placed-requests.ts';
import type { Request } from './request.ts';
import type { RequestOrder } from './request-order.ts';

export interface DatedFeaturesOptions extends FeatureContext {
  readonly order: RequestOrder;
  readonly partition: number;
  /** A folder of its own, for what does not fit in memory. */
  readonly folder: string;
  readonly lag: Lag;
  /** Input records in memory, and requests answered at once: what bounds memory. */
  readonly maxRecords?: number;
  readonly maxRequests?: number;
}

/** How much later than in the log things were known where they were served, milliseconds. */
export interface Lag {
  /** From an action's arrival until features that know of it could be read. */
  readonly featuresMs: number;
  /** The same of long-term vectors, from their timestamp. */
  readonly vectorsMs: number;
}

export interface Answer {
  readonly request: Request;
  readonly position: number;
  /** Null: nothing was known of the user. */
  readonly features: Featured | null;
  readonly longTerm: LongTermSideRecord | null;
}

/** What the pass over one partition has met. */
export interface PassReport {
  readonly partition: number;
  /** Input offsets, from `start` up to `end`, exclusive. */
  readonly start: number;
  readonly end: number;
  readonly records: number;
  readonly gaps: readonly Gap[];
  readonly afterEnd: number;
  readonly beforeStart: number;
}

const MAX_RECORDS = 2_048;
const MAX_REQUESTS = 1_000;

export class DatedFeatures {
  readonly scorerHash: string;
  private readonly options: DatedFeaturesOptions;
  private readonly judging: JudgeOptions;
  private readonly input: InputAhead;
  private readonly replay: PartitionReplay;
  private readonly longTerm: LongTermVectors;
  private readonly placed: PlacedRequests;
  private readonly start: number;
  private readonly gaps: Gap[] = [];
  private records = 0;

  private constructor(
    options: DatedFeaturesOptions,
    parts: { reader: ActionReader; input: InputAhead; replay: PartitionReplay; longTerm: LongTermVectors },
  ) {
    const { config, partition, order, lag } = options;
    const { codec } = parts.reader;
    this.options = options;
    this.judging = { ...config, codec, partition, actionTypes: new Set(config.actionTypes) };
    this.input = parts.input;
    this.replay = parts.replay;
    this.longTerm = parts.longTerm;
    this.start = parts.input.from;
    this.scorerHash = parts.replay.scorerHash;
    this.placed = new PlacedRequests(order, partition, parts.input, lag.featuresMs);
  }

  static async open(options: DatedFeaturesOptions): Promise<DatedFeatures> {
    const { log, codec, config, partition, folder, maxRecords = MAX_RECORDS } = options;
    const at = { topic: 'user-actions', partition };
    const reader = await asRecorded({ log, codec }, at);
    const input = await InputAhead.open({ ...reader, at, maxRecords });
    const read = { log: input.log, inputCodec: reader.codec };
    const replay = await PartitionReplay.open({ ...options, ...read, folder: join(folder, 'users') });
    const rules = { codec, partition, partitions: config.partitions, maxIdBytes: config.maxIdBytes };
    const longTerm = await LongTermVectors.open({ log, codec, rules, folder: join(folder, 'vectors') });
    await replay.begin(input.from);
    return new DatedFeatures(options, { reader, input, replay, longTerm });
  }

  /** In order of their positions. Ends when no request is left, wherever the log ends. */
  async *answers(): AsyncGenerator<Answer[]> {
    const { input, placed } = this;
    const { maxRequests = MAX_REQUESTS } = this.options;
    for (let from = input.from; ;) {
      await input.advance(from);
      this.gaps.push(...input.takeGaps());
      const requests = await placed.take(maxRequests);
      const isFull = requests.length === maxRequests;
      // What is left may stand where the last of these does.
      const to = isFull ? requests.at(-1)!.position : input.to;
      yield await this.answer(requests, to);
      if (!isFull && (input.isLast || !(await placed.hasMore()))) return;
      from = to;
    }
  }

  report(): PassReport {
    const { options, start, gaps, records, input, placed } = this;
    return { partition: options.partition, start, end: input.to, records, gaps, ...placed.outside };
  }

  async close(): Promise<void> {
    await this.placed.close();
    await this.replay.close();
    await this.longTerm.close();
  }

  /** Takes the input up to `to`; none of the requests stands behind it. */
  private async answer(requests: readonly PlacedRequest[], to: number): Promise<Answer[]> {
    const acting = this.firstRecords(requests, to);
    const waiting = new Set<string>();
    const pending = new PendingRequests();
    for (const placed of requests) {
      const { userId } = placed.request;
      if (placed.position <= (acting.get(userId) ?? Infinity)) waiting.add(userId);
      else pending.add(placed);
    }
    const before = await this.replay.features(waiting);
    const emitted = new Map(pending.answers(await this.step(to, pending)));
    const users = new Set(requests.map(({ request }) => request.userId));
    const { lag } = this.options;
    await this.longTerm.load(users);
    const answers: Answer[] = [];
    for (const placed of requests) {
      const { request, position, clockMs } = placed;
      await this.longTerm.advance(clockMs + lag.featuresMs - lag.vectorsMs);
      const found = emitted.get(placed);
      const features = found === undefined ? (before.get(request.userId) ?? null) : found;
      answers.push({ request, position, features, longTerm: this.longTerm.get(request.userId) });
    }
    return answers;
  }

  /** Of each user who asks, the first record before `to` that is the user's: the reducer is given no other. */
  private firstRecords(requests: readonly PlacedRequest[], to: number): Map<string, number> {
    const users = new Set(requests.map(({ request }) => request.userId));
    const first = new Map<string, number>();
    for (const record of this.input.records) {
      if (record.offset >= to || first.size === users.size) break;
      const userId = record.key?.toString();
      if (userId === undefined || !users.has(userId) || first.has(userId)) continue;
      if (judge(record, this.judging).kind === 'user') first.set(userId, record.offset);
    }
    return first;
  }

  private async step(to: number, pending: PendingRequests): Promise<Featured[]> {
    const featured: Featured[] = [];
    for (let { from } = this.input; from < to;) {
      const step = await this.replay.step({ to, maxRecords: this.input.records.length + 1, emit: pending.rule });
      invariant(step.next > from, 'a step goes on', this.replay.input);
      featured.push(...step.featured);
      this.records += step.records;
      from = step.next;
    }
    return featured;
  }
}
