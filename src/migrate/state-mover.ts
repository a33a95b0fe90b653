/**
 * Writes other states over those that a task has committed, user by user, in commits of bounded size. Until the last of
 * them the task's metadata says that it is unfinished, so that no task goes on from a mixture; whoever writes again, after
 * a crash too, ends in the same.
 */
import type { ItemTable } from '../intent/item-table.ts';
import type { Scorer } from '../intent/scorer.ts';
import type { NewRecord, TaskWriter, TopicPartition } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { encodeMetadata, type CommitMetadata } from '../task/commit-metadata.ts';
import { Featurizer } from '../task/features.ts';
import { outputEnds } from '../task/output-ends.ts';
import { revisionAfter, type Revision } from '../task/revision.ts';
import type { Layout } from '../../state/layout.ts';
import { StateCodec } from '../../state/state-codec.ts';
import type { UserState } from '../../state/user-state.ts';

/** What becomes of one user. */
export interface UserMove {
  readonly userId: string;
  /** Whether a tombstone comes first: behind one a user begins anew, also with a lower version. */
  readonly isRemoved: boolean;
  readonly after: { readonly state: UserState; readonly table: ItemTable } | null;
  /** Newest arrival that is known of the user, milliseconds since the epoch: the timestamp of what is written. */
  readonly timestampMs: number;
  /** Of `action-history`. */
  readonly history: readonly Pick<NewRecord, 'key' | 'value'>[];
}

export interface StateMoverOptions {
  readonly layout: Layout;
  readonly codec: Codec;
  readonly loadScorer: () => Promise<Scorer>;
  readonly writer: TaskWriter;
  readonly input: TopicPartition;
  /** What stays committed until the end. */
  readonly offset: number;
  readonly metadata: CommitMetadata;
  readonly kind: NonNullable<CommitMetadata['unfinished']>;
  /** A commit is written once it has about this much. */
  readonly maxOutputBytes: number;
  /** Users scored and held together; by default 1,000. */
  readonly maxUsers?: number;
}

export interface Moved {
  readonly removed: number;
  readonly written: number;
}

const MAX_USERS = 1_000;

export class StateMover {
  /** With the ends of the outputs as they are by now. */
  private metadata: CommitMetadata;
  private readonly options: StateMoverOptions;
  private featurizer: Featurizer | undefined;
  private moves: UserMove[] = [];
  private bytes = 0;
  private removed = 0;
  private written = 0;

  constructor(options: StateMoverOptions) {
    this.options = options;
    this.metadata = options.metadata;
  }

  /** Says that a move has begun, durably: from here on it has to be finished. */
  begin(): Promise<void> {
    return this.commit([], this.options.offset, { unfinished: this.options.kind });
  }

  async add(move: UserMove): Promise<void> {
    this.moves.push(move);
    for (const { value } of move.history) this.bytes += value?.length ?? 0;
    const { maxUsers = MAX_USERS, maxOutputBytes } = this.options;
    if (this.moves.length >= maxUsers || this.bytes >= maxOutputBytes) await this.flush();
  }

  /** The last commit: tasks go on from `offset`, with `metadata` beside the ends of the outputs. */
  async finish(offset: number, metadata: Partial<CommitMetadata>): Promise<Moved> {
    await this.flush();
    await this.commit([], offset, { ...metadata, unfinished: undefined });
    return { removed: this.removed, written: this.written };
  }

  private async flush(): Promise<void> {
    const outputs = await this.outputs();
    this.moves = [];
    this.bytes = 0;
    if (outputs.length > 0) await this.commit(outputs, this.options.offset, { unfinished: this.options.kind });
  }

  private async outputs(): Promise<NewRecord[]> {
    const revisions = this.moves.flatMap((move, place) => revisionOf(move, place) ?? []);
    const values = new Map<number, Buffer | null>();
    if (revisions.length > 0) {
      const { layout, codec, loadScorer } = this.options;
      const stateCodec = new StateCodec(layout);
      this.featurizer ??= new Featurizer({ layout, codec, stateCodec, scorer: await loadScorer() });
      for (const { revision, features } of await this.featurizer.features(revisions)) {
        values.set(revision.place, features);
      }
    }
    const { partition } = this.options.input;
    return this.moves.flatMap(({ userId, isRemoved, timestampMs, history }, place) => {
      const features = { topic: 'sequence-features', partition, timestampMs, key: Buffer.from(userId) };
      const value = values.get(place);
      this.removed += isRemoved ? 1 : 0;
      this.written += value === undefined ? 0 : 1;
      return [
        ...history.map((record) => ({ topic: 'action-history', partition, timestampMs, ...record })),
        ...(isRemoved ? [{ ...features, value: null }] : []),
        ...(value === undefined ? [] : [{ ...features, value }]),
      ];
    });
  }

  private async commit(outputs: readonly NewRecord[], offset: number, more: Partial<CommitMetadata>): Promise<void> {
    const { writer, input } = this.options;
    const { partition } = input;
    let metadata = this.metadata;
    await writer.commit({
      outputs,
      offsets: [{ input, offset }],
      metadata: (ends) => {
        const endOf = outputEnds(outputs, ends);
        const end = (topic: string, before: number): number => endOf({ topic, partition }, before);
        metadata = {
          ...this.metadata,
          ...more,
          featuresEnd: end('sequence-features', this.metadata.featuresEnd),
          historyEnd: end('action-history', this.metadata.historyEnd),
          committedAtMs: Date.now(),
        };
        return encodeMetadata(metadata);
      },
    });
    this.metadata = metadata;
  }
}

function revisionOf({ userId, after, timestampMs }: UserMove, place: number): Revision | undefined {
  if (after === null) return undefined;
  const { state, table } = after;
  const made = { state, outcome: 'accepted', chunks: [], fold: 'refold' } as const;
  const emission = { place, table, arrivalTimeMs: timestampMs, isClosed: true, isEmitted: true };
  return revisionAfter(undefined, { userId, state: null, cache: null }, made, emission);
}
