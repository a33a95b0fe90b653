/** Requests of one step of a replay whose user acts in the step before them: the step emits what they may know. */
import { invariant } from '../base/errors.ts';
import type { Featured } from '../task/features.ts';
import type { UserState } from '../../state/user-state.ts';
import type { PlacedRequest } from './placed-requests.ts';

interface PendingUser {
  /** In order of their positions. */
  readonly requests: PlacedRequest[];
  /** For each request that the rule has come to, the version that it may know of; null: the user was not there. */
  readonly versions: (number | null)[];
}

export class PendingRequests {
  private readonly users = new Map<string, PendingUser>();

  /** In order of their positions. */
  add(placed: PlacedRequest): void {
    const { userId } = placed.request;
    const user = this.users.get(userId);
    if (user === undefined) this.users.set(userId, { requests: [placed], versions: [] });
    else user.requests.push(placed);
  }

  /** Emits a user before a record behind one of its requests. */
  readonly rule = (userId: string, offset: number, state: UserState | null): boolean => {
    const user = this.users.get(userId);
    if (user === undefined) return false;
    const { requests, versions } = user;
    let isKnown = false;
    for (let at = versions.length; at < requests.length && requests[at]!.position <= offset; at += 1) {
      // A user is asked about first behind the record that made it: whoever stood before that one knew nothing.
      const version = state !== null && state.version < requests[at]!.position ? state.version : null;
      versions.push(version);
      isKnown ||= version !== null;
    }
    return isKnown;
  };

  /** What each may know, from what the step has emitted; null: nothing is known of the user. */
  *answers(featured: readonly Featured[]): Generator<[PlacedRequest, Featured | null]> {
    const emitted = new Map(featured.map((each) => [`${each.state.version} ${each.state.userId}`, each]));
    for (const [userId, { requests, versions }] of this.users) {
      for (const [index, placed] of requests.entries()) {
        const version = versions[index] ?? null;
        const features = version === null ? null : emitted.get(`${version} ${userId}`);
        invariant(features !== undefined, 'the step has emitted what a request may know');
        yield [placed, features];
      }
    }
  }
}
