/**
 * Bad input of each kind: it goes to `rejected-actions` with its cause, position and bytes, in the commit of its
 * neighbours, which are taken as if it had not been there. Nothing stops and nothing is lost.
 */
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { partitionOf } from '../src/base/murmur2.ts';
import { Deployment } from '../src/run/deployment.ts';
import { Worker } from '../src/run/worker.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT, type Subject } from '../topics/index.ts';
import type {
  ControlRecord,
  RejectedActionRecord,
  SequenceFeaturesRecord,
  UserActionRecord,
} from '../topics/records.ts';
import { fakeScorer } from './support/fake-scorer.ts';
import { activation, ACTIVATE_TEST_VERSION, publishTestVersion } from './support/item-version.ts';
import { actionRecord, Stream, type RawRecord, type TestAction } from './support/stream.ts';

const PARTITIONS = 2;
const TIME_MS = 1_000_000;
const PARTITION = partitionOf(Buffer.from('bob'), PARTITIONS);
const ELSEWHERE = userIn(1 - PARTITION);
const MEGABYTE = 'm'.repeat(1_048_576);
/** A key of one megabyte that belongs in bob's partition. */
const LONG_ID = ['', 'a', 'b', 'c'].map((end) => MEGABYTE + end).find(isHere)!;
const INVALID_UTF8 = [0xfe, 0xff, 0xc0, 0xc1].map((byte) => Buffer.from([byte])).find((key) => isHere(key))!;

function isHere(id: string | Buffer): boolean {
  return partitionOf(Buffer.from(id), PARTITIONS) === PARTITION;
}

function userIn(partition: number): string {
  const ids = Array.from({ length: 32 }, (_, index) => `user-${index}`);
  return ids.find((id) => partitionOf(Buffer.from(id), PARTITIONS) === partition)!;
}

/** An action of bob that is taken as it is, but for what is given. */
const bob = (fields: Partial<TestAction> = {}): RawRecord =>
  actionRecord({ userId: 'bob', eventTimeMs: TIME_MS, ...fields });
const withValue = (change: (value: Buffer) => Buffer): RawRecord => ({ ...bob(), value: change(bob().value!) });

const codec = await Stream.open().then(async (stream) => {
  await stream.close();
  return stream.codec;
});

function control(
  fields: ControlRecord,
  { key = null, subject = CONTROL_SUBJECT }: { key?: Buffer | null; subject?: string } = {},
): RawRecord {
  const headers = { [CONTROL_HEADER]: Buffer.from(subject) };
  return { key, value: codec.encode(CONTROL_SUBJECT, fields), headers, timestampMs: TIME_MS };
}

const EXPIRE: ControlRecord = { activation: null, expire: { seenVersion: 0 } };
const ACTIVATION = { version: 'v1', rowCount: 1, contentHash: '', space: 'test-space' };

interface BadInput {
  readonly name: string;
  readonly record: RawRecord;
  readonly cause: string;
  readonly detail: RegExp;
  /** The count in bob's envelope that it moves; null: it is nobody's record, and moves nothing. */
  readonly envelope: 'rejected' | 'future' | null;
}

const bad = (
  name: string,
  record: RawRecord,
  cause: string,
  detail: RegExp,
  envelope: BadInput['envelope'] = null,
): BadInput => ({ name, record, cause, detail, envelope });

