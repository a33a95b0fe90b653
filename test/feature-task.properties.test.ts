/**
 * What must hold of the task whatever the timing: where commits are cut, and whether the store is still there, changes
 * nothing in what is kept and what was emitted last; after an erase a user is new.
 *
 * A case takes a fresh partition of a few logs that many cases share: opening a log costs more than running a case.
 */
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { partitionOf } from '../src/base/murmur2.ts';
import type { FeatureTask } from '../src/task/feature-task.ts';
import { ACTIVATE_TEST_VERSION, publishTestVersion } from './support/item-version.ts';
import { FC_OPTIONS } from './support/seed.ts';
import { actionRecord, Stream, type RawRecord } from './support/stream.ts';

const PARTITIONS = 32;
const USERS = 4;
const ARRIVAL_MS = 1_000;
const LAYOUT = {
  partitions: PARTITIONS,
  sequences: [{ name: 'engagement', actionTypes: 'all', windowSize: 2, sealSize: 2, maxAgeMs: null }],
  // Two users in memory for each task: the others come from the store.
  cacheUsers: 2 * PARTITIONS,
};

/** Four user ids that murmur2 places in each partition. */
const USER_IDS: readonly (readonly string[])[] = userIdsByPartition();

function userIdsByPartition(): string[][] {
  const ids = Array.from({ length: PARTITIONS }, (): string[] => []);
  for (let next = 0; ids.some((each) => each.length < USERS); next += 1) {
    const placed = ids[partitionOf(Buffer.from(`user-${next}`), PARTITIONS)]!;
    if (placed.length < USERS) placed.push(`user-${next}`);
  }
  return ids;
}

/** An input record of the user of this number, in whichever partition the case runs; null: of nobody. */
interface Input {
  readonly user: number | null;
  readonly make: (userId: string) => RawRecord;
}

const ERASE = (userId: string): RawRecord => ({ key: Buffer.from(userId), value: null, timestampMs: ARRIVAL_MS });
const UNREADABLE = (userId: string): RawRecord => ({ ...ERASE(userId), value: Buffer.from('?') });
const NOBODY: Input = { user: null, make: () => ({ key: null, value: Buffer.from('?'), timestampMs: ARRIVAL_MS }) };

const user = fc.nat(USERS - 1);
const action = fc.record({
  itemId: fc.constantFrom('i1', 'i2', 'i3', 'unknown-item'),
  actionType: fc.constantFrom('view', 'like', 'unlike', 'not-a-type'),
  eventTimeMs: fc.integer({ min: 0, max: 30 }),
  surface: fc.constantFrom(null, 'web', 'ios'),
});
const ofUser = (make: (userId: string) => RawRecord): fc.Arbitrary<Input> =>
  user.map((number) => ({ user: number, make }));

/** Mostly actions; now and then an erase, an activation, a record that cannot be read. */
const input: fc.Arbitrary<Input> = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.tuple(user, action).map(([number, each]) => ({
      user: number,
      make: (userId: string) => actionRecord({ ...each, userId, arrivalTimeMs: ARRIVAL_MS }),
    })),
  },
  { weight: 1, arbitrary: ofUser(ERASE) },
  { weight: 1, arbitrary: ofUser(UNREADABLE) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('v1', 'v2')
      .map((version) => ({ user: null, make: () => ACTIVATE_TEST_VERSION[version]! })),
  },
);
// Without the size fast-check stops at ten records, too few to seal anything.
const inputs = fc.array(input, { minLength: 1, maxLength: 30, size: 'max' });

/** The partition of a case, the same in every log: it stands in the records. */
interface Place {
  /** A log is full after as many cases as it has partitions. */
  readonly generation: number;
  readonly partition: number;
}

let cases = 0;
function nextPlace(): Place {
  const place = { generation: Math.floor(cases / PARTITIONS), partition: cases % PARTITIONS };
  cases += 1;
  return place;
}

/** One log after another, all with the same configuration. */
class Logs {
  private readonly flags: object;
  private stream: Stream | undefined;
  private generation = -1;

  constructor(flags: object) {
    this.flags = flags;
  }

