/** What an old application leaves to a new one on the same topics: that it has gone, and the place of its join. */
import { FreshetError } from '../base/errors.ts';
import { decodeJoinMetadata, encodeJoinMetadata, type JoinMetadata } from '../join/join-metadata.ts';
import type { Committed, TaskWriter, TopicPartition } from '../log/log.ts';
import { encodeMetadata } from '../task/commit-metadata.ts';
import type { StoreOwner } from '../snapshot/committed-stores.ts';
import type { OldPartition } from './converted-users.ts';

/** No task of the old application goes on in the partition from here on. Doing it again does nothing more. */
export async function closeOld({ owner, partition, offset, metadata }: OldPartition, newAppId: string): Promise<void> {
  const { log, config } = owner;
  const input: TopicPartition = { topic: 'user-actions', partition };
  await withWriter(owner, `${config.appId}-user-actions-${partition}`, async (writer) => {
    const committed = await writer.committed(input);
    if (committed?.offset !== offset) {
      throw new FreshetError('APP_LIVE', `${config.appId} has committed meanwhile`, { position: input });
    }
    const closed = encodeMetadata({ ...metadata, movedTo: newAppId });
    await writer.commit({ outputs: [], offsets: [{ input, offset }], metadata: () => closed });
  });
  const inputs = joinInputs(partition);
  if ((await log.committed(config.appId, inputs[0]!)) === undefined) return;
  await commitJoin(owner, partition, await joinCommitted(owner, inputs), { movedTo: newAppId });
}

/**
 * The new join goes on where the old one stood, and has its output: what it holds are pairs of records, whatever their
 * layout. Does nothing where the new join has committed, or the old one has not.
 */
export async function takeOverJoin(from: StoreOwner, to: StoreOwner, partition: number, layout: string): Promise<void> {
  const inputs = joinInputs(partition);
  if ((await to.log.committed(to.config.appId, inputs[0]!)) !== undefined) return;
  if ((await from.log.committed(from.config.appId, inputs[0]!)) === undefined) return;
  await commitJoin(to, partition, await joinCommitted(from, inputs), { layout, movedTo: undefined });
}

const joinInputs = (partition: number): readonly TopicPartition[] => [
  { topic: 'sequence-features', partition },
  { topic: 'user-embeddings', partition },
];

interface JoinCommitted {
  readonly offsets: readonly { readonly input: TopicPartition; readonly offset: number }[];
  readonly metadata: JoinMetadata;
}

async function joinCommitted({ log, config }: StoreOwner, inputs: readonly TopicPartition[]): Promise<JoinCommitted> {
  const found: (Committed & { readonly input: TopicPartition })[] = [];
  for (const input of inputs) {
    const committed = await log.committed(config.appId, input);
    if (committed === undefined)
      throw new FreshetError('APP_UNKNOWN', `the join of ${config.appId}`, { position: input });
    found.push({ ...committed, input });
  }
  const { metadata, input } = found[0]!;
  return {
    offsets: found.map(({ input: at, offset }) => ({ input: at, offset })),
    metadata: decodeJoinMetadata(metadata, input),
  };
}

async function commitJoin(
  owner: StoreOwner,
  partition: number,
  { offsets, metadata }: JoinCommitted,
  changed: Partial<JoinMetadata>,
): Promise<void> {
  const text = encodeJoinMetadata({ ...metadata, ...changed });
  await withWriter(owner, `${owner.config.appId}-join-${partition}`, (writer) =>
    writer.commit({ outputs: [], offsets, metadata: () => text }),
  );
}

async function withWriter(
  { log }: StoreOwner,
  taskId: string,
  work: (writer: TaskWriter) => Promise<void>,
): Promise<void> {
  const writer = await log.openWriter(taskId);
  try {
    await work(writer);
  } finally {
    await writer.close();
  }
}