const BAD_INPUT: readonly BadInput[] = [
  bad(
    'an unknown schema id',
    withValue((value) => Buffer.concat([Buffer.from([0, 0, 0, 0x27, 0x0f]), value.subarray(5)])),
    'unknown_schema',
    /schema 9999/,
    'rejected',
  ),
  bad(
    'truncated Avro',
    withValue((value) => value.subarray(0, -2)),
    'undecodable',
    /ends inside/,
    'rejected',
  ),
  bad(
    'bytes behind the record',
    withValue((value) => Buffer.concat([value, value])),
    'undecodable',
    /follow/,
    'rejected',
  ),
  bad(
    'an empty value',
    withValue(() => Buffer.alloc(0)),
    'undecodable',
    /empty/,
    'rejected',
  ),
  bad(
    'JSON',
    withValue(() => Buffer.from('{"userId":"bob"}')),
    'undecodable',
    /magic byte/,
    'rejected',
  ),
  bad(
    'a record of another subject',
    { ...control(EXPIRE, { key: Buffer.from('bob') }), headers: {} },
    'undecodable',
    /./,
    'rejected',
  ),
  bad('no key', { ...bob(), key: null }, 'wrong_key', /no key/),
  bad(
    'the key of another user',
    { ...bob({ userId: 'alice' }), key: Buffer.from('bob') },
    'wrong_key',
    /not the user id/,
  ),
  bad('a key that is not UTF-8', { ...bob(), key: INVALID_UTF8 }, 'wrong_key', /not valid UTF-8/),
  bad('the wrong partition', bob({ userId: ELSEWHERE }), 'wrong_partition', /partition/),
  bad('an empty key', { ...bob({ userId: '' }), key: Buffer.alloc(0) }, 'empty_id', /key/),
  bad('an empty item id', bob({ itemId: '' }), 'empty_id', /item id/, 'rejected'),
  bad('a user id of one megabyte', bob({ userId: LONG_ID }), 'oversized_id', /^the key has 10485\d\d bytes/),
  bad('an item id of one megabyte', bob({ itemId: MEGABYTE }), 'oversized_id', /^the item id has 1048576 bytes/),
  bad('a surface too long', bob({ surface: 's'.repeat(65) }), 'oversized_surface', /64 bytes/, 'rejected'),
  bad('an unknown action type', bob({ actionType: 'stare' }), 'unknown_action_type', /"stare"/, 'rejected'),
  bad('a time before 1970', bob({ eventTimeMs: -1, arrivalTimeMs: TIME_MS }), 'invalid_time', /-1 ms/, 'rejected'),
  bad(
    'a time in the future',
    bob({ eventTimeMs: TIME_MS + 300_001, arrivalTimeMs: TIME_MS }),
    'future',
    /ahead/,
    'future',
  ),
  bad('a time in microseconds', bob({ eventTimeMs: 1.7e15, arrivalTimeMs: TIME_MS }), 'future', /ahead/, 'future'),
  bad('a time in nanoseconds', withValue(inNanoseconds), 'undecodable', /long/, 'rejected'),
  bad(
    'a record timestamp no Avro long here can hold',
    { ...bob(), timestampMs: 2 ** 52 },
    'invalid_time',
    /record timestamp/,
  ),
  bad(
    'a control record of an unknown subject',
    control(EXPIRE, { subject: 'other' }),
    'invalid_control',
    /unknown subject/,
  ),
  bad('a control record without a value', { ...control(EXPIRE), value: null }, 'invalid_control', /value/),
  bad(
    'a control record cut short',
    { ...control(EXPIRE), value: control(EXPIRE).value!.subarray(0, 6) },
    'undecodable',
    /./,
  ),
  bad(
    'a control record of an unknown schema',
    { ...control(EXPIRE), value: Buffer.from([0, 0, 1, 0, 0, 0]) },
    'unknown_schema',
    /65536/,
  ),
  bad(
    'an activation too long for the committed metadata',
    activation({ ...ACTIVATION, version: 'v'.repeat(5_000) }),
    'invalid_control',
    /too long/,
  ),
  bad('a control record with no field', control({ activation: null, expire: null }), 'invalid_control', /exactly one/),
  bad(
    'a control record with both fields',
    control({ ...EXPIRE, activation: ACTIVATION }),
    'invalid_control',
    /exactly one/,
  ),
  bad('an expiry without a key', control(EXPIRE), 'wrong_key', /no key/),
  bad(
    'an expiry in the wrong partition',
    control(EXPIRE, { key: Buffer.from(ELSEWHERE) }),
    'wrong_partition',
    /partition/,
  ),
  bad(
    'an expiry with an absurd record timestamp',
    { ...control(EXPIRE, { key: Buffer.from('bob') }), timestampMs: 2 ** 52 },
    'invalid_time',
    /record timestamp/,
  ),
];

/** The value's event time, as a long of ten bytes. */
function inNanoseconds(value: Buffer): Buffer {
  const { eventTimeMs } = codec.decode<UserActionRecord>('user-actions-value', value);
  const encoded = zigzag(BigInt(eventTimeMs));
  const at = value.indexOf(encoded);
  return Buffer.concat([
    value.subarray(0, at),
    zigzag(1_700_000_000_000_000_000n),
    value.subarray(at + encoded.length),
  ]);
}

/** Avro's long. */
function zigzag(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value * 2n;
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
}

async function inStream<T>(flags: object, run: (stream: Stream) => Promise<T>): Promise<T> {
  const stream = await Stream.open({ partitions: PARTITIONS, ...flags });
  try {
    return await run(stream);
  } finally {
    await stream.close();
  }
}

const here = (record: RawRecord): RawRecord => ({ ...record, partition: PARTITION });

