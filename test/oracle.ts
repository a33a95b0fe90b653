/**
 * The independent oracle: what a user's state must be, worked out from all its records by brute force. It shares no
 * code with state/ and no idea with it either: nothing is sealed step by step, nothing is decayed step by step. All
 * actions ever taken are kept; how many of them are sealed is a formula over their number; strings are compared as
 * Buffers; counters are sums of Math.pow; undo pairs are found with stacks.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

export interface OracleAction {
  readonly eventTimeMs: number;
  readonly itemId: string;
  readonly actionType: string;
  readonly surface: string;
}

export interface OracleRecord {
  readonly arrivalTimeMs: number;
  readonly action: OracleAction;
}

export interface OracleOptions {
  /** K. */
  readonly windowSize: number;
  /** C. */
  readonly sealSize: number;
  readonly maxFutureMs: number;
  readonly maxAgeMs: number | null;
  readonly sessionGapMs: number;
  /** Undoing type → undone type. */
  readonly undo: Readonly<Record<string, string>>;
  readonly halfLivesMs: readonly number[];
}

export type OracleOutcome = 'accepted' | 'duplicate' | 'late' | 'future';

/** Decayed counts: for each action type one a half-life. */
export type OracleCounters = Readonly<Record<string, readonly number[]>>;

export interface OracleUser {
  /** One a record. */
  readonly outcomes: readonly OracleOutcome[];
  /** Oldest first, K to K + C − 1 of them once full. */
  readonly window: readonly OracleAction[];
  /** One for each of `window`. */
  readonly hidden: readonly boolean[];
  readonly sealed: number;
  /** Oldest first. */
  readonly chunks: readonly (readonly OracleAction[])[];
  readonly leftEdge: Omit<OracleAction, 'surface'> | null;
  /** Of the sealed actions, as of the left edge. */
  readonly baseCounters: OracleCounters;
  /** Of all actions, as of the newest. */
  readonly counters: OracleCounters;
  readonly session: { readonly length: number; readonly ageMs: number; readonly gapMs: number };
}

interface Held {
  readonly action: OracleAction;
  readonly itemBytes: Buffer;
  readonly typeBytes: Buffer;
  surface: string;
}

export function oracle(records: readonly OracleRecord[], options: OracleOptions): OracleUser {
  const taken: Held[] = [];
  const byKey = new Map<string, Held>();
  const outcomes = records.map((record) => takeRecord(record, taken, byKey, options));
  const actions = taken.map(({ action, surface }) => ({ ...action, surface }));
  const sealed = sealedOf(actions.length, options);
  const window = actions.slice(sealed);
  const edge = actions[sealed - 1];
  return {
    outcomes,
    window,
    hidden: hiddenFlags(window, options),
    sealed,
    chunks: Array.from({ length: sealed / options.sealSize }, (_, n) =>
      actions.slice(n * options.sealSize, (n + 1) * options.sealSize),
    ),
    leftEdge:
      edge === undefined ? null : { eventTimeMs: edge.eventTimeMs, itemId: edge.itemId, actionType: edge.actionType },
    baseCounters: countersOf(actions.slice(0, sealed), options.halfLivesMs),
    counters: countersOf(actions, options.halfLivesMs),
    session: sessionOf(window, options.sessionGapMs),
  };
}

/** What `freshet inspect --json` must print of the sequence: the K newest, newest first. */
export function inspectedSequence(user: OracleUser, options: OracleOptions) {
  return {
    window: user.window
      .map(({ itemId, actionType, eventTimeMs, surface }, at) => ({
        itemId,
        actionType,
        eventTimeMs,
        surface,
        hidden: user.hidden[at]!,
      }))
      .slice(-options.windowSize)
      .reverse(),
    sealed: user.sealed,
    leftEdge: user.leftEdge,
  };
}

const DESKDROP_TYPES: Readonly<Record<string, string>> = {
  VIEW: 'view',
  LIKE: 'like',
  BOOKMARK: 'bookmark',
  'COMMENT CREATED': 'comment',
  FOLLOW: 'follow',
};

