/**
 * The folder with everything of one local Kafka: settings, certificates, data, logs. It belongs to one process at a time: a
 * second broker would write into the first one's metadata before it found Kafka's own lock.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { FreshetError } from '../base/errors.ts';

const OWNER_FILE = 'owner.pid';

export class DataFolder {
  readonly path: string;
  readonly temporary: boolean;
  readonly #existed: boolean;

  private constructor(path: string, temporary: boolean, existed: boolean) {
    this.path = path;
    this.temporary = temporary;
    this.#existed = existed;
  }

  /** `given`, or a new temporary folder. Fails with DATA_DIR_IN_USE. */
  static async open(given: string | undefined): Promise<DataFolder> {
    const temporary = given === undefined;
    const existed = !temporary && existsSync(given);
    const path = temporary ? await mkdtemp(join(tmpdir(), 'freshet-kafka-')) : resolve(given);
    await mkdir(path, { recursive: true });
    await own(path);
    return new DataFolder(path, temporary, existed);
  }

  /** Nothing runs in it any more. */
  async close(): Promise<void> {
    await rm(this.temporary ? this.path : join(this.path, OWNER_FILE), { recursive: true, force: true });
  }

  /** Nothing came of it: what was not there before goes. */
  async discard(): Promise<void> {
    await this.close();
    if (!this.#existed) await rm(this.path, { recursive: true, force: true });
  }
}

async function own(path: string): Promise<void> {
  const file = join(path, OWNER_FILE);
  try {
    await writeFile(file, String(process.pid), { flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const owner = Number(readFileSync(file, 'utf8'));
    if (isRunning(owner)) throw new FreshetError('DATA_DIR_IN_USE', `process ${owner} holds ${path}`);
    await writeFile(file, String(process.pid));
  }
}

function isRunning(pid: number): boolean {
  if (!Number.isInteger(pid) || pid < 1) return false; // A write that a power failure cut short.
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // Somebody else's process.
  }
}
