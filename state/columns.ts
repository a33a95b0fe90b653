/** Actions as the columns of the wire format, and back. Columns are newest first, windows oldest first. */
import type { ActionColumns } from '../topics/records.ts';
import { compareUtf8, type Action } from './action.ts';

export function toColumns(actions: readonly Action[]): ActionColumns {
  const itemIds: string[] = [];
  const gapsMs: number[] = [];
  const actionTypes = new Dictionary();
  const surfaces = new Dictionary();
  const newestMs = actions.at(-1)?.eventTimeMs ?? 0;
  let newerMs = newestMs;
  for (let at = actions.length - 1; at >= 0; at -= 1) {
    const { itemId, eventTimeMs, actionType, surface } = actions[at]!;
    itemIds.push(itemId);
    gapsMs.push(newerMs - eventTimeMs);
    actionTypes.push(actionType);
    surfaces.push(surface);
    newerMs = eventTimeMs;
  }
  actionTypes.sort();
  surfaces.sort();
  return {
    itemIds,
    eventTimeMs: newestMs,
    gapsMs,
    actionTypes: actionTypes.values,
    actionTypeIndex: actionTypes.index,
    surfaces: surfaces.values,
    surfaceIndex: surfaces.index,
  };
}

export function fromColumns(columns: ActionColumns): Action[] {
  const count = columns.itemIds.length;
  const actions = new Array<Action>(count);
  let eventTimeMs = columns.eventTimeMs;
  for (let at = 0; at < count; at += 1) {
    eventTimeMs -= columns.gapsMs[at]!;
    actions[count - 1 - at] = {
      eventTimeMs,
      itemId: columns.itemIds[at]!,
      actionType: columns.actionTypes[columns.actionTypeIndex[at]!]!,
      surface: columns.surfaces[columns.surfaceIndex[at]!]!,
    };
  }
  return actions;
}

/** A column of strings that repeat: the distinct values, and for each string the index of its value. */
class Dictionary {
  values: string[] = [];
  readonly index: number[] = [];

  push(value: string): void {
    const { values } = this;
    let at = 0;
    while (at < values.length && values[at] !== value) at += 1;
    if (at === values.length) values.push(value);
    this.index.push(at);
  }

  /** Puts the values in order of their bytes: a function of the actions, not of how they arrived. */
  sort(): void {
    const sorted = this.values.toSorted(compareUtf8);
    const ranks = this.values.map((value) => sorted.indexOf(value));
    if (ranks.some((rank, at) => rank !== at)) {
      for (let at = 0; at < this.index.length; at += 1) this.index[at] = ranks[this.index[at]!]!;
    }
    this.values = sorted;
  }
}
