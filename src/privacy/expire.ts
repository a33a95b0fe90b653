/**
 * The sweep behind `freshet expire`: appends an expire record for each user who has been idle for long. A record carries
 * the version that the sweep saw, and does nothing to a user who has acted since. Interrupted and run again, the sweep
 * goes on where it was; users whose expire record is not consumed yet get no second one.
 */
import { userHash } from '../base/user-hash.ts';
import { AppendBatch } from '../ingest/append-batch.ts';
import type { Log, NewRecord } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT } from '../../topics/index.ts';
import type { ControlRecord } from '../../topics/records.ts';
import { dropPending, idleUsers, type IdleUser } from './idle-users.ts';
import { readSweepProgress, removeSweepProgress, sweepProgressPath, writeSweepProgress } from './sweep-progress.ts';

/** Users held at once, with ids of at most some hundred bytes: some tens of megabytes. */
const MAX_USERS = 100_000;
const MAX_EXAMPLES = 5;

export interface ExpireOptions {
  readonly log: Log;
  readonly codec: Pick<Codec, 'decode' | 'encode' | 'learn'>;
  readonly appId: string;
  readonly partitions: number;
  readonly dataDir: string;
  /** Users without a record for longer than this leave. */
  readonly idleMs: number;
  /** Idle as of when, milliseconds since the epoch. Default: that of the sweep that is gone on with, else now. */
  readonly asOfMs?: number;
  /** Write nothing. */
  readonly dryRun?: boolean;
  readonly maxUsers?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ExpireProgress) => void | Promise<void>;
}

export interface ExpireProgress {
  readonly partition: number;
  readonly records: number;
  readonly appended: number;
}

export interface ExpireExample {
  /** As users are named in logs. */
  readonly user: string;
  readonly partition: number;
  readonly version: number;
  readonly idleMs: number;
}

export interface ExpireResult {
  readonly asOfMs: number;
  readonly idleMs: number;
  readonly dryRun: boolean;
  /** Whether an earlier sweep was gone on with. */
  readonly resumed: boolean;
  /** False: it was interrupted, and goes on when run again. */
  readonly complete: boolean;
  /** Features records read by this run, each once. */
  readonly records: number;
  /** Idle users found; those with a record that is not consumed yet are `pending`, the others get an expire record. */
  readonly idle: number;
  readonly pending: number;
  readonly appended: number;
  readonly examples: readonly ExpireExample[];
}

export async function expireIdleUsers(options: ExpireOptions): Promise<ExpireResult> {
  const { appId, idleMs, dataDir, dryRun = false } = options;
  const file = sweepProgressPath(dataDir);
  const earlier = dryRun ? undefined : await readSweepProgress(file);
  const asOfMs = options.asOfMs ?? earlier?.asOfMs ?? Date.now();
  const resumed = earlier?.appId === appId && earlier.idleMs === idleMs && earlier.asOfMs === asOfMs;
  const next = resumed ? earlier.next : {};
  const sweep = new Sweep(options, asOfMs);
  const complete = await sweep.run(next, async () => {
    if (!dryRun) await writeSweepProgress(file, { appId, idleMs, asOfMs, next });
  });
  if (complete && !dryRun) await removeSweepProgress(file);
  const { records, idle, pending, appended, examples } = sweep;
  return { asOfMs, idleMs, dryRun, resumed, complete, records, idle, pending, appended, examples };
}

class Sweep {
  records = 0;
  idle = 0;
  pending = 0;
  appended = 0;
  readonly examples: ExpireExample[] = [];
  private readonly options: ExpireOptions;
  private readonly asOfMs: number;
  private readonly signal: AbortSignal;

  constructor(options: ExpireOptions, asOfMs: number) {
    this.options = options;
    this.asOfMs = asOfMs;
    this.signal = options.signal ?? new AbortController().signal;
  }

  /** Whether all partitions are done; not after the signal. `next` is kept up to date, and `save` called with it. */
  async run(next: Record<string, number>, save: () => Promise<void>): Promise<boolean> {
    try {
      for (let partition = 0; partition < this.options.partitions; partition += 1) {
        const end = await this.options.log.endOffset({ topic: 'sequence-features', partition });
        while ((next[partition] ?? 0) < end) {
          next[partition] = await this.pass(partition, next[partition] ?? 0);
          await save();
          const { records, appended } = this;
          await this.options.onProgress?.({ partition, records, appended });
        }
      }
      return true;
    } catch (error) {
      if (this.signal.aborted && error === this.signal.reason) return false;
      throw error;
    }
  }

  private async pass(partition: number, from: number): Promise<number> {
    const { log, codec, appId, idleMs, maxUsers = MAX_USERS } = this.options;
    const pass = {
      ...{ log, codec, partition, maxUsers, signal: this.signal },
      cutoffMs: this.asOfMs - idleMs,
    };
    // Asked before the features are read: whatever they do not show stands behind it.
    const consumed = (await log.committed(appId, { topic: 'user-actions', partition }))?.offset ?? 0;
    const { users, next, records } = await idleUsers(from, pass);
    this.records += records;
    this.idle += users.size;
    this.pending += users.size === 0 ? 0 : await dropPending(users, consumed, pass);
    if (this.options.dryRun !== true) await this.append(users, partition);
    for (const [userId, { version, newestArrivalTimeMs }] of users) {
      if (this.examples.length === MAX_EXAMPLES) break;
      const user = userHash(userId);
      this.examples.push({ user, partition, version, idleMs: this.asOfMs - newestArrivalTimeMs });
    }
    return next;
  }

  private async append(users: ReadonlyMap<string, IdleUser>, partition: number): Promise<void> {
    const batch = new AppendBatch(this.options.log);
    for (const [userId, { version }] of users) {
      batch.add(expireRecord(this.options.codec, { userId, partition, version }, Date.now()));
      if (batch.isFull()) await batch.flush();
    }
    await batch.flush();
    this.appended += users.size;
  }
}

/** The control record by which a user leaves who is still at this version. */
export function expireRecord(
  codec: Pick<Codec, 'encode'>,
  user: { readonly userId: string; readonly partition: number; readonly version: number },
  timestampMs: number,
): NewRecord {
  const control: ControlRecord = { activation: null, expire: { seenVersion: user.version } };
  return {
    topic: 'user-actions',
    partition: user.partition,
    timestampMs,
    key: Buffer.from(user.userId),
    value: codec.encode(CONTROL_SUBJECT, control),
    headers: { [CONTROL_HEADER]: Buffer.from(CONTROL_SUBJECT) },
  };
}