/** The rejected records and the newest features of bob, decoded. */
async function written(stream: Stream) {
  const decoded = <T>(subject: Subject, value: Buffer | null): T => codec.decode<T>(subject, value!);
  const rejected = await stream.read('rejected-actions', PARTITION);
  const features = await stream.read('sequence-features', PARTITION);
  return {
    rejected: rejected.map((record) => ({
      ...record,
      value: decoded<RejectedActionRecord>('rejected-actions-value', record.value),
    })),
    features: features.map(({ value }) => decoded<SequenceFeaturesRecord>('sequence-features-value', value)),
  };
}

const BEFORE = here(bob({ itemId: 'before' }));
const AFTER = here(bob({ itemId: 'after', eventTimeMs: TIME_MS + 1 }));

describe.each(BAD_INPUT)('$name', ({ record, cause, detail, envelope }) => {
  it('is rejected with cause, position and bytes, in the commit of its neighbours', () =>
    inStream({}, async (stream) => {
      await stream.append(BEFORE, here(record), AFTER);
      const ends: Record<string, number[]> = {};
      const task = await stream.task(PARTITION, async (point) => {
        const topics = ['rejected-actions', 'sequence-features'];
        ends[point] = await Promise.all(topics.map((topic) => stream.log.endOffset({ topic, partition: PARTITION })));
      });
      expect(await task.step()).toEqual({ records: 3, features: 1, waitingFor: null });
      expect(task.counts).toEqual({ accepted: 2, [cause]: 1 });
      await task.close();
      expect([ends['folded'], ends['log-committed']]).toEqual([
        [0, 0],
        [1, 1],
      ]);

      const { rejected, features } = await written(stream);
      expect(rejected).toEqual([
        {
          offset: 0,
          timestampMs: record.timestampMs,
          key: record.key === null ? null : record.key.subarray(0, 256),
          headers: {},
          value: {
            cause,
            detail: expect.stringMatching(detail) as string,
            partition: PARTITION,
            offset: 1,
            timestampMs: record.timestampMs < 2 ** 52 ? record.timestampMs : -1,
            key: record.key === null ? null : record.key.subarray(0, 65_536),
            value: record.value === null ? null : record.value.subarray(0, 65_536),
            keySize: record.key === null ? -1 : record.key.length,
            valueSize: record.value === null ? 0 : record.value.length,
          },
        },
      ]);
      expect(features).toHaveLength(1);
      expect(features[0]!.version).toBe(2);
      expect(features[0]!.sequences[0]!.itemIds).toEqual(['after', 'before']);
      expect(features[0]!.envelope).toMatchObject({
        accepted: 2,
        rejected: envelope === 'rejected' ? 1 : 0,
        future: envelope === 'future' ? 1 : 0,
      });
    }));

  it('moves the version of the user it belongs to, and is judged alike in a replay', async () => {
    const whole = await inStream({}, async (stream) => {
      await stream.append(BEFORE, here(record), AFTER);
      await stream.run(PARTITION);
      return {
        rejected: await stream.read('rejected-actions', PARTITION),
        newest: await stream.newestFeatures(PARTITION),
      };
    });
    await inStream({ commitMaxRecords: 1 }, async (stream) => {
      await stream.append(BEFORE, here(record), AFTER);
      const task = await stream.task(PARTITION);
      const steps = [await task.step(), await task.step(), await task.step()];
      await task.close();
      expect(steps.map((step) => step.features)).toEqual([1, envelope === null ? 0 : 1, 1]);
      const { features } = await written(stream);
      expect(features.map((each) => each.version)).toEqual(envelope === null ? [0, 2] : [0, 1, 2]);
      expect(await stream.read('rejected-actions', PARTITION)).toEqual(whole.rejected);
      expect(await stream.newestFeatures(PARTITION)).toEqual(whole.newest);
    });
  });

  it('creates no user', () =>
    inStream({}, async (stream) => {
      await stream.append(here(record));
      expect(await stream.run(PARTITION)).toEqual({ [cause]: 1 });
      expect((await stream.states(PARTITION)).size).toBe(0);
      expect(await stream.read('sequence-features', PARTITION)).toEqual([]);
      expect(await stream.read('rejected-actions', PARTITION)).toHaveLength(1);
    }));
});