/** The records of each user of data/deskdrop/actions.csv.gz, in the order of the file. Arrival is the event time. */
export function readDeskdrop(file: string): Map<string, OracleRecord[]> {
  const users = new Map<string, OracleRecord[]>();
  const [, ...rows] = gunzipSync(readFileSync(file)).toString('utf8').trimEnd().split('\n');
  for (const row of rows) {
    const [seconds, eventType, itemId, userId, surface] = row.split(',') as [string, string, string, string, string];
    const eventTimeMs = Number(seconds) * 1000;
    const action = { eventTimeMs, itemId, actionType: DESKDROP_TYPES[eventType]!, surface };
    if (!users.has(userId)) users.set(userId, []);
    users.get(userId)!.push({ arrivalTimeMs: eventTimeMs, action });
  }
  return users;
}

/** Takes the record into `taken`, which stays sorted and keeps the sealed ones. */
function takeRecord(
  { action, arrivalTimeMs }: OracleRecord,
  taken: Held[],
  byKey: Map<string, Held>,
  options: OracleOptions,
): OracleOutcome {
  if (action.eventTimeMs - arrivalTimeMs > options.maxFutureMs) return 'future';
  const held = {
    action,
    itemBytes: Buffer.from(action.itemId, 'utf8'),
    typeBytes: Buffer.from(action.actionType, 'utf8'),
    surface: action.surface,
  };
  const edge = taken[sealedOf(taken.length, options) - 1];
  if (edge !== undefined && order(held, edge) <= 0) return 'late';
  const key = JSON.stringify([action.eventTimeMs, action.itemId, action.actionType]);
  const twin = byKey.get(key);
  if (twin !== undefined) {
    const surfaces = [Buffer.from(twin.surface, 'utf8'), Buffer.from(action.surface, 'utf8')];
    twin.surface = surfaces.sort((a, b) => Buffer.compare(a, b))[1]!.toString('utf8');
    return 'duplicate';
  }
  byKey.set(key, held);
  taken.push(held);
  taken.sort(order);
  return 'accepted';
}

/** Of n actions the oldest leave, C at a time, whenever there are K + C. */
const sealedOf = (n: number, { windowSize, sealSize }: OracleOptions): number =>
  Math.max(0, Math.floor((n - windowSize) / sealSize)) * sealSize;

const order = (a: Held, b: Held): number =>
  Math.sign(a.action.eventTimeMs - b.action.eventTimeMs) ||
  Buffer.compare(a.itemBytes, b.itemBytes) ||
  Buffer.compare(a.typeBytes, b.typeBytes);

/** As of the newest of the actions. */
function countersOf(actions: readonly OracleAction[], halfLivesMs: readonly number[]): OracleCounters {
  const asOfMs = actions.at(-1)?.eventTimeMs ?? 0;
  const types = [...new Set(actions.map((action) => action.actionType))];
  return Object.fromEntries(
    types.map((type) => [
      type,
      halfLivesMs.map((halfLifeMs) =>
        actions
          .filter((action) => action.actionType === type)
          .reduce((sum, action) => sum + Math.pow(2, -(asOfMs - action.eventTimeMs) / halfLifeMs), 0),
      ),
    ]),
  );
}

/** An undo pops the newest of the open actions it undoes. */
function hiddenFlags(window: readonly OracleAction[], { undo, maxAgeMs }: OracleOptions): boolean[] {
  const newestMs = window.at(-1)?.eventTimeMs ?? 0;
  const hidden = window.map((action) => maxAgeMs !== null && newestMs - action.eventTimeMs > maxAgeMs);
  const open = new Map<string, number[]>();
  window.forEach((action, at) => {
    const undone = undo[action.actionType];
    const partner = undone === undefined ? undefined : open.get(JSON.stringify([action.itemId, undone]))?.pop();
    if (partner !== undefined) {
      hidden[partner] = true;
      hidden[at] = true;
      return;
    }
    const name = JSON.stringify([action.itemId, action.actionType]);
    open.set(name, [...(open.get(name) ?? []), at]);
  });
  return hidden;
}

function sessionOf(window: readonly OracleAction[], sessionGapMs: number): OracleUser['session'] {
  const timesMs = window.map((action) => action.eventTimeMs);
  const gapsMs = timesMs.slice(1).map((timeMs, at) => timeMs - timesMs[at]!);
  const start = gapsMs.findLastIndex((gapMs) => gapMs > sessionGapMs) + 1;
  const newestMs = timesMs.at(-1) ?? 0;
  return {
    length: timesMs.length - start,
    ageMs: newestMs - (timesMs[start] ?? newestMs),
    gapMs: gapsMs.at(-1) ?? -1,
  };
}
