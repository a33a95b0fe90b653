/**
 * What must hold of the join whatever the timing: how its two inputs interleave, where commits are cut, whether the
 * store is still there, and where a process died.
 */
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import type { JoinStepPoint, JoinTask } from '../src/join/join-task.ts';
import type { LogRecord } from '../src/log/log.ts';
import type { Action } from '../state/action.ts';
import type { TopicName } from '../topics/index.ts';
import { codec, expectedOf, JoinStream, writtenOf, type Written } from './join-harness.ts';
import { FC_OPTIONS } from './support/seed.ts';

type Input =
  | {
      readonly side: 'features';
      readonly userId: string;
      readonly window: Action[];
      readonly hiddenPositions: number[];
    }
  | { readonly side: 'vector'; readonly userId: string; readonly vector: number[] }
  | { readonly side: 'sequence-features' | 'user-embeddings'; readonly userId: string; readonly tombstone: true };

/** What happens after an input record: nothing, a commit, or a process that ends somewhere in one. */
type Event = 'none' | 'step' | 'restart' | 'restart without a store' | JoinStepPoint;

const user = fc.constantFrom('a', 'b', 'ü');
const action: fc.Arbitrary<Action> = fc.record({
  eventTimeMs: fc.integer({ min: 0, max: 50 }),
  itemId: fc.constantFrom('i1', 'i2', 'ï3', '𐀀'),
  actionType: fc.constantFrom('view', 'like', 'unlike'),
  surface: fc.constantFrom('', 'web', '\uffee', '😀'),
});
const features: fc.Arbitrary<Input> = fc
  .record({
    userId: user,
    window: fc.array(action, { maxLength: 7 }).map((each) => each.sort((a, b) => a.eventTimeMs - b.eventTimeMs)),
    hidden: fc.uniqueArray(fc.integer({ min: 0, max: 6 }), { maxLength: 4 }),
  })
  .map(({ userId, window, hidden }) => {
    const hiddenPositions = hidden.filter((at) => at < window.length).sort((a, b) => a - b);
    return { side: 'features', userId, window, hiddenPositions };
  });
const input: fc.Arbitrary<Input> = fc.oneof(
  { weight: 6, arbitrary: features },
  {
    weight: 4,
    arbitrary: fc.record({
      side: fc.constant('vector' as const),
      userId: user,
      // Empty and non-finite ones are to be skipped.
      vector: fc.array(fc.constantFrom(0, 0.5, -2, Number.NaN), { maxLength: 3 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      side: fc.constantFrom('sequence-features' as const, 'user-embeddings' as const),
      userId: user,
      tombstone: fc.constant(true as const),
    }),
  },
);
const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 18, arbitrary: fc.constantFrom<Event>('none', 'step') },
  { weight: 1, arbitrary: fc.constantFrom<Event>('restart', 'restart without a store') },
  { weight: 1, arbitrary: fc.constantFrom<Event>('read', 'joined', 'log-committed', 'store-committed') },
);
const script = fc.array(fc.tuple(input, event), { minLength: 1, maxLength: 14 });

/** Opening a log takes longer than a script: several share one and its task, each with users of its own. */
const SCRIPTS_PER_LOG = 20;

class Arena {
  readonly stream: JoinStream;
  task: JoinTask;
  scripts = 0;
  /** The task dies at this point of a step. */
  killAt: JoinStepPoint | undefined;

  private constructor(stream: JoinStream, task: JoinTask) {
    this.stream = stream;
    this.task = task;
  }

  static async open(commitMaxRecords: number): Promise<Arena> {
    const stream = await JoinStream.open({ commitMaxRecords });
    const arena: Arena = new Arena(stream, await stream.task({ onStep: (point) => arena.die(point) }));
    return arena;
  }

  async restart(): Promise<void> {
    this.task = await this.stream.task({ onStep: (point) => this.die(point) });
  }

  async close(): Promise<void> {
    await this.task.close();
    await this.stream.close();
  }

  private die(point: JoinStepPoint): void {
    if (point === this.killAt) throw new Killed();
  }
}

class Killed extends Error {}

const arenas = new Map<number, Arena>();
afterAll(async () => {
  for (const arena of arenas.values()) await arena.close();
});

async function arenaOf(commitMaxRecords: number): Promise<Arena> {
  let arena = arenas.get(commitMaxRecords);
  if (arena === undefined || arena.scripts === SCRIPTS_PER_LOG) {
    await arena?.close();
    arena = await Arena.open(commitMaxRecords);
    arenas.set(commitMaxRecords, arena);
  }
  arena.scripts += 1;
  return arena;
}

