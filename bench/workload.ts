/**
 * The workload of the benchmarks: actions of users drawn by Zipf's law (exponent 0.8) on items drawn likewise, in order
 * of event time but for a few late loggers, with a few actions logged twice. Seeded: every run gets the same actions.
 * Ids are UUIDs, and a commit takes 20,000 records of a partition, as configured by default: the features records are
 * 1.4 KB on average, most of it the ids of the 15 actions of the average window.
 */
import { createHash } from 'node:crypto';
import { randomFrom } from '../test/support/random.ts';
import type { Action } from '../state/action.ts';

export interface Workload {
  readonly actions: number;
  readonly users: number;
  readonly items: number;
  readonly seed: number;
}

export const WORKLOAD: Workload = { actions: 1_200_000, users: 38_000, items: 20_000, seed: 7 };

const TYPES = ['view', 'view', 'view', 'view', 'view', 'view', 'like', 'bookmark', 'comment', 'unlike'];
const SURFACES = ['web', 'android', 'ios', ''];
const START_MS = Date.UTC(2026, 0, 1);
/** Mean time between two actions of anybody, so that 1.2 million take a week. */
const STEP_MS = 504;

export interface UserAction {
  readonly userId: string;
  readonly action: Action;
  readonly arrivalTimeMs: number;
}

export function* workload({ actions, users, items, seed }: Workload): Generator<UserAction> {
  const random = randomFrom(seed);
  const drawUser = zipf(users, 0.8, random);
  const drawItem = zipf(items, 0.8, random);
  const userIds = Array.from({ length: users }, (_, index) => id('user', index));
  const itemIds = Array.from({ length: items }, (_, index) => id('item', index));
  let timeMs = START_MS;
  let last: UserAction | undefined;
  for (let index = 0; index < actions; index += 1) {
    timeMs += Math.floor(random() * 2 * STEP_MS);
    if (last !== undefined && random() < 0.03) {
      yield { ...last, action: { ...last.action, surface: 'web' } };
      continue;
    }
    const lateByMs = random() < 0.02 ? Math.floor(random() * 600_000) : 0;
    last = {
      userId: userIds[drawUser()]!,
      action: {
        eventTimeMs: timeMs - lateByMs,
        itemId: itemIds[drawItem()]!,
        actionType: TYPES[Math.floor(random() * TYPES.length)]!,
        surface: SURFACES[Math.floor(random() * SURFACES.length)]!,
      },
      arrivalTimeMs: timeMs,
    };
    yield last;
  }
}

/** A UUID of the kind and index: 36 bytes, as many applications have them. */
export function id(kind: 'user' | 'item', index: number): string {
  const hex = createHash('md5').update(`${kind} ${index}`).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Deterministic vectors, one an item, int8. */
export function itemVector(index: number, dimension: number): Int8Array {
  const random = randomFrom(index + 1);
  return Int8Array.from({ length: dimension }, () => Math.floor(random() * 255) - 127);
}

function zipf(count: number, exponent: number, random: () => number): () => number {
  const cumulative = new Float64Array(count);
  let sum = 0;
  for (let rank = 0; rank < count; rank += 1) cumulative[rank] = sum += 1 / (rank + 1) ** exponent;
  return () => {
    const at = random() * sum;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (cumulative[middle]! < at) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}