describe('a late action', () => {
  const LAYOUT = {
    sequences: [{ name: 'engagement', actionTypes: 'all', windowSize: 1, sealSize: 1, maxAgeMs: null }],
  };

  it('is rejected at or below the left edge, and counted in the envelope', () =>
    inStream(LAYOUT, async (stream) => {
      const at = (eventTimeMs: number): RawRecord => here(bob({ eventTimeMs }));
      await stream.append(at(TIME_MS), at(TIME_MS + 1), at(TIME_MS), at(TIME_MS - 1));
      expect(await stream.run(PARTITION)).toEqual({ accepted: 2, late: 2 });
      const { rejected, features } = await written(stream);
      expect(rejected.map(({ value }) => [value.cause, value.offset])).toEqual([
        ['late', 2],
        ['late', 3],
      ]);
      expect(features[0]).toMatchObject({ version: 3, envelope: { accepted: 2, late: 2 } });
    }));
});

describe('an erase with an absurd record timestamp', () => {
  it('is obeyed', () =>
    inStream({}, async (stream) => {
      await stream.append(BEFORE);
      await stream.run(PARTITION);
      await stream.append(here({ key: Buffer.from('bob'), value: null, timestampMs: 2 ** 52 }));
      expect(await stream.run(PARTITION)).toEqual({ accepted: 1, removed: 1 });
      expect(await stream.newestFeatures(PARTITION)).toEqual(new Map([['bob', null]]));
    }));
});

describe('an activation', () => {
  const wrongCount = activation({ ...ACTIVATION, contentHash: 'another', rowCount: 3 });

  it.each([
    ['of a version that the log does not have', ACTIVATE_TEST_VERSION['v1']!, false],
    ['of other rows than the log has', wrongCount, true],
  ])('%s makes the task wait before it, with all that precedes it committed', (_, record, isPublished) =>
    inStream({}, async (stream) => {
      if (isPublished) await publishTestVersion(stream);
      await stream.append(BEFORE, here(record), AFTER);
      const task = await stream.task(PARTITION);
      expect(await task.step()).toEqual({ records: 1, features: 1, waitingFor: 'v1' });
      expect(await task.step()).toEqual({ records: 0, features: 0, waitingFor: 'v1' });
      expect(await task.lag()).toBe(2);
      expect(task.counts).toEqual({ accepted: 1 });
      await task.close();
      expect(await stream.read('rejected-actions', PARTITION)).toEqual([]);
    }),
  );

  it('goes on once the version is complete', () =>
    inStream({}, async (stream) => {
      await stream.append(BEFORE, here(ACTIVATE_TEST_VERSION['v2']!), AFTER);
      const task = await stream.task(PARTITION);
      expect((await task.step()).waitingFor).toBe('v2');
      await publishTestVersion(stream);
      expect(await task.step()).toEqual({ records: 2, features: 1, waitingFor: null });
      expect(task.counts).toEqual({ accepted: 2, activation: 1 });
      await task.close();
      expect((await written(stream)).features.at(-1)!.itemVersion).toBe('v2');
    }));

  it('of a version that is not complete stops a run that is to end', () =>
    inStream({}, async (stream) => {
      await stream.append(BEFORE, here(ACTIVATE_TEST_VERSION['v1']!), AFTER);
      const config = { ...stream.config, dataDir: join(stream.folder, 'run') };
      const deployment = await Deployment.open(config, pino({ level: 'silent' }));
      const input = await stream.read('user-actions', PARTITION);
      await deployment.log.append(input.map((each) => ({ ...each, topic: 'user-actions', partition: PARTITION })));
      const worker = new Worker({ deployment, scorer: fakeScorer() });
      await worker.start();
      await expect(worker.run(true)).rejects.toMatchObject({
        code: 'ITEM_VERSION_INCOMPLETE',
        exitCode: 4,
        detail: expect.stringContaining('v1') as string,
        remedy: expect.stringContaining('freshet vectors load') as string,
      });
      await worker.close();
      await deployment.close();
    }));

  it('of another space than the model stops the task at its position, and loses nothing', () =>
    inStream({}, async (stream) => {
      await stream.append(BEFORE, here(activation({ ...ACTIVATION, space: 'other-space' })), AFTER);
      const task = await stream.task(PARTITION);
      await expect(task.step()).rejects.toMatchObject({
        code: 'SPACE_MISMATCH',
        exitCode: 4,
        detail: expect.stringMatching(/v1.*other-space.*test-space/) as string,
        remedy: expect.stringContaining('Deploy the model') as string,
        position: { topic: 'user-actions', partition: PARTITION, offset: 1 },
      });
      expect(await task.lag()).toBe(3);
      await task.close();
      expect(await stream.read('sequence-features', PARTITION)).toEqual([]);
    }));
});
