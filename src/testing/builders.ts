/** What goes into a test: actions, the log of a user, item vectors. */
import { FreshetError } from '../base/errors.ts';
import { quantize, readVector } from '../ingest/vector-value.ts';
import type { ItemTable } from '../intent/item-table.ts';
import { ageMs, timeMs, type Age, type Time } from './clock.ts';

export interface TestAction {
  readonly userId: string;
  readonly itemId: string;
  readonly actionType: string;
  /** Null: at the time of the clock, which a stream moves on by a minute before each such action. */
  readonly eventTimeMs: number | null;
  /** Null: where the logger did not say. */
  readonly surface: string | null;
  /** The record's timestamp; null: as the event. */
  readonly arrivalTimeMs: number | null;
}

export interface ActionDetails {
  /** Default `user`. */
  readonly userId?: string;
  readonly at?: Time;
  readonly surface?: string;
  readonly arrivesAt?: Time;
}

/** One action of a user, e.g. `action('view', 'a1')`. */
export const action = (actionType: string, itemId: string, details: ActionDetails = {}): TestAction => ({
  userId: details.userId ?? 'user',
  itemId,
  actionType,
  eventTimeMs: details.at === undefined ? null : timeMs(details.at),
  surface: details.surface ?? null,
  arrivalTimeMs: details.arrivesAt === undefined ? null : timeMs(details.arrivesAt),
});

/** The actions of one user, one after the other: `userLog('ann', '2026-01-01').did('view', 'a1').after('5m').did(…)`. */
export class UserLog implements Iterable<TestAction> {
  private readonly userId: string;
  private readonly actions: TestAction[] = [];
  private nowMs: number;

  constructor(userId: string, start: Time) {
    this.userId = userId;
    this.nowMs = timeMs(start);
  }

  did(actionType: string, itemId: string, details: Omit<ActionDetails, 'userId'> = {}): this {
    this.actions.push(action(actionType, itemId, { at: this.nowMs, ...details, userId: this.userId }));
    return this;
  }

  /** Time goes by before the next action. */
  after(age: Age): this {
    this.nowMs += ageMs(age);
    return this;
  }

  [Symbol.iterator](): Iterator<TestAction> {
    return this.actions[Symbol.iterator]();
  }
}

/** By default it begins with the year 2026. */
export const userLog = (userId: string, start: Time = Date.UTC(2026, 0, 1)): UserLog => new UserLog(userId, start);

/**
 * A version of item vectors, as the stream looks them up: 8-bit integers with a scale, rounded as `freshet vectors load`
 * does.
 *
 * @throws VECTOR_INVALID where a vector is none, or they differ in length.
 */
export function itemVectors(version: string, vectors: Readonly<Record<string, readonly number[]>>): ItemTable {
  const rows = new Map(
    Object.entries(vectors).map(([itemId, numbers]) => {
      const read = readVector(numbers);
      if (!Array.isArray(read)) throw new FreshetError('VECTOR_INVALID', `${itemId}: ${read ?? 'no vector'}`);
      const { vector, scale } = quantize(read);
      return [itemId, { values: new Int8Array(vector.buffer, vector.byteOffset, vector.length), scale }];
    }),
  );
  const dimensions = new Set(Array.from(rows.values(), ({ values }) => values.length));
  if (dimensions.size > 1)
    throw new FreshetError('VECTOR_INVALID', `vectors of ${[...dimensions].join(' and ')} numbers`);
  return { version, vector: (itemId) => rows.get(itemId) };
}
