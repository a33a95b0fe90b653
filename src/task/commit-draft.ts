/** What one commit will write: its records in the log, its changes in the store, and the users to keep in memory. */
import { ByteBlocks } from '../base/byte-blocks.ts';
import { invariant } from '../base/errors.ts';
import type { NewRecord } from '../log/log.ts';
import type { UserState } from '../../state/user-state.ts';
import type { Featured, Featurizer } from './features.ts';
import type { Revision } from './revision.ts';
import { storable, type CachedUser } from './score-cache.ts';
import type { UserChange } from './user-store.ts';

const TOPIC = 'sequence-features';
/** Users scored and described together: enough to fill the batches of the model with rows of like length. */
export const FEATURED_USERS = 1_000;

export class CommitDraft {
  /** Features records among the outputs. */
  features = 0;
  /** By user. */
  readonly changes = new Map<string, UserChange>();
  /** The last changed users, decoded. */
  readonly decoded = new Map<string, CachedUser<UserState>>();
  /** By the revision's place; undefined where a user came and went. */
  private readonly places: (NewRecord | undefined)[] = [];
  private readonly records = new ByteBlocks();
  private readonly partition: number;
  private readonly featurizer: Featurizer;
  private readonly decodedMax: number;

  /** @param decodedMax - decoded users that are kept: no more than the task's cache will take. */
  constructor(options: { readonly partition: number; readonly featurizer: Featurizer; readonly decodedMax: number }) {
    this.partition = options.partition;
    this.featurizer = options.featurizer;
    this.decodedMax = options.decodedMax;
  }

  /**
   * Scores and describes further revisions, some at a time: what was made of one stays, its state goes.
   *
   * @param revisions - emptied.
   */
  async add(revisions: Revision[]): Promise<void> {
    for (const revision of revisions) {
      this.places.push(undefined);
      if (revision.state === null) this.remove(revision);
    }
    const rounds = roundsOf(revisions);
    revisions.length = 0;
    for (const round of rounds) {
      while (round.length > 0) {
        for (const each of await this.featurizer.features(round.splice(0, FEATURED_USERS), this.records))
          this.write(each);
      }
    }
  }

  /** In order of the revisions. */
  get outputs(): NewRecord[] {
    return this.places.filter((record) => record !== undefined);
  }

  /** To be called when log and store hold the commit: the memory of its records is used again. */
  release(): void {
    this.records.release();
  }

  private write({ revision, state, cache, stateBody, features }: Featured): void {
    invariant(features !== null, 'a commit emits all its revisions');
    this.output(revision, features);
    this.features += 1;
    if (stateBody === null) return;
    const { userId } = revision;
    this.changes.set(userId, { userId, stateBody, cache: storable(cache) });
    this.decoded.delete(userId);
    this.decoded.set(userId, { state, cache });
    if (this.decoded.size > this.decodedMax) this.decoded.delete(this.decoded.keys().next().value!);
  }

  private remove(revision: Revision): void {
    if (!revision.existed) return;
    this.output(revision, null);
    if (!revision.isNewest) return;
    const { userId } = revision;
    this.changes.set(userId, { userId, stateBody: null, cache: null });
    this.decoded.delete(userId);
  }

  private output({ place, userId, arrivalTimeMs }: Revision, value: Buffer | null): void {
    const key = Buffer.from(userId);
    this.places[place] = { topic: TOPIC, partition: this.partition, timestampMs: arrivalTimeMs, key, value };
  }
}

/** Revisions with a state, by how many others have to be folded before them. */
export function roundsOf(revisions: readonly Revision[]): Revision[][] {
  const rounds: Revision[][] = [];
  for (const revision of revisions) {
    if (revision.state !== null) (rounds[revision.depth] ??= []).push(revision);
  }
  return rounds;
}
