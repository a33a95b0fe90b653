/** The embedded log and what happens to processes and disks: kills, a second process, no room left. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { EmbeddedLog } from '../src/log/embedded.ts';
import type { TopicPartition } from '../src/log/log.ts';
import { readAll, valuesOf } from './log-conformance.ts';
import { tempDir } from './support/temp-dir.ts';

const input: TopicPartition = { topic: 'user-actions', partition: 1 };
const features: TopicPartition = { topic: 'sequence-features', partition: 1 };
const history: TopicPartition = { topic: 'action-history', partition: 1 };
const OUTPUTS_PER_TOPIC = 20;

/**
 * Runs in a process of its own on the log in FOLDER: goes on with commit after commit and prints the number of each one
 * that is done. At an error it prints the code, makes some room, tries again, prints that code too, and counts what it
 * can still read.
 */
const COMMITTER = `
  const { EmbeddedLog } = await import(${JSON.stringify(fileURLToPath(new URL('../src/log/embedded.ts', import.meta.url)))});
  const { declareTopics } = await import(${JSON.stringify(fileURLToPath(new URL('../topics/index.ts', import.meta.url)))});
  const { readdirSync, rmSync, symlinkSync } = await import('node:fs');
  const input = ${JSON.stringify(input)};
  const folder = process.env.FOLDER;
  const log = await EmbeddedLog.open(folder, { writeBufferBytes: 1024 * 1024 });
  await log.createTopics(declareTopics(2));
  const writer = await log.openWriter('task');
  let offset = (await writer.committed(input))?.offset ?? 0;
  const last = offset + Number(process.env.COMMITS);
  const commit = async () => {
    const value = Buffer.alloc(1400, String(offset + 1).padStart(10));
    const outputs = ${JSON.stringify([features, history])}.flatMap((at) =>
      Array.from({ length: ${OUTPUTS_PER_TOPIC} }, () => ({ ...at, timestampMs: 1, key: null, value })));
    await writer.commit({ outputs, offsets: [{ input, offset: offset + 1 }], metadata: () => String(offset + 1) });
    offset += 1;
  };
  console.log('open');
  if (process.env.FULL_WAL) {
    const newest = Math.max(...readdirSync(folder).map((file) => parseInt(file)).filter(Number.isFinite));
    for (let file = newest + 1; file < newest + 40; file += 1) {
      symlinkSync('/dev/full', folder + '/' + String(file).padStart(6, '0') + '.log');
    }
  }
  try {
    for (; offset < last; ) { await commit(); console.log('done ' + offset); }
  } catch (error) {
    console.log('failed ' + error.code);
    rmSync(folder + '/filler', { force: true });
    await commit().catch((again) => console.log('again ' + again.code));
    const at = ${JSON.stringify(features)};
    let read = 0;
    for (let page; (page = await log.read(at, read, { maxRecords: 1000, maxBytes: 1e6 })).length > 0; ) read += page.length;
    console.log('readable ' + read / ${OUTPUTS_PER_TOPIC});
  }
  await log.close();
`;

interface Committer {
  readonly folder: string;
  readonly commits: number;
  readonly fullWal?: boolean;
  readonly copy?: string;
}

function environment({ folder, commits, fullWal = false, copy = '' }: Committer): NodeJS.ProcessEnv {
  return { ...process.env, FOLDER: folder, COMMITS: `${commits}`, FULL_WAL: fullWal ? '1' : '', COPY: copy };
}

const nodeArguments = ['--input-type=module', '--eval', COMMITTER];

const startCommitter = (committer: Committer): ChildProcess =>
  spawn(process.execPath, nodeArguments, { env: environment(committer), stdio: ['ignore', 'pipe', 'inherit'] });

/** Every commit is whole and in order, and those that were done before `known` are there. Returns how many there are. */
async function checkCommits(log: EmbeddedLog, known: number): Promise<number> {
  const writer = await log.openWriter('task');
  const committed = await writer.committed(input);
  const count = committed?.offset ?? 0;
  expect(count).toBeGreaterThanOrEqual(known);
  expect(committed?.metadata ?? '0').toBe(`${count}`);
  const expected = Array.from({ length: count * OUTPUTS_PER_TOPIC }, (_, index) =>
    `${Math.floor(index / OUTPUTS_PER_TOPIC) + 1}`.padStart(10),
  );
  for (const at of [features, history]) {
    const values = valuesOf(await readAll(log, at)).map((value) => value?.slice(0, 10));
    expect(values).toEqual(expected);
  }
  return count;
}

