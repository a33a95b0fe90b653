/** What a what-if finds, in bounded memory: a distribution a feature, and the users who change most. */
import { userHash } from '../base/user-hash.ts';
import { differences, shownLength, type LaidOut, type Measure } from './what-if-differences.ts';

/** Over all versions compared, those that are equal included. */
export interface FeatureSummary {
  readonly feature: string;
  readonly measure: Measure;
  /** Share of the versions in which the two differ. */
  readonly changed: number;
  /** Of the differences, within 2 %. */
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

export interface ChangedUser {
  /** The hash of the id, unless ids were asked for. */
  readonly user: string;
  readonly partition: number;
  readonly version: number;
  /** The largest difference among the intent vectors, cosine. */
  readonly intent: number;
  /** Actions that readers are shown, in the scored sequence. */
  readonly shown: { readonly base: number; readonly variant: number };
}

const MAX_USERS = 10;
/** A configuration with more counters than this is compared in the first of them only. */
const MAX_FEATURES = 10_000;

export class WhatIfSummary {
  /** Versions compared, and how many of them differ in some feature. */
  compared = 0;
  changed = 0;
  private readonly showUsers: boolean;
  private readonly sketches = new Map<string, { readonly measure: Measure; readonly sketch: Sketch }>();
  private most: ChangedUser[] = [];

  constructor({ showUsers }: { readonly showUsers: boolean }) {
    this.showUsers = showUsers;
  }

  /** @param isNewest - the user's newest version: those are told by name. */
  add(base: LaidOut, variant: LaidOut, isNewest: boolean): void {
    this.compared += 1;
    let isChanged = false;
    let intent = 0;
    for (const { feature, measure, value } of differences(base, variant)) {
      if (value > 0) isChanged = true;
      if (measure === 'cosine') intent = Math.max(intent, value);
      let entry = this.sketches.get(feature);
      if (entry === undefined && this.sketches.size < MAX_FEATURES) {
        entry = { measure, sketch: new Sketch() };
        this.sketches.set(feature, entry);
      }
      if (value > 0) entry?.sketch.add(value);
    }
    if (isChanged) this.changed += 1;
    if (isNewest && isChanged) this.tellUser(base, variant, intent);
  }

  get features(): FeatureSummary[] {
    return Array.from(this.sketches, ([feature, { measure, sketch }]) => ({
      feature,
      measure,
      changed: this.compared === 0 ? 0 : sketch.count / this.compared,
      p50: sketch.quantile(0.5, this.compared),
      p90: sketch.quantile(0.9, this.compared),
      p99: sketch.quantile(0.99, this.compared),
      max: sketch.max,
    }));
  }

  /** Most changed first. */
  get users(): readonly ChangedUser[] {
    return this.most;
  }

  private tellUser(base: LaidOut, variant: LaidOut, intent: number): void {
    const least = this.most.at(-1);
    if (this.most.length === MAX_USERS && least !== undefined && intent <= least.intent) return;
    const { userId, partition, version } = base.features;
    const shown = { base: shownLength(base), variant: shownLength(variant) };
    this.most.push({ user: this.showUsers ? userId : userHash(userId), partition, version, intent, shown });
    this.most = this.most.sort((a, b) => b.intent - a.intent).slice(0, MAX_USERS);
  }
}

const GROWTH = 1.02;
const LOG_GROWTH = Math.log(GROWTH);

/** Positive numbers in buckets that grow by 2 %: some thousand of them span all that a double holds. */
export class Sketch {
  count = 0;
  max = 0;
  private readonly buckets = new Map<number, number>();

  add(value: number): void {
    const bucket = Math.ceil(Math.log(value) / LOG_GROWTH);
    this.buckets.set(bucket, (this.buckets.get(bucket) ?? 0) + 1);
    this.count += 1;
    this.max = Math.max(this.max, value);
  }

  /** Of `total` values, those that were not added being 0: the smallest that at least this share does not exceed. */
  quantile(share: number, total: number): number {
    let left = Math.ceil(share * total) - (total - this.count);
    if (left <= 0) return 0;
    for (const [bucket, count] of [...this.buckets].sort(([a], [b]) => a - b)) {
      left -= count;
      if (left <= 0) return Math.min(this.max, GROWTH ** bucket);
    }
    return this.max;
  }
}
