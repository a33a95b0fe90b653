/**
 * Decodes actions whose strings are shared: a replay holds many users, who act on the same items. A string that was met
 * before also brings its hash along, for the look-up of its vector.
 */
import type { Codec } from '../serde/codec.ts';
import type { UserActionRecord } from '../../topics/records.ts';

/** Once so many are known they are forgotten. */
const MAX_STRINGS = 100_000;

export function sharingStrings(codec: Pick<Codec, 'decode'>): Pick<Codec, 'decode'> {
  const known = new Map<string, string>();
  const shared = (text: string): string => {
    const held = known.get(text);
    if (held !== undefined) return held;
    if (known.size === MAX_STRINGS) known.clear();
    known.set(text, text);
    return text;
  };
  return {
    decode: <T>(...args: Parameters<Codec['decode']>): T => {
      const record = codec.decode<T>(...args);
      if (args[0] !== 'user-actions-value') return record;
      const action = record as UserActionRecord;
      action.itemId = shared(action.itemId);
      action.actionType = shared(action.actionType);
      if (action.surface !== null) action.surface = shared(action.surface);
      return record;
    },
  };
}
