/** Real users' actions as a log might bring them: some at one moment, undone, sent twice, out of order, late or ahead. */
import type { Action } from '../../state/action.ts';
import type { UserActionRecord } from '../../topics/records.ts';
import { randomFrom } from './random.ts';

export interface Sent extends Action {
  readonly userId: string;
  readonly arrivalTimeMs: number;
}

/** How many places of the log most records are out of order. */
const DISORDER = 40;
const UNDO: Readonly<Record<string, string>> = { like: 'unlike', bookmark: 'unbookmark', follow: 'unfollow' };
const SURFACES = ['web', 'android', 'ios', ''];
const DAYS_MS = 86_400_000;
/** Users whose windows are sealed, among those chosen. */
const SEALED_SHARE = 0.4;
const SEALED_ACTIONS = 150;

/** In order of arrival, and whose actions they are; the same for the same log. */
export function disturbedLog(log: readonly UserActionRecord[], userCount: number): { sent: Sent[]; users: string[] } {
  const users = chosenUsers(log, userCount);
  const chosen = new Set(users);
  const own = log.filter(({ userId }) => chosen.has(userId));
  const random = randomFrom(7);
  const previousMs = new Map<string, number>();
  const placed: { place: number; action: Action & { userId: string } }[] = [];
  for (const [index, each] of own.entries()) {
    const { userId } = each;
    const isTied = random() < 0.05;
    const eventTimeMs = (isTied ? previousMs.get(userId) : undefined) ?? each.eventTimeMs;
    previousMs.set(userId, eventTimeMs);
    const action = { ...each, eventTimeMs, surface: each.surface ?? '' };
    const jitter = (): number => index + random() * DISORDER;
    placed.push({ place: random() < 0.02 ? index + own.length / 3 : jitter(), action });
    if (random() < 0.03) placed.push({ place: jitter(), action: { ...action, surface: anyOf(SURFACES, random) } });
    const undone = UNDO[action.actionType];
    if (undone !== undefined && random() < 0.3) {
      const undo = { ...action, actionType: undone, eventTimeMs: eventTimeMs + 1 + Math.floor(random() * 600_000) };
      placed.push({ place: jitter(), action: undo });
    }
    if (random() < 0.01)
      placed.push({ place: jitter(), action: { ...action, eventTimeMs: eventTimeMs + 30 * DAYS_MS } });
  }
  let newestMs = 0;
  const sent = placed
    .sort((a, b) => a.place - b.place)
    .map(({ place, action }) => {
      newestMs = Math.max(newestMs, own[Math.min(Math.floor(place), own.length - 1)]!.eventTimeMs);
      return { ...action, arrivalTimeMs: newestMs };
    });
  return { sent, users };
}

/** Busy users first, then others, spread over the log. */
function chosenUsers(log: readonly UserActionRecord[], count: number): string[] {
  const counts = new Map<string, number>();
  for (const { userId } of log) counts.set(userId, (counts.get(userId) ?? 0) + 1);
  const isBusy = ([, actions]: [string, number]): boolean => actions >= SEALED_ACTIONS;
  const busy = [...counts].filter(isBusy).slice(0, SEALED_SHARE * count);
  const others = [...counts].filter((each) => !isBusy(each) && each[1] > 2);
  const step = Math.floor(others.length / (count - busy.length));
  const spread = Array.from({ length: count - busy.length }, (_, at) => others[at * step]!);
  return [...busy, ...spread].map(([userId]) => userId);
}

const anyOf = <T>(list: readonly T[], random: () => number): T => list[Math.floor(random() * list.length)]!;
