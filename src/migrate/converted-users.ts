/** The users of a partition of an old application, each as a new one would have it. */
import { rm } from 'node:fs/promises';
import { FreshetError } from '../base/errors.ts';
import { userHash } from '../base/user-hash.ts';
import type { TopicPartition } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { committedUsers, type StoreOwner } from '../snapshot/committed-stores.ts';
import { encodeMetadata, type CommitMetadata } from '../task/commit-metadata.ts';
import { HISTORY_RING, historyKey, historyKeys, historyRecord } from '../../state/history.ts';
import { stateLayoutHash } from '../../state/layout.ts';
import type { UserState } from '../../state/user-state.ts';
import {
  convert,
  needsHistory,
  type Conversion,
  type Converted,
  type Refusal,
  type SealedActions,
} from './convert-state.ts';
import { HistoryTable } from './history-table.ts';
import type { UserMove } from './state-mover.ts';
import { userPairs } from './user-pairs.ts';

export interface OldPartition {
  readonly owner: StoreOwner;
  readonly partition: number;
  readonly offset: number;
  readonly metadata: CommitMetadata;
  readonly conversion: Conversion;
  readonly onProgress: (restored: number, total: number) => void;
}

export interface ConvertedUser {
  readonly userId: string;
  readonly old: UserState;
  readonly converted: Converted;
}

/**
 * In the order of the ids' bytes. Fails with MIGRATION_REFUSED behind the last user, if there is one that cannot be had.
 *
 * @param done - users to leave out, in the same order: what the log held of them may be gone.
 */
export async function* convertedUsers(
  { owner, partition, offset, metadata, conversion, onProgress }: OldPartition,
  done: AsyncIterable<{ readonly userId: string }> = nobody(),
): AsyncGenerator<ConvertedUser, void> {
  // What hands the topics over may have been begun before.
  const committed = { offset, metadata: encodeMetadata({ ...metadata, movedTo: undefined }) };
  const { store } = await committedUsers(owner, committed, { partition, onProgress });
  const folder = `${owner.storeFolder('user-actions', partition)}.history`;
  const at = { topic: 'action-history', partition };
  const history = new HistoryTable({ ...owner, at, end: metadata.historyEnd, folder });
  const refused = new Refused(partition);
  try {
    for await (const { first, second } of userPairs(store.states(), done)) {
      if (first === null || second !== null) continue;
      const { state } = first;
      const converted = convert(state, conversion, await sealedOf(state, conversion, history));
      if ('cause' in converted) refused.add(state.userId, converted);
      else yield { userId: state.userId, old: state, converted };
    }
  } finally {
    await history.close();
    await rm(folder, { recursive: true, force: true });
    await store.close();
  }
  refused.throwIfAny(conversion);
}

async function* nobody(): AsyncGenerator<never, void> {
  // All are to be converted.
}

async function sealedOf(
  state: UserState,
  conversion: Conversion,
  history: HistoryTable,
): Promise<ReadonlyMap<number, SealedActions>> {
  const sealed = new Map<number, SealedActions>();
  for (const [at, { index }] of conversion.sources.entries()) {
    if (sealed.has(index) || !needsHistory(state, conversion, at)) continue;
    const { name } = conversion.from.sequences[index]!;
    sealed.set(index, await history.sealed(state.userId, name, state.sequences[index]!));
  }
  return sealed;
}

/** Whether the old application has settled, and has written what its configuration says. */
export function checkOld(
  { unfinished, layout }: CommitMetadata,
  appId: string,
  { from }: Conversion,
  position: TopicPartition,
): void {
  if (unfinished !== undefined) throw new FreshetError('STATE_MOVE_UNFINISHED', `freshet ${unfinished}`, { position });
  const configured = stateLayoutHash(from);
  if (layout === configured) return;
  const detail = `${appId} has written layout ${layout}, and its configuration as given has ${configured}`;
  const remedy = 'Give the configuration that the old application ran with: --from-config.';
  throw new FreshetError('LAYOUT_CHANGED', detail, { position, remedy });
}

/** What the history has to become: the new chunks, and tombstones of the old ones that are none. */
export function historyOf({ old, converted }: ConvertedUser, { from }: Conversion, codec: Codec): UserMove['history'] {
  const puts = converted.chunks.map((chunk) => ({
    key: historyKey(old.userId, chunk.sequence, chunk.chunk),
    value: codec.encode('action-history-value', historyRecord(old.userId, chunk)),
  }));
  const kept = { ...from, sequences: from.sequences.filter(({ name }) => converted.kept.includes(name)) };
  const held = {
    ...old,
    sequences: old.sequences.filter((_, at) => converted.kept.includes(from.sequences[at]!.name)),
  };
  const current = new Set(
    [...puts.map(({ key }) => key), ...historyKeys(held, kept)].map((key) => key.toString('hex')),
  );
  const stale = historyKeys(old, from).filter((key) => !current.has(key.toString('hex')));
  return [...stale.map((key) => ({ key, value: null })), ...puts];
}

/** Users that cannot be had, by why. */
class Refused {
  private readonly partition: number;
  private readonly counts = new Map<string, { readonly refusal: Refusal; readonly userId: string; users: number }>();

  constructor(partition: number) {
    this.partition = partition;
  }

  add(userId: string, refusal: Refusal): void {
    const name = `${refusal.sequence} ${refusal.cause}`;
    const counted = this.counts.get(name) ?? { refusal, userId, users: 0 };
    counted.users += 1;
    this.counts.set(name, counted);
  }

  throwIfAny({ to }: Conversion): void {
    const [first] = this.counts.values();
    if (first === undefined) return;
    const details = Array.from(this.counts.values(), ({ refusal: { sequence, cause }, users }) => {
      const why =
        cause === 'ring'
          ? `have sealed more than the ${HISTORY_RING} chunks that the history keeps of a user`
          : 'have sealed actions that the history does not hold';
      const { windowSize, sealSize } = to.sequences.find(({ name }) => name === sequence)!;
      return `${users} users of sequence ${sequence} (K ${windowSize}, C ${sealSize}) ${why}`;
    });
    const position = { partition: this.partition, userHash: userHash(first.userId) };
    throw new FreshetError('MIGRATION_REFUSED', details.join('; '), { position });
  }
}
