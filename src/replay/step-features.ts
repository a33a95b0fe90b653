/** The features of a step's revisions, and the users that it leaves behind. */
import type { Scorer } from '../intent/scorer.ts';
import type { UserState } from '../../state/user-state.ts';
import { FEATURED_USERS, roundsOf } from '../task/commit-draft.ts';
import type { Featured, Featurizer } from '../task/features.ts';
import type { Revision } from '../task/revision.ts';
import { unfolded } from '../task/score-cache.ts';
import type { HeldUsers } from './held-users.ts';
import type { ReplayStep } from './step.ts';

export interface StepFeaturesOptions {
  readonly featurizer: Featurizer;
  readonly users: HeldUsers;
  readonly scorer: Pick<Scorer, 'hash' | 'hiddenSize'>;
}

/** Replaces the users as the step leaves them. */
export async function stepFeatures(
  revisions: readonly Revision[],
  { featurizer, users, scorer }: StepFeaturesOptions,
): Promise<Pick<ReplayStep, 'featured' | 'changed'>> {
  const featured: Featured[] = [];
  const changed = new Map<string, UserState | null>();
  const change = (userId: string, user: Parameters<HeldUsers['set']>[1]): void => {
    changed.set(userId, user?.state ?? null);
    users.set(userId, user);
  };
  for (const { userId, state, isNewest } of revisions) if (state === null && isNewest) change(userId, null);
  for (const round of roundsOf(revisions)) {
    while (round.length > 0) {
      for (const each of await featurizer.features(round.splice(0, FEATURED_USERS))) {
        const { revision, state } = each;
        if (revision.isEmitted) featured.push(each);
        if (!revision.isNewest) continue;
        const { userId, table } = revision;
        const isFinite = each.cache !== null && each.cache.score?.finite !== false;
        change(userId, { state, cache: isFinite ? each.cache : unfolded(table.version, scorer) });
      }
    }
  }
  return { featured, changed };
}
