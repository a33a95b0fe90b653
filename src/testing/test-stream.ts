/**
 * A stream in memory: what the feature task does with one partition, by the same functions, without log, store and
 * commits. Actions go in, features come out; whatever the task would make of the same records, this makes of them.
 */
import { z } from 'zod';
import { configuration } from '../base/config-schema.ts';
import { FreshetError } from '../base/errors.ts';
import { EMPTY_TABLE, type ItemTable } from '../intent/item-table.ts';
import type { Scorer } from '../intent/scorer.ts';
import { boundedType } from '../serde/bounded-type.ts';
import { Featurizer } from '../task/features.ts';
import { judge, type Cause, type JudgeOptions } from '../task/judge.ts';
import { revisionAfter } from '../task/revision.ts';
import type { Action } from '../../state/action.ts';
import { layoutOf, type Layout } from '../../state/layout.ts';
import { reduce, type Outcome, type UserRecord } from '../../state/reducer.ts';
import { StateCodec } from '../../state/state-codec.ts';
import type { UserState } from '../../state/user-state.ts';
import { shippedSchema } from '../../topics/index.ts';
import type { SequenceFeaturesRecord, UserActionRecord } from '../../topics/records.ts';
import type { TestAction } from './builders.ts';
import { FakeClock } from './clock.ts';
import { UserFeatures } from './user-features.ts';
import { zeroScorer, ZERO_SCORER_HASH } from './zero-scorer.ts';

/** Keys as in freshet.config.json; those that are absent have their defaults. */
export type TestConfig = z.input<typeof configuration>;

export interface TestStreamOptions {
  readonly config?: TestConfig;
  /** Default: a stand-in that gives zeros. `shippedScorer()` loads the model that Freshet ships. */
  readonly scorer?: Scorer;
  readonly clock?: FakeClock;
}

export interface TestOutcome {
  readonly offset: number;
  /** What became of the record; a rejected one has its cause. */
  readonly outcome: Outcome | Cause;
  readonly detail: string | null;
}

interface Kept {
  readonly state: UserState;
  readonly arrivalTimeMs: number;
  /** The item vectors in force at the user's last record. */
  readonly table: ItemTable;
}

const STEP = '1m';
const PARTITION = 0;
const FEATURES = boundedType(shippedSchema('sequence-features-value'));

export class TestStream {
  readonly clock: FakeClock;
  private readonly layout: Layout;
  private readonly judging: Omit<JudgeOptions, 'codec'>;
  private readonly featurizer: Featurizer;
  private readonly isScored: boolean;
  private readonly users = new Map<string, Kept>();
  private readonly chunks = new Map<string, Action[]>();
  private table: ItemTable = EMPTY_TABLE;
  private offset = 0;

  /** @throws CONFIG_INVALID */
  constructor({ config = {}, scorer, clock = new FakeClock() }: TestStreamOptions = {}) {
    const parsed = configuration.safeParse(config);
    if (!parsed.success) throw new FreshetError('CONFIG_INVALID', z.prettifyError(parsed.error));
    const keys = parsed.data;
    this.clock = clock;
    this.layout = layoutOf(keys);
    this.judging = { ...keys, partition: PARTITION, partitions: 1, actionTypes: new Set(keys.actionTypes) };
    const asked = scorer ?? zeroScorer(keys.actionTypes);
    this.isScored = asked.hash !== ZERO_SCORER_HASH;
    this.featurizer = new Featurizer({
      ...{ layout: this.layout, scorer: asked, stateCodec: new StateCodec(this.layout) },
      codec: { frame: (_subject, body) => body },
    });
  }

  /** Takes actions in the order of their arrival. */
  send(...actions: readonly (TestAction | Iterable<TestAction>)[]): TestOutcome[] {
    return actions.flatMap((each) => (Symbol.iterator in each ? [...each] : [each])).map((each) => this.take(each));
  }

  /** Everything kept of the user goes. */
  erase(userId: string): TestOutcome {
    return this.apply(userId, { kind: 'erase', ...this.next() });
  }

  /** The user goes unless a record was consumed for it since `seenVersion`; by default the present one. */
  expire(userId: string, seenVersion = this.users.get(userId)?.state.version ?? -1): TestOutcome {
    return this.apply(userId, { kind: 'expire', ...this.next(), seenVersion });
  }

