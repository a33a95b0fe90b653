/** A user as it stood at a version: what a replay can begin from. */
import type { Scorer } from '../intent/scorer.ts';
import type { StateCodec } from '../../state/state-codec.ts';
import type { UserState } from '../../state/user-state.ts';
import { unfolded } from '../task/score-cache.ts';
import type { UserChange } from '../task/user-store.ts';

/** A user's state at a version, and the item vectors of its last record. */
export interface SeededUser {
  readonly state: UserState;
  readonly itemVersion: string | null;
}

/** A user who was gone at that place. */
export interface GoneUser {
  readonly userId: string;
  readonly state: null;
}

/** As a store takes them. */
export function* changesOf(
  users: Iterable<SeededUser | GoneUser>,
  { stateCodec, scorer }: { readonly stateCodec: StateCodec; readonly scorer: Pick<Scorer, 'hash' | 'hiddenSize'> },
): Generator<UserChange> {
  for (const user of users) {
    if (user.state === null) yield { userId: user.userId, stateBody: null, cache: null };
    else {
      const { state, itemVersion } = user;
      yield { userId: state.userId, stateBody: stateCodec.encode(state), cache: unfolded(itemVersion, scorer) };
    }
  }
}
