/** The features records of a step, by their users, and what a replay is to make beside them. */
import type { EmitRule } from '../task/batch.ts';
import type { Recorded } from './recorded.ts';

/** Versions ascending; what was handed out late stands first. */
export function byUser(all: readonly Recorded[]): Map<string, Recorded[]> {
  const users = new Map<string, Recorded[]>();
  for (const recorded of all) {
    const ofUser = users.get(recorded.userId);
    if (ofUser === undefined) users.set(recorded.userId, [recorded]);
    else ofUser.push(recorded);
  }
  for (const ofUser of users.values()) ofUser.sort((a, b) => a.version - b.version);
  return users;
}

/** Emits a user wherever one of the versions lies behind it. */
export function ruleOf(found: ReadonlyMap<string, readonly Recorded[]>): EmitRule {
  const next = new Map<string, number>();
  return (userId, offset) => {
    const ofUser = found.get(userId);
    if (ofUser === undefined) return false;
    const first = next.get(userId) ?? 0;
    let at = first;
    while (at < ofUser.length && ofUser[at]!.version < offset) at += 1;
    next.set(userId, at);
    return at > first;
  };
}
