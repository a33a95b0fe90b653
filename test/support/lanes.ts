/**
 * Places where many cases of a property run: each takes a fresh partition of a few logs that they share, as opening a
 * log costs more than running a case. The same case in another log has the same partition: it stands in the records.
 */
import fc from 'fast-check';
import { partitionOf } from '../../src/base/murmur2.ts';
import type { FeatureTask } from '../../src/task/feature-task.ts';
import { ACTIVATE_TEST_VERSION, publishTestVersion } from './item-version.ts';
import { actionRecord, Stream, type RawRecord } from './stream.ts';

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
export interface Input {
  readonly user: number | null;
  readonly make: (userId: string) => RawRecord;
}

export const ERASE = (userId: string): RawRecord => ({
  key: Buffer.from(userId),
  value: null,
  timestampMs: ARRIVAL_MS,
});
const UNREADABLE = (userId: string): RawRecord => ({ ...ERASE(userId), value: Buffer.from('?') });
export const NOBODY: Input = {
  user: null,
  make: () => ({ key: null, value: Buffer.from('?'), timestampMs: ARRIVAL_MS }),
};

export const user = fc.nat(USERS - 1);
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
export const inputs = fc.array(input, { minLength: 1, maxLength: 30, size: 'max' });

/** The partition of a case, the same in every log: it stands in the records. */
export interface Place {
  /** A log is full after as many cases as it has partitions. */
  readonly generation: number;
  readonly partition: number;
}

let cases = 0;
export function nextPlace(): Place {
  const place = { generation: Math.floor(cases / PARTITIONS), partition: cases % PARTITIONS };
  cases += 1;
  return place;
}

/** One log after another, all with the same configuration. */
export class Logs {
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
export interface Lane {
  readonly stream: Stream;
  readonly partition: number;
}

/** What is kept and what was emitted last. A tombstone is no features, as is no record at all. */
export async function outcome({ stream, partition }: Lane, task: FeatureTask): Promise<object> {
  const newest = [...(await stream.newestFeatures(partition))].filter(([, features]) => features !== null).sort();
  const states = await Array.fromAsync(task.states(), ({ userId, stateBody }) => [userId, stateBody.toString('hex')]);
  const history = new Map<string, string>();
  for (const { key, value } of await stream.read('action-history', partition)) {
    if (value === null) history.delete(key!.toString('hex'));
    else history.set(key!.toString('hex'), value.toString('hex'));
  }
  return { newest, states, history: [...history].sort() };
}

export async function run(lane: Lane): Promise<{ counts: object; outcome: object }> {
  const task = await lane.stream.task(lane.partition);
  while ((await task.step()).records > 0);
  const result = { counts: task.counts, outcome: await outcome(lane, task) };
  await task.close();
  return result;
}
