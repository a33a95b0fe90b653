/** The users that a replay is about, told by a file: ids belong neither on a command line nor in a log. */
import { createHash } from 'node:crypto';
import { FreshetError } from '../base/errors.ts';
import { partitionOf } from '../base/murmur2.ts';
import type { LogRecord } from '../log/log.ts';
import { CONTROL_HEADER } from '../../topics/index.ts';

/** About 100 MB of ids. */
const MAX_USERS = 1_000_000;

export class UserFilter {
  /** Names the set in a replay that is taken up again. */
  readonly hash: string;
  private readonly users: ReadonlySet<string>;

  private constructor(users: ReadonlySet<string>) {
    this.users = users;
    const hash = createHash('sha256');
    for (const userId of [...users].sort()) hash.update(`${Buffer.byteLength(userId)}:${userId}`);
    this.hash = hash.digest('hex');
  }

  /** One id a line; empty lines are passed over. Throws INPUT_MALFORMED for none or too many. */
  static async of(lines: AsyncIterable<string>): Promise<UserFilter> {
    const users = new Set<string>();
    for await (const line of lines) {
      if (line !== '') users.add(line);
      if (users.size > MAX_USERS) throw new FreshetError('INPUT_MALFORMED', `more than ${MAX_USERS} user ids`);
    }
    if (users.size === 0) throw new FreshetError('INPUT_MALFORMED', 'there is no user id');
    return new UserFilter(users);
  }

  get size(): number {
    return this.users.size;
  }

  has(key: Buffer): boolean {
    return this.users.has(key.toString());
  }

  /** Whether an input record is of one of the users, or tells of item vectors. */
  isAbout({ key, headers }: Pick<LogRecord, 'key' | 'headers'>): boolean {
    return key === null ? headers[CONTROL_HEADER] !== undefined : this.has(key);
  }

  /** The partitions in which they are. */
  partitionsAmong(partitions: number): Set<number> {
    return new Set(Array.from(this.users, (userId) => partitionOf(Buffer.from(userId), partitions)));
  }
}