const numbers = (output: string, word: string): number[] =>
  output.split('\n').flatMap((line) => (line.startsWith(`${word} `) ? [Number(line.slice(word.length + 1))] : []));

test('a process killed in the middle of its commits leaves each of them whole or absent', async () => {
  const folder = tempDir();
  let known = 0;
  for (let kill = 0; kill < 8; kill += 1) {
    const child = startCommitter({ folder, commits: 1e6 });
    let done = 0;
    const enough = known + 1 + 3 * kill;
    for await (const line of createInterface({ input: child.stdout! })) {
      if (line.startsWith('done ')) done = Number(line.slice(5));
      // A few milliseconds on, so that the kill meets every part of the next commits.
      if (done === enough) setTimeout(() => child.kill('SIGKILL'), kill % 6);
    }
    expect(done).toBeGreaterThanOrEqual(enough);
    const log = await EmbeddedLog.open(folder);
    known = await checkCommits(log, done);
    await log.close();
  }
});

test('a folder that another process holds is refused, and free once that process is gone', async () => {
  const folder = tempDir();
  const child = startCommitter({ folder, commits: 1e6 });
  await once(createInterface({ input: child.stdout! }), 'line');
  await expect(EmbeddedLog.open(folder)).rejects.toMatchObject({ code: 'DATA_DIR_IN_USE', exitCode: 4 });
  child.kill('SIGKILL');
  await once(child, 'exit');
  const log = await EmbeddedLog.open(folder);
  await expect(EmbeddedLog.open(folder)).rejects.toMatchObject({ code: 'DATA_DIR_IN_USE' });
  await log.close();
});

/**
 * Full disks: a tmpfs of 12 MB in a mount namespace of its own, which any user may make where user namespaces are
 * allowed; and, for the machines that forbid them, a write-ahead log that is /dev/full, which gives the kernel's own
 * ENOSPC to everybody.
 */
const canMount = spawnSync('unshare', ['-Urm', 'true']).status === 0;

describe('a full disk', () => {
  const inShell = (script: string, committer: Committer): string => {
    const run = `"${process.execPath}" --input-type=module --eval "$COMMITTER"`;
    const env = { ...environment(committer), COMMITTER };
    const args = [...(canMount ? ['-Urm', 'bash'] : ['bash']), '-ec', script.replaceAll('RUN', run)];
    const shell = spawnSync(canMount ? 'unshare' : 'env', args, { env, encoding: 'utf8' });
    expect(shell.stderr).toBe('');
    return shell.stdout;
  };

  test(`stops cleanly, and goes on after room is made with nothing lost (${canMount ? 'tmpfs' : '/dev/full'})`, async () => {
    // The tmpfs is seen from inside its namespace alone, hence the copy.
    const copy = tempDir();
    const fillAndGoOn = canMount
      ? 'mount -t tmpfs -o size=12m tmpfs "$FOLDER"; head -c 3M /dev/zero > "$FOLDER/filler"; RUN; mount -o remount,size=200m tmpfs "$FOLDER"; echo room; COMMITS=30 RUN; cp -r "$FOLDER/." "$COPY"'
      : 'FULL_WAL=1 RUN; find "$FOLDER" -type l -delete; echo room; COMMITS=30 RUN; cp -r "$FOLDER/." "$COPY"';
    const [full, roomy] = inShell(fillAndGoOn, { folder: tempDir(), commits: 1e6, copy }).split('room\n');
    const done = numbers(full!, 'done').length;
    expect(done).toBeGreaterThan(10);
    expect(full).toMatch(/^failed DISK_FULL$/m);
    expect(full).toMatch(/^again DISK_FULL$/m);
    expect(numbers(full!, 'readable')).toEqual([done]);
    // The commit that failed has an unknown outcome: whole or absent, nothing else.
    const [next] = numbers(roomy!, 'done');
    expect([done + 1, done + 2]).toContain(next);
    expect(numbers(roomy!, 'done')).toHaveLength(30);
    expect(roomy).not.toContain('failed');
    const log = await EmbeddedLog.open(copy);
    expect(await checkCommits(log, done)).toBe(next! + 29);
    await log.close();
  });

  test('met by the write-ahead log loses nothing that was committed', async () => {
    const folder = tempDir();
    const output = inShell('RUN; find "$FOLDER" -type l -delete', { folder, commits: 1e6, fullWal: true });
    expect(output).toMatch(/^failed DISK_FULL$/m);
    const done = numbers(output, 'done').length;
    const log = await EmbeddedLog.open(folder);
    expect(await checkCommits(log, done)).toBeLessThanOrEqual(done + 1);
    await log.close();
  });
});