async function append(stream: JoinStream, each: Input, userId: string, timestampMs: number): Promise<void> {
  if (each.side === 'features') await stream.features({ ...each, userId, timestampMs });
  else if (each.side === 'vector') await stream.vector({ ...each, userId, timestampMs });
  else await stream.append(each.side, userId, null, timestampMs);
}

/** Plays a script; the join is run to the end of both inputs at last. */
async function play(arena: Arena, steps: readonly (readonly [Input, Event])[]): Promise<void> {
  for (const [index, [each, happens]] of steps.entries()) {
    // Arrival times go up and down, so that neither side's is always the newer one.
    await append(arena.stream, each, `${arena.scripts}-${each.userId}`, 1_000 + ((index * 7) % 5));
    if (happens === 'none') continue;
    if (happens === 'step') {
      await arena.task.step();
      continue;
    }
    if (happens !== 'restart' && happens !== 'restart without a store') {
      arena.killAt = happens;
      await expect(arena.task.step()).rejects.toThrow(Killed);
      arena.killAt = undefined;
    }
    await arena.task.close();
    if (happens === 'restart without a store') arena.stream.deleteStore();
    await arena.restart();
  }
  while ((await arena.task.step()).records > 0);
}

const isUsable = ({ value }: LogRecord): boolean => {
  if (value === null) return true;
  const { vector } = codec.decode<{ vector: number[] }>('user-embeddings-value', value);
  return vector.length > 0 && vector.every(Number.isFinite);
};

interface Inputs {
  readonly features: readonly LogRecord[];
  readonly embeddings: readonly LogRecord[];
}

/** The records of the script's own users. */
async function readOwn({ stream, scripts }: Arena, topic: TopicName): Promise<LogRecord[]> {
  return (await stream.read(topic)).filter(({ key }) => key!.toString().startsWith(`${scripts}-`));
}

const inputsOf = async (arena: Arena): Promise<Inputs> => ({
  features: await readOwn(arena, 'sequence-features'),
  embeddings: (await readOwn(arena, 'user-embeddings')).filter(isUsable),
});

const newestOf = (records: readonly LogRecord[], userId: string): LogRecord | undefined => {
  const newest = records.findLast(({ key }) => key!.toString() === userId);
  return newest?.value === null ? undefined : newest;
};

/** What must stand last for each user of the inputs: null for none or a tombstone. */
function expectedNewest({ features, embeddings }: Inputs): [string, Written | null][] {
  const userIds = new Set([...features, ...embeddings].map(({ key }) => key!.toString()));
  return [...userIds]
    .sort()
    .map((userId) => [userId, expectedOf(userId, newestOf(features, userId), newestOf(embeddings, userId))]);
}

const writtenNewest = (emitted: readonly LogRecord[], inputs: Inputs): [string, Written | null][] =>
  expectedNewest(inputs).map(([userId]) => {
    const newest = emitted.findLast(({ key }) => key!.toString() === userId);
    return [userId, newest === undefined ? null : writtenOf(newest)];
  });

/** Every record equals the one recomputed from the positions that it names, and is not the one before it again. */
async function checkEmitted(stream: JoinStream, emitted: readonly LogRecord[]): Promise<void> {
  const [features, embeddings] = [await stream.read('sequence-features'), await stream.read('user-embeddings')];
  const last = new Map<string, string | null>();
  for (const record of emitted) {
    const userId = record.key!.toString();
    const written = writtenOf(record);
    expect(written?.body ?? null, 'the same pair is not written twice').not.toBe(last.get(userId) ?? null);
    last.set(userId, written?.body ?? null);
    if (record.value === null) continue;
    const { realtime, longTerm } = codec.decode<Record<'realtime' | 'longTerm', { offset: number } | null>>(
      'ranking-features-value',
      record.value,
    );
    const [left, right] = [realtime && features[realtime.offset], longTerm && embeddings[longTerm.offset]];
    expect(written).toEqual(expectedOf(userId, left ?? undefined, right ?? undefined));
  }
}

describe('the join', () => {
  it('ends with the newest pair, and every record is a function of its pair, whatever happens in between', async () => {
    await fc.assert(
      fc.asyncProperty(script, fc.constantFrom(1, 3, 20_000), async (steps, commitMaxRecords) => {
        const arena = await arenaOf(commitMaxRecords);
        await play(arena, steps);
        const emitted = await readOwn(arena, 'ranking-features');
        const inputs = await inputsOf(arena);
        expect(writtenNewest(emitted, inputs)).toEqual(expectedNewest(inputs));
        await checkEmitted(arena.stream, emitted);
      }),
      FC_OPTIONS,
    );
  });
});
