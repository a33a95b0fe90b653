/** The actions of several partitions, merged by event time. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EmbeddedLog } from '../src/log/embedded.ts';
import { actionsByEventTime } from '../src/vectors/actions-by-event-time.ts';
import type { UserActionRecord } from '../topics/records.ts';
import { readShippedLog } from './quality-harness.ts';
import { actionRecord, Stream } from './support/stream.ts';
import { tempDir } from './support/temp-dir.ts';

const log = readShippedLog().slice(0, 3_000);
let stream: Stream;

beforeAll(async () => {
  stream = await Stream.open({ partitions: 4 });
  await stream.append(...log.map(actionRecord));
});
afterAll(() => stream.close());

const read = async (): Promise<UserActionRecord[]> => Array.fromAsync(actionsByEventTime(stream.log, stream.codec));

it('come back as they were loaded, in order of event time', async () => {
  const found = await read();
  const times = found.map(({ eventTimeMs }) => eventTimeMs);
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  const lines = (actions: readonly UserActionRecord[]): string[] => actions.map((each) => JSON.stringify(each)).sort();
  expect(lines(found)).toEqual(lines(log));
});

it('leave out what is no action: erases, and records that the task rejects', async () => {
  const timestampMs = log.at(-1)!.eventTimeMs;
  await stream.append(
    { key: Buffer.from('u1'), value: null, timestampMs },
    { key: Buffer.from('u1'), value: Buffer.from('no Avro'), timestampMs },
    actionRecord({ userId: 'u1', itemId: 'last', eventTimeMs: timestampMs + 1 }),
  );
  const found = await read();
  expect(found).toHaveLength(log.length + 1);
  expect(found.at(-1)!.itemId).toBe('last');
});

it('need a log with the topic', async () => {
  const empty = await EmbeddedLog.open(tempDir());
  await expect(Array.fromAsync(actionsByEventTime(empty, stream.codec))).rejects.toMatchObject({
    code: 'UNKNOWN_TOPIC',
  });
  await empty.close();
});
