/** A store in the bytes of an earlier release: the task goes on from it, and emits what it would have emitted. */
import { pino } from 'pino';
import { expect, it, vi } from 'vitest';
import { verify } from '../src/replay/verify.ts';
import { boundedType } from '../src/serde/bounded-type.ts';
import { UserStore } from '../src/task/user-store.ts';
import { layoutOf, stateLayoutHash, type Layout } from '../state/layout.ts';
import type * as StateCodecModule from '../state/state-codec.ts';
import { shippedSchema, type RecordSchema } from '../topics/index.ts';
import { ACTIVATE_TEST_VERSION, publishTestVersion } from './support/item-version.ts';
import { actionRecord, Stream, type RawRecord } from './support/stream.ts';

/** Set below: the mock is hoisted. */
const earlier: { version: number; schema?: RecordSchema } = vi.hoisted(() => ({ version: 0 }));

/** Every codec of this file also reads the earlier bytes, as it would if they were in its own table of them. */
vi.mock('../state/state-codec.ts', async (importOriginal) => {
  const original = await importOriginal<typeof StateCodecModule>();
  class UpgradingCodec extends original.StateCodec {
    constructor(layout: Layout) {
      super(layout, new Map([[earlier.version, earlier.schema!]]));
    }
  }
  return { ...original, StateCodec: UpgradingCodec };
});

const { StateCodec } = await import('../state/state-codec.ts');
const SILENT = pino({ level: 'silent' });
const USERS = 9;
const FLAGS = {
  sequences: [{ name: 'engagement', actionTypes: 'all', windowSize: 6, sealSize: 2, maxAgeMs: null }],
  commitMaxRecords: 20,
};

const { fields, ...features } = shippedSchema('sequence-features-value');
const state = fields.slice(0, 6);
const presentType = boundedType({ ...features, name: 'UserState', fields: state });
/** Fields in another order, and one that is gone since. */
const earlierSchema: RecordSchema = {
  ...features,
  name: 'UserState',
  fields: [{ name: 'shard', type: 'int' }, ...[...state].reverse()],
};
const earlierType = boundedType(earlierSchema);
earlier.schema = earlierSchema;

class EarlierCodec extends StateCodec {
  override toStored(body: Buffer): Buffer {
    const record = presentType.fromBuffer(body) as object;
    return Buffer.concat([Buffer.from([earlier.version]), earlierType.toBuffer({ ...record, shard: 7 })]);
  }
}

const actions = (from: number, count: number, users: number): RawRecord[] =>
  Array.from({ length: count }, (_, at) =>
    actionRecord({ userId: `user-${at % users}`, itemId: `i${(at * 7) % 5}`, eventTimeMs: (from + at) * 1_000 }),
  );

/** Writes every user of the store once more, as the earlier release did. */
async function downgrade(stream: Stream): Promise<void> {
  const layout = layoutOf(stream.config);
  const stateCodec = new EarlierCodec(layout);
  const options = { layoutHash: stateLayoutHash(layout), stateCodec, logger: SILENT, rememberedKeys: 100 };
  const store = await UserStore.open(stream.storeFolder(), options);
  const ids: string[] = [];
  for await (const { userId } of store.states()) ids.push(userId);
  expect(ids).toHaveLength(USERS);
  const users = await store.getMany(ids);
  const changes = ids.map((userId, at) => {
    const { state: found, cache } = users[at]!;
    return { userId, stateBody: stateCodec.encode(found), cache };
  });
  await store.commit(changes, store.position()!);
  await store.close();
}

it('is gone on from, restored from nothing, and left with records that are all equal', async () => {
  const streams = await Promise.all([Stream.open(FLAGS), Stream.open(FLAGS)]);
  const [upgraded, undisturbed] = streams;
  for (const stream of streams) {
    await publishTestVersion(stream);
    await stream.append(ACTIVATE_TEST_VERSION['v1']!, ...actions(0, 100, USERS));
    await stream.run();
  }
  await downgrade(upgraded);
  const logged: unknown[] = [];
  const logger = pino({}, { write: (line) => void logged.push(JSON.parse(line)) });
  // Some users act no more: their states stay as they are.
  for (const stream of streams) await stream.append(...actions(100, 60, 4));
  const task = upgraded.newTask(0, { logger });
  await task.start();
  expect(logged).toEqual([]);
  while ((await task.step()).records > 0);
  await task.close();
  await undisturbed.run();

  expect(await upgraded.states()).toEqual(await undisturbed.states());
  const all = await upgraded.read('sequence-features');
  const { log, codec, scorer, itemVersions, config } = upgraded;
  const stretches = [{ partition: 0, from: 0, to: Infinity }];
  const report = await verify({ log, codec, scorer, itemVersions, config, logger: SILENT, stretches });
  expect(report).toMatchObject({ compared: all.length, equal: all.length, missing: 0, unverifiable: 0, causes: [] });
  expect(all.length).toBeGreaterThan(USERS * 4);
  for (const stream of streams) await stream.close();
});