  async lane({ generation, partition }: Place, records: readonly Input[]): Promise<Lane> {
    if (this.stream === undefined || this.generation !== generation) {
      await this.close();
      this.generation = generation;
      this.stream = await Stream.open({ ...LAYOUT, ...this.flags });
      await publishTestVersion(this.stream);
    }
    const ids = USER_IDS[partition]!;
    await this.stream.append(...records.map((each) => ({ ...each.make(ids[each.user ?? 0]!), partition })));
    return { stream: this.stream, partition };
  }

  async close(): Promise<void> {
    await this.stream?.close();
  }
}

/** Where a case runs: one partition of one log, with one task at a time. */
interface Lane {
  readonly stream: Stream;
  readonly partition: number;
}

const WHOLE = new Logs({ commitMaxRecords: 1_000 });
const CUT = [1, 2, 3, 5, 8, 13].map((commitMaxRecords) => new Logs({ commitMaxRecords }));
const DISTURBED = new Logs({ commitMaxRecords: 8 });

afterAll(async () => {
  for (const logs of [WHOLE, ...CUT, DISTURBED]) await logs.close();
});

/** What is kept and what was emitted last. A tombstone is no features, as is no record at all. */
async function outcome({ stream, partition }: Lane, task: FeatureTask): Promise<object> {
  const newest = [...(await stream.newestFeatures(partition))].filter(([, features]) => features !== null).sort();
  const states = await Array.fromAsync(task.states(), ({ userId, stateBody }) => [userId, stateBody.toString('hex')]);
  const history = new Map<string, string>();
  for (const { key, value } of await stream.read('action-history', partition)) {
    if (value === null) history.delete(key!.toString('hex'));
    else history.set(key!.toString('hex'), value.toString('hex'));
  }
  return { newest, states, history: [...history].sort() };
}

async function run(lane: Lane): Promise<{ counts: object; outcome: object }> {
  const task = await lane.stream.task(lane.partition);
  while ((await task.step()).records > 0);
  const result = { counts: task.counts, outcome: await outcome(lane, task) };
  await task.close();
  return result;
}

describe('a feature task', () => {
  it('ends with the same features, states, history and counts wherever commits are cut', async () => {
    await fc.assert(
      fc.asyncProperty(inputs, fc.constantFrom(...CUT), async (records, cut) => {
        const place = nextPlace();
        const whole = await run(await WHOLE.lane(place, records));
        expect(await run(await cut.lane(place, records))).toEqual(whole);
      }),
      FC_OPTIONS,
    );
  });

  it('rebuilds a deleted store from the log, after any commit, and goes on as if nothing had happened', async () => {
    await fc.assert(
      fc.asyncProperty(inputs, fc.infiniteStream(fc.boolean()), async (records, deleteStore) => {
        const place = nextPlace();
        const undisturbed = await run(await WHOLE.lane(place, records));
        const lane = await DISTURBED.lane(place, records);
        const { stream, partition } = lane;
        for (let task = await stream.task(partition); ; task = await stream.task(partition)) {
          const { records: consumed } = await task.step();
          const result = consumed === 0 ? { counts: task.counts, outcome: await outcome(lane, task) } : undefined;
          await task.close();
          if (deleteStore.next().value) stream.deleteStore(partition);
          if (result === undefined) continue;
          expect(result).toEqual(undisturbed);
          break;
        }
      }),
      FC_OPTIONS,
    );
  });

  it('makes a new user of what follows an erase', async () => {
    await fc.assert(
      fc.asyncProperty(inputs, user, inputs, async (before, erased, after) => {
        const place = nextPlace();
        const replayed = await run(await WHOLE.lane(place, [...before, { user: erased, make: ERASE }, ...after]));
        // The same offsets, but nothing of the user before the erase.
        const unknown = before.map((each) => (each.user === erased ? NOBODY : each));
        const fresh = await run(await CUT[3]!.lane(place, [...unknown, NOBODY, ...after]));
        expect(replayed.outcome).toEqual(fresh.outcome);
      }),
      FC_OPTIONS,
    );
  });
});
