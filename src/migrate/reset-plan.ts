/** What a reset would do to each partition: to which offset it goes, and where the state there comes from. */
import { FreshetError } from '../base/errors.ts';
import type { ItemVersions } from '../intent/item-versions.ts';
import type { Scorer } from '../intent/scorer.ts';
import type { Log, TopicPartition } from '../log/log.ts';
import { records } from '../log/newest.ts';
import type { StoreOwner } from '../snapshot/committed-stores.ts';
import { listSeeds, type Seed } from '../snapshot/seed.ts';
import { decodeMetadata, type CommitMetadata } from '../task/commit-metadata.ts';
import { layoutOf, stateLayoutHash } from '../../state/layout.ts';

export type ResetTarget =
  | { readonly offset: number }
  /** Before the first record that arrived at or after it, milliseconds since the epoch. */
  | { readonly timeMs: number };

export interface ResetOwner extends StoreOwner {
  readonly itemVersions: ItemVersions;
  loadScorer(): Promise<Scorer>;
}

export interface ResetPlan {
  readonly partition: number;
  /** The input offset that is committed. */
  readonly from: number;
  readonly metadata: CommitMetadata;
  /** Null: the beginning. */
  readonly seed: Seed | null;
}

/**
 * Of the partitions that are beyond the target, or that an earlier reset was cut short in. Errors as of
 * `resetApplication`; nothing is changed.
 */
export async function planReset(
  owner: ResetOwner,
  target: ResetTarget,
  partitions: readonly number[],
): Promise<ResetPlan[]> {
  const { log, config } = owner;
  const plans: ResetPlan[] = [];
  let isKnown = false;
  for (const partition of partitions) {
    const input: TopicPartition = { topic: 'user-actions', partition };
    const committed = await log.committed(config.appId, input);
    if (committed === undefined) continue;
    isKnown = true;
    const { offset: from } = committed;
    const metadata = decodeMetadata(committed.metadata, input);
    checkMetadata(metadata, owner, input);
    const to = Math.min(from, await offsetOf(log, input, target, from));
    if (to === from && metadata.unfinished === undefined) continue;
    plans.push({ partition, from, metadata, seed: await newestSeed(owner, metadata, input, to) });
  }
  if (!isKnown) throw new FreshetError('APP_UNKNOWN', config.appId);
  return plans;
}

function checkMetadata(
  { layout, unfinished, movedTo }: CommitMetadata,
  { config }: ResetOwner,
  position: TopicPartition,
): void {
  if (movedTo !== undefined) throw new FreshetError('APP_MOVED', movedTo, { position });
  if (unfinished === 'migrate') throw new FreshetError('STATE_MOVE_UNFINISHED', 'freshet migrate', { position });
  const configured = stateLayoutHash(layoutOf(config));
  if (layout === configured) return;
  throw new FreshetError('LAYOUT_CHANGED', `layout ${layout} was written, ${configured} is configured`, { position });
}

async function offsetOf(log: Log, input: TopicPartition, target: ResetTarget, end: number): Promise<number> {
  if ('offset' in target) return target.offset;
  for await (const { offset, timestampMs } of records(log, input, await log.startOffset(input), end)) {
    if (timestampMs >= target.timeMs) return offset;
  }
  return end;
}

/** Null: the beginning, which has to be there. */
async function newestSeed(
  { config, log, logger }: ResetOwner,
  committed: CommitMetadata,
  input: TopicPartition,
  target: number,
): Promise<Seed | null> {
  const start = await log.startOffset(input);
  const onUnusable = (name: string, { code, message }: FreshetError): void => {
    logger.warn({ code, snapshot: name }, `a snapshot cannot be used: ${message}`);
  };
  const seeds = await listSeeds(config, input.partition, { committed, onUnusable });
  const seed = seeds.findLast(({ offset }) => offset <= target && offset >= start);
  const { seededFrom } = committed;
  if (seed !== undefined || (start === 0 && seededFrom === undefined)) return seed ?? null;
  const why =
    seededFrom === undefined ? `the input begins at ${start}` : `it began with the state of ${seededFrom.appId}`;
  const detail = `no snapshot is as of ${start} to ${target}, and ${why}`;
  const remedy = 'Go back to an offset that a snapshot is as of (`freshet snapshot list`).';
  throw new FreshetError('OFFSET_OUT_OF_RANGE', detail, { position: { ...input, offset: target }, remedy });
}
