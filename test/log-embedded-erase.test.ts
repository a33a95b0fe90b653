/** Records blanked in an embedded log: what is left, what is not, and what a kill in the middle leaves. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { eraseRecords } from '../src/log/embedded-erase.ts';
import { EmbeddedLog } from '../src/log/embedded.ts';
import { isErased, type LogRecord, type NewRecord, type TopicPartition } from '../src/log/log.ts';
import { journalEntries } from '../src/privacy/level-journal.ts';
import { tableEntries } from '../src/privacy/level-table.ts';
import { declareTopics } from '../topics/index.ts';
import { tempDir } from './support/temp-dir.ts';

const PARTITIONS = 2;
const PLACES: readonly TopicPartition[] = ['user-actions', 'sequence-features'].flatMap((topic) =>
  [0, 1].map((partition) => ({ topic, partition })),
);
const AMPLE = { maxRecords: 10_000, maxBytes: 64 * 1024 * 1024 };

const isOwn = (_at: TopicPartition, { key }: LogRecord): boolean => key?.toString() === 'own';

/** A value that no other record has, too irregular to be compressed away. */
const valueOf = (number: number): Buffer => Buffer.from(`bytes-${(number * 2_654_435_761) % 2 ** 32}`.repeat(3));

const record = (at: TopicPartition, user: string, number: number): NewRecord => ({
  ...{ ...at, timestampMs: 1_000 + number, key: Buffer.from(user), value: valueOf(number) },
  headers: user === 'own' ? { marked: Buffer.from('own') } : {},
});

async function fill(folder: string, batches: readonly (readonly NewRecord[])[]): Promise<void> {
  const log = await EmbeddedLog.open(folder);
  await log.createTopics(declareTopics(PARTITIONS));
  for (const batch of batches) await log.append(batch);
  await log.close();
}

/** Everything in the log, what was erased among it, place by place. */
async function contentOf(folder: string): Promise<LogRecord[][]> {
  const log = await EmbeddedLog.open(folder);
  const content = await Promise.all(PLACES.map((at) => log.read(at, 0, { ...AMPLE, erased: true })));
  await log.close();
  return content;
}

const afterErase = (record: LogRecord): LogRecord =>
  record.key?.toString() === 'own'
    ? { ...record, key: null, value: null, headers: { 'freshet-erased': Buffer.alloc(0) } }
    : record;

/** Every entry that stands in a file of the log, also those that a newer one hides. */
function entriesOf(folder: string): { key: Buffer; value: Buffer }[] {
  return readdirSync(folder).flatMap((name) => {
    if (name.endsWith('.ldb')) return [...tableEntries(readFileSync(join(folder, name)))];
    return name.endsWith('.log') ? [...journalEntries(readFileSync(join(folder, name)))] : [];
  });
}

/** As the records that are to go are by a header. */
const isMarked = ({ value }: { value: Buffer }): boolean => value.includes('marked');

const mixed = (count: number): NewRecord[] =>
  Array.from({ length: count }, (_, number) =>
    record(PLACES[number % PLACES.length]!, number % 3 === 0 ? 'own' : `user-${number % 7}`, number),
  );

describe('an erase', () => {
  test('blanks the records it is told to, and changes no byte of the others', async () => {
    const folder = tempDir();
    await fill(folder, [mixed(300), mixed(40)]);
    const before = await contentOf(folder);
    const blanked = await eraseRecords(folder, { isOwn });
    const own = before.map((records) => records.filter((each) => isOwn(PLACES[0]!, each)).length);
    expect(Object.fromEntries(blanked)).toEqual({
      'user-actions': own[0]! + own[1]!,
      'sequence-features': own[2]! + own[3]!,
    });
    expect(await contentOf(folder)).toEqual(before.map((records) => records.map(afterErase)));
  });

  test('leaves their bytes in no file, whether LevelDB would show them or not', async () => {
    const folder = tempDir();
    await fill(folder, [mixed(300)]);
    expect(entriesOf(folder).filter(isMarked).length).toBe(100);
    await eraseRecords(folder, { isOwn });
    expect(entriesOf(folder).filter(isMarked)).toEqual([]);
    const files = readdirSync(folder).map((name) => readFileSync(join(folder, name)));
    for (let number = 0; number < 300; number += 3) {
      expect(files.filter((file) => file.includes(valueOf(number).subarray(0, 20)))).toEqual([]);
    }
  });

  test('done again does nothing; done for another user it blanks that one too', async () => {
    const folder = tempDir();
    await fill(folder, [mixed(50)]);
    await eraseRecords(folder, { isOwn });
    expect((await eraseRecords(folder, { isOwn })).size).toBe(0);
    const other = await eraseRecords(folder, { isOwn: (_at, { key }) => key?.toString() === 'user-1' });
    expect(other.size).toBeGreaterThan(0);
    const left = (await contentOf(folder)).flat().filter((each) => !isErased(each));
    expect(new Set(left.map(({ key }) => key?.toString()))).not.toContain('user-1');
  });

  test('leaves a log that goes on: offsets, commits, and what comes later', async () => {
    const folder = tempDir();
    await fill(folder, [mixed(40)]);
    await eraseRecords(folder, { isOwn: () => true });
    const log = await EmbeddedLog.open(folder);
    const at = PLACES[0]!;
    expect([await log.startOffset(at), await log.endOffset(at)]).toEqual([0, 10]);
    expect(await log.read(at, 0, AMPLE)).toEqual([]);
    expect(await log.append([record(at, 'new', 1)])).toEqual([10]);
    expect((await log.read(at, 3, AMPLE)).map(({ offset }) => offset)).toEqual([10]);
    await log.close();
    expect((await contentOf(folder))[0]!.map((each) => isErased(each))).toEqual([
      ...Array<boolean>(10).fill(true),
      false,
    ]);
  });

  test('on a log that is open elsewhere is refused', async () => {
    const folder = tempDir();
    await fill(folder, [mixed(4)]);
    const log = await EmbeddedLog.open(folder);
    await expect(eraseRecords(folder, { isOwn })).rejects.toMatchObject({ code: 'DATA_DIR_IN_USE' });
    await log.close();
  });
});

