/** One action of one user, and the total order in which a user's actions stand. */

export interface ActionKey {
  /** When the user acted, milliseconds since the epoch. */
  readonly eventTimeMs: number;
  readonly itemId: string;
  readonly actionType: string;
}

export interface Action extends ActionKey {
  /** Where the user acted; the empty string where the logger did not say. The only attribute: it is not in the key. */
  readonly surface: string;
}

/** Total order: time, then the bytes (UTF-8) of the item id, then those of the action type. */
export function compareKeys(a: ActionKey, b: ActionKey): number {
  if (a.eventTimeMs !== b.eventTimeMs) return a.eventTimeMs < b.eventTimeMs ? -1 : 1;
  return compareUtf8(a.itemId, b.itemId) || compareUtf8(a.actionType, b.actionType);
}

/** Compares two strings by their UTF-8 bytes without encoding them. */
export function compareUtf8(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at += 1) {
    const left = a.charCodeAt(at);
    const right = b.charCodeAt(at);
    if (left === right) continue;
    // UTF-16 puts surrogates (code points from 0x10000 on) below 0xE000–0xFFFF, UTF-8 puts them above.
    return utf8Rank(left) < utf8Rank(right) ? -1 : 1;
  }
  return a.length - b.length;
}

const utf8Rank = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);
