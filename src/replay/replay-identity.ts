/**
 * Where a replay's output goes, and what it must agree with when the replay is taken up again: other input, another
 * model or configuration would mix two replays in one output.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { FreshetError } from '../base/errors.ts';

const MARKER = 'replay.json';

const identity = z.object({
  /** The deployment that is replayed: its folder, or its brokers. */
  source: z.string(),
  partitions: z.int(),
  /** Input offset that each partition begins at; null: the beginning of the log. */
  from: z.record(z.string(), z.int().nullable()),
  /** Hash of the users that are replayed; null: all. */
  users: z.string().nullable(),
  /** Hash of the configuration that records depend on. */
  config: z.string(),
  /** That of the scorer. */
  model: z.string(),
});

export type ReplayIdentity = Readonly<z.infer<typeof identity>>;

/** Whether the folder holds what a replay has written: features without the input that they were made of. */
export const isReplayFolder = (folder: string): boolean => existsSync(join(folder, MARKER));

/**
 * Enters what is replayed into the folder, or checks that it is what is there; partitions may be added. A folder that
 * holds anything else is refused: it may be somebody's data.
 */
export async function claimFolder(folder: string, given: ReplayIdentity): Promise<void> {
  await mkdir(folder, { recursive: true });
  if (!isReplayFolder(folder)) {
    if ((await readdir(folder)).length > 0) {
      throw new FreshetError('USAGE', `${folder} is not empty and was not made by a replay`, {
        remedy: 'Give the replay a folder of its own.',
      });
    }
    return write(folder, given);
  }
  const held = read(folder);
  const fields = ['source', 'partitions', 'users', 'config', 'model'] as const;
  const different: string[] = fields.filter((field) => held[field] !== given[field]);
  const moved = Object.entries(given.from).filter(([name, from]) => (held.from[name] ?? from) !== from);
  if (moved.length > 0) different.push('from');
  if (different.length > 0) {
    throw new FreshetError('USAGE', `${folder} holds another replay: it differs in ${different.join(', ')}`, {
      remedy: 'Give this replay a folder or prefix of its own, or take up the other one with its options.',
    });
  }
  await write(folder, { ...held, from: { ...held.from, ...given.from } });
}

function read(folder: string): ReplayIdentity {
  try {
    return identity.parse(JSON.parse(readFileSync(join(folder, MARKER), 'utf8')));
  } catch (cause) {
    throw new FreshetError('STORAGE_FAILED', `${join(folder, MARKER)} cannot be read`, { cause });
  }
}

async function write(folder: string, given: ReplayIdentity): Promise<void> {
  const file = join(folder, MARKER);
  await writeFile(`${file}.tmp`, `${JSON.stringify(given, null, 2)}\n`);
  await rename(`${file}.tmp`, file);
}
