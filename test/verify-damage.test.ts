/** One byte of the embedded log flipped on the disk: where `run` stops, a verification tells of it and goes on. */
import { randomBytes } from 'node:crypto';
import { cpSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { verify } from '../src/replay/verify.ts';
import type { SequenceFeaturesRecord } from '../topics/records.ts';
import { actionRecord, Stream } from './support/stream.ts';
import { fastDir } from './support/temp-dir.ts';

const SILENT = pino({ level: 'silent' });
const ACTIONS = 300;
const USERS = 7;
const DAMAGED = 123;
const USER = `user-${DAMAGED % USERS}`;
/** Stands in the headers of the record that is to be damaged, and nowhere else: it is found among the bytes on the disk. */
const MARK = randomBytes(12).toString('hex');
const FLAGS = { emit: 'action', commitMaxRecords: 40 };

/** Flips a byte of the mark, wherever in the closed log it stands. */
function flip({ folder }: Stream): void {
  const log = join(folder, 'log');
  const holding = readdirSync(log).filter((name) => readFileSync(join(log, name)).includes(MARK));
  expect(holding).toHaveLength(1);
  const file = join(log, holding[0]!);
  const bytes = readFileSync(file);
  bytes[bytes.indexOf(MARK) + 5]! ^= 1;
  writeFileSync(file, bytes);
}

/** Opened twice, LevelDB has its records in tables: its write-ahead log has checksums of its own. */
async function reopened(folder: string): Promise<Stream> {
  await (await Stream.open(FLAGS, { folder })).log.close();
  return Stream.open(FLAGS, { folder });
}

it('is told once, with its place and all that follows from it', async () => {
  const folder = fastDir();
  const first = await Stream.open(FLAGS, { folder });
  for (let at = 0; at < ACTIONS; at += 1) {
    const action = actionRecord({ userId: `user-${at % USERS}`, itemId: `i${at % 5}`, eventTimeMs: at * 1_000 });
    await first.append({ ...action, ...(at === DAMAGED && { headers: { trace: Buffer.from(MARK) } }) });
  }
  await first.log.close();
  const untouched = await reopened(folder);
  await untouched.log.close();
  const unread = fastDir();
  cpSync(folder, unread, { recursive: true });

  const consumed = await reopened(folder);
  await consumed.run();
  const affected = (await consumed.read('sequence-features')).filter(({ key, value }) => {
    const { version } = consumed.codec.decode<SequenceFeaturesRecord>('sequence-features-value', value!);
    return key!.toString() === USER && version >= DAMAGED;
  });
  await consumed.log.close();
  flip(consumed);

  const damaged = await reopened(folder);
  const { log, codec, scorer, itemVersions, config } = damaged;
  const stretches = [{ partition: 0, from: 0, to: Infinity }];
  const report = await verify({ log, codec, scorer, itemVersions, config, logger: SILENT, stretches });
  expect(report.gaps).toEqual([
    { topic: 'user-actions', partition: 0, from: DAMAGED, to: DAMAGED + 1, code: 'LOG_CORRUPT' },
  ]);
  expect(report.causes).toEqual([
    {
      cause: 'input missing',
      topic: 'user-actions',
      partition: 0,
      offset: DAMAGED,
      field: '',
      records: affected.length,
    },
  ]);
  expect(report).toMatchObject({
    ...{ compared: ACTIONS, equal: ACTIONS - affected.length, extra: 1, differing: affected.length - 1 },
    ...{ missing: 0, unverifiable: 0 },
  });
  expect(affected.length).toBeGreaterThan(20);
  await damaged.close();

  const stopping = await reopened(unread);
  await stopping.log.close();
  flip(stopping);
  const stopped = await reopened(unread);
  const task = await stopped.task();
  await expect(
    (async () => {
      while ((await task.step()).records > 0);
    })(),
  ).rejects.toMatchObject({
    code: 'LOG_CORRUPT',
    position: { topic: 'user-actions', partition: 0, offset: DAMAGED },
  });
  await task.close();
  await stopped.close();
});
