/**
 * Actions that the stream rejected as of an unknown schema, which the registry has learned of since: a replay rejects them
 * too, as what it makes is compared with what was made then.
 */
import { cpSync, readFileSync } from 'node:fs';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { userAsOf } from '../src/dataset/as-of.ts';
import { readPasts } from '../src/dataset/user-past.ts';
import { asRecorded } from '../src/replay/recorded-rejections.ts';
import { verify } from '../src/replay/verify.ts';
import { Codec } from '../src/serde/codec.ts';
import { Registry, shippedSchemas } from '../src/serde/registry.ts';
import { layoutOf } from '../state/layout.ts';
import { answersOf, request } from './support/dataset.ts';
import { bodies, openTarget, replayed } from './support/replayed.ts';
import { actionRecord, Stream, type RawRecord } from './support/stream.ts';
import { tempDir } from './support/temp-dir.ts';

const SILENT = pino({ level: 'silent' });
const ACTIONS = 60;
const OUTPUTS = ['sequence-features', 'action-history', 'rejected-actions'] as const;

const streams: Stream[] = [];
afterEach(async () => {
  for (const stream of streams.splice(0)) await stream.close();
});

/** An earlier schema of actions, which writers may still use. */
const OLDER_ACTION = JSON.stringify(
  JSON.parse(readFileSync(new URL('fixtures/schemas/user-actions.v0.avsc', import.meta.url), 'utf8')),
);

/** Codecs of one registry, before and after the older schema of actions was registered in it, and that of its writer. */
async function codecs(): Promise<{ before: Codec; after: Codec; writer: Codec }> {
  const [first, second] = [tempDir(), tempDir()];
  const before = await Codec.open(await Registry.open({ dataDir: first }));
  cpSync(first, second, { recursive: true });
  const schemas = { ...shippedSchemas(), 'user-actions-value': OLDER_ACTION };
  const writer = await Codec.open(await Registry.open({ dataDir: second, schemas }));
  return { before, writer, after: await Codec.open(await Registry.open({ dataDir: second })) };
}

/** A log whose every seventh action is of the older schema, consumed while that was unknown. */
async function consumed({ before, writer }: { before: Codec; writer: Codec }): Promise<Stream> {
  const stream = await Stream.open({ commitMaxRecords: 9 });
  streams.push(stream);
  const records = Array.from({ length: ACTIONS }, (_, at): RawRecord => {
    const action = { userId: `user-${at % 4}`, itemId: `i${at % 5}`, actionType: 'view', eventTimeMs: at * 1_000 };
    if (at % 7 !== 6) return actionRecord(action);
    const value = writer.encode('user-actions-value', action);
    return { key: Buffer.from(action.userId), value, timestampMs: action.eventTimeMs };
  });
  await stream.append(...records);
  const task = stream.newTask(0, { codec: before });
  await task.start();
  while ((await task.step()).records > 0);
  expect(task.counts).toMatchObject({ unknown_schema: Math.floor(ACTIONS / 7) });
  await task.close();
  return stream;
}

describe('an action that was rejected as of an unknown schema', () => {
  it('is read by what the registry knows now', async () => {
    const all = await codecs();
    const stream = await consumed(all);
    const late = (await stream.read('user-actions'))[6]!;
    expect(() => all.before.decode('user-actions-value', late.value!)).toThrow('schema');
    expect(all.after.decode('user-actions-value', late.value!)).toMatchObject({ itemId: 'i1' });
  });

  it('is no difference to a verification', async () => {
    const all = await codecs();
    const stream = await consumed(all);
    const stretches = [{ partition: 0, from: 0, to: Infinity }];
    const report = await verify({ ...optionsOf(stream), codec: all.after, stretches });
    expect(report.compared).toBeGreaterThan(10);
    expect(report).toMatchObject({ equal: report.compared, causes: [], missing: 0, unverifiable: 0 });
  });

  it('is rejected by a replay too, by the same cause', async () => {
    const all = await codecs();
    const stream = await consumed(all);
    const target = await openTarget(stream);
    try {
      const options = { codec: all.after, config: { ...stream.config } };
      const { counts } = await replayed({ ...stream, codec: all.after }, target, options);
      expect(counts).toMatchObject({ unknown_schema: Math.floor(ACTIONS / 7) });
      const rejected = await bodies(target, all.after, 'rejected-actions', 1);
      expect(rejected).toHaveLength(Math.floor(ACTIONS / 7));
      for (const topic of OUTPUTS) {
        expect(await bodies(target, all.after, topic, 1)).toEqual(await bodies(stream.log, all.after, topic, 1));
      }
    } finally {
      await target.close();
    }
  });

  it('is in no training row, and in no view of what was servable', async () => {
    const all = await codecs();
    const stream = await consumed(all);
    const known = { ...optionsOf(stream), codec: all.after } as unknown as Stream;
    const userIds = ['user-0', 'user-1', 'user-2', 'user-3'];
    const requests = userIds.map((userId, at) => request(at, userId, { position: ACTIONS }));
    const { answers } = await answersOf(Object.assign(Object.create(stream) as Stream, known), 0, requests);
    const { users } = await readPasts(known, userIds);
    const emitted = await stream.newestFeatures();
    for (const answer of answers) {
      const { userId } = answer.request;
      const record = all.after.body(answer.features!.features!).toString('hex');
      expect(record).toBe(emitted.get(userId));
      const asOf = userAsOf(users.get(userId)!, { timeMs: Infinity }, 0, layoutOf(stream.config));
      expect(asOf.servable!.sequences[0]!.actions).toHaveLength(answer.features!.state.envelope.accepted);
    }
  });

  it('is not asked about at the registry again', async () => {
    const all = await codecs();
    const stream = await consumed(all);
    const asked: (Buffer | null)[] = [];
    const codec = {
      decode: all.before.decode.bind(all.before),
      learn: async (records: Parameters<Codec['learn']>[0]) => {
        asked.push(...records.map(({ value }) => value));
        await all.before.learn(records);
      },
    };
    const input = { topic: 'user-actions', partition: 0 };
    const reader = await asRecorded({ log: stream.log, codec }, input);
    const rejections = asked.splice(0).length;
    const read = await reader.log.read(input, 0, { maxRecords: ACTIONS, maxBytes: Infinity });
    await reader.codec.learn(read);
    expect(asked).toHaveLength(ACTIONS - rejections);
  });
});

const optionsOf = ({ log, scorer, itemVersions, config }: Stream) => ({
  ...{ log, scorer, itemVersions, config, logger: SILENT },
});