  /** From here on windows are folded under these item vectors, each user's from its next record on. */
  activate(table: ItemTable): void {
    this.table = table;
    this.offset += 1;
  }

  /** The user's newest features; null where nothing is kept of it. */
  async features(userId: string): Promise<UserFeatures | null> {
    const kept = this.users.get(userId);
    if (kept === undefined) return null;
    const { state, table, arrivalTimeMs } = kept;
    const revision = revisionAfter(
      undefined,
      { userId, state: null, cache: null },
      { state, outcome: 'accepted', chunks: [], fold: 'refold' },
      { place: 0, table, arrivalTimeMs, isClosed: false, isEmitted: true },
    );
    const [featured] = await this.featurizer.features([revision]);
    const record = FEATURES.fromBuffer(featured!.features!) as SequenceFeaturesRecord;
    return new UserFeatures(record, this.layout, this.isScored);
  }

  /** The user's sealed actions, oldest first. */
  history(userId: string, sequence = this.layout.sequences[this.layout.scored]!.name): readonly Action[] {
    return this.chunks.get(historyName(userId, sequence)) ?? [];
  }

  private take(action: TestAction): TestOutcome {
    const { userId, itemId, actionType, surface } = action;
    const eventTimeMs = action.eventTimeMs ?? this.clock.advance(STEP);
    const timestampMs = action.arrivalTimeMs ?? eventTimeMs;
    const value: UserActionRecord = { userId, itemId, actionType, eventTimeMs, surface };
    const record = { offset: this.offset, timestampMs, key: Buffer.from(userId), value: Buffer.alloc(0), headers: {} };
    // The value need not be bytes to be judged.
    const judged = judge(record, { ...this.judging, codec: { decode: <T>() => value as T } });
    this.offset += 1;
    if (judged.kind === 'activation') throw new FreshetError('INTERNAL', 'an action was judged to be an activation');
    if (judged.kind === 'user') {
      const applied = this.apply(judged.userId, judged.record);
      if (judged.rejection === null) return applied;
    }
    const { cause, detail } = judged.rejection!;
    return { offset: record.offset, outcome: cause, detail };
  }

  private apply(userId: string, record: UserRecord): TestOutcome {
    const before = this.users.get(userId)?.state ?? null;
    const { state, outcome, chunks } = reduce(before, record, { userId, partition: PARTITION }, this.layout);
    if (state === null) this.remove(userId);
    else this.users.set(userId, { state, arrivalTimeMs: record.arrivalTimeMs, table: this.table });
    for (const { sequence, actions } of chunks) {
      const name = historyName(userId, sequence);
      this.chunks.set(name, [...(this.chunks.get(name) ?? []), ...actions]);
    }
    return { offset: record.offset, outcome, detail: null };
  }

  private remove(userId: string): void {
    this.users.delete(userId);
    for (const { name } of this.layout.sequences) this.chunks.delete(historyName(userId, name));
  }

  private next(): { offset: number; arrivalTimeMs: number } {
    return { offset: this.offset++, arrivalTimeMs: this.clock.nowMs };
  }
}

const historyName = (userId: string, sequence: string): string => JSON.stringify([userId, sequence]);

/**
 * The features of one user after these actions, on a stream of their own.
 *
 * @throws UNKNOWN_USER where none of them was taken.
 */
export async function featuresOf(
  actions: Iterable<TestAction>,
  options: TestStreamOptions = {},
): Promise<UserFeatures> {
  const stream = new TestStream(options);
  const sent = [...actions];
  const outcomes = stream.send(...sent);
  const users = new Set(sent.map(({ userId }) => userId));
  if (users.size > 1) throw new FreshetError('USAGE', 'the actions are of more than one user: use a TestStream');
  const features = await stream.features(sent[0]?.userId ?? '');
  if (features !== null) return features;
  const told = outcomes.map(({ outcome, detail }) => (detail === null ? outcome : `${outcome} (${detail})`));
  throw new FreshetError('UNKNOWN_USER', `no action was taken: ${told.join(', ')}`);
}