test('reads of any size pass over what is erased, and miss nothing else', async () => {
  const users = fc.array(fc.constantFrom('own', 'own', 'own', 'a', 'b'), { minLength: 1, maxLength: 60, size: 'max' });
  await fc.assert(
    fc.asyncProperty(
      users,
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 400 }),
      async (all, maxRecords, maxBytes) => {
        const folder = tempDir();
        const at = PLACES[0]!;
        await fill(folder, [all.map((user, number) => record(at, user, number))]);
        await eraseRecords(folder, { isOwn });
        const log = await EmbeddedLog.open(folder);
        const offsets: number[] = [];
        for (let next = 0; ;) {
          const read = await log.read(at, next, { maxRecords, maxBytes });
          if (read.length === 0) break;
          expect(read.length).toBeLessThanOrEqual(maxRecords);
          offsets.push(...read.map(({ offset }) => offset));
          next = offsets.at(-1)! + 1;
        }
        await log.close();
        expect(offsets).toEqual([...all.keys()].filter((offset) => all[offset] !== 'own'));
      },
    ),
    { numRuns: 30 },
  );
});

const moduleUrl = fileURLToPath(new URL('../src/log/embedded-erase.ts', import.meta.url));
/** Erases in a process of its own, which tells when it begins and is killed some milliseconds later. */
const ERASER = `
  const { eraseRecords } = await import(${JSON.stringify(moduleUrl)});
  console.log('begin');
  await eraseRecords(process.env.FOLDER, { isOwn: (at, { key }) => key.toString() === 'own' });
  console.log('end');
`;

async function killedErase(folder: string, afterMs: number): Promise<boolean> {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', ERASER], {
    env: { ...process.env, FOLDER: folder },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  let ended = false;
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'begin') void sleep(afterMs).then(() => child.kill('SIGKILL'));
    ended ||= line === 'end';
  }
  await exited;
  return ended;
}

test('a process killed in the middle leaves a whole log, and the next erase does the rest', async () => {
  const filled = tempDir();
  // Some megabytes, so that there is a middle: several chunks to blank, several tables to compact.
  const padding = Buffer.alloc(900, 'p');
  const batches = Array.from({ length: 4 }, () =>
    mixed(1_500).map((each) => ({ ...each, value: Buffer.concat([each.value!, padding]) })),
  );
  await fill(filled, batches);
  const before = await contentOf(filled);
  const expected = before.map((records) => records.map(afterErase));
  let cut = 0;
  for (const afterMs of [2, 10, 20, 35, 50, 80, 120]) {
    const folder = tempDir();
    cpSync(filled, folder, { recursive: true });
    const ended = await killedErase(folder, afterMs);
    const found = await contentOf(folder);
    for (const [place, records] of found.entries()) {
      expect(records).toHaveLength(before[place]!.length);
      for (const [offset, each] of records.entries()) {
        if (!isErased(each)) expect(each.value!.equals(before[place]![offset]!.value!)).toBe(true);
      }
    }
    if (!ended) cut += 1;
    await eraseRecords(folder, { isOwn });
    const after = await contentOf(folder);
    expect(after.map((records) => records.filter((each) => isErased(each)).length)).toEqual(
      expected.map((records) => records.filter((each) => isErased(each)).length),
    );
    expect(entriesOf(folder).filter(isMarked)).toEqual([]);
  }
  expect(cut).toBeGreaterThan(0);
});
