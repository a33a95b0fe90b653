/**
 * A child process that does not outlive this one, however this one ends. A tiny shell beside the child reads a pipe whose
 * other end only this process holds: when the pipe closes without a word, the shell kills the child and removes the
 * folder it was given. The child itself is `exec`ed, so its id is that of the process that was spawned.
 *
 * The child is a session of its own: Ctrl-C in a terminal reaches only this process, which then stops it in order.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, mkdirSync, openSync, readSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

const GUARD = `
(read -r _ <&3 || { kill -KILL $$; [ -z "$1" ] || rm -rf "$1" || { sleep 1; rm -rf "$1"; }; }) </dev/null >/dev/null 2>&1 &
exec 3<&-
shift
exec "$@"`;

const TAIL_BYTES_MAX = 32_768;
const TAIL_LINES_MAX = 20;
const STACK_FRAME = /^\s+(at |\.\.\. \d+ more)/;

export interface GuardedOptions {
  /** Takes stdout and stderr; appended to. */
  readonly logFile: string;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Removed when this process ends without having seen the child end. */
  readonly removedWithParent?: string;
}

export interface Exit {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class GuardedProcess {
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #logFile: string;
  #running = true;

  constructor(command: readonly [string, ...string[]], options: GuardedOptions) {
    mkdirSync(dirname(options.logFile), { recursive: true });
    const log = openSync(options.logFile, 'a');
    this.#logFile = options.logFile;
    this.#child = spawn('/bin/sh', ['-c', GUARD, 'sh', options.removedWithParent ?? '', ...command], {
      stdio: ['ignore', log, log, 'pipe'],
      detached: true,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    closeSync(log);
    const guard = this.#child.stdio[3] as Writable;
    // Whoever killed the guard has left nothing to tell it.
    guard.on('error', () => undefined);
    this.exited = once(this.#child, 'exit').then(([exitCode, signal]) => {
      this.#running = false;
      guard.end('ended\n');
      return { exitCode: exitCode as number | null, signal: signal as NodeJS.Signals | null };
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get running(): boolean {
    return this.#running;
  }

  /** Asks the process to end, also when it is paused; kills it when it has not within the grace. */
  async stop(graceMs: number): Promise<void> {
    this.resume();
    this.#send('SIGTERM');
    const abort = new AbortController();
    const overdue = sleep(graceMs, undefined, { signal: abort.signal, ref: false }).then(
      () => this.#send('SIGKILL'),
      () => undefined,
    );
    await this.exited;
    abort.abort();
    await overdue;
  }

  /** Ends the process at once, as a power failure would. */
  async kill(): Promise<void> {
    this.#send('SIGKILL');
    await this.exited;
  }

  pause(): void {
    this.#send('SIGSTOP');
  }

  resume(): void {
    this.#send('SIGCONT');
  }

  /** The last lines that the process has written, without the frames of Java's stack traces. */
  logTail(): string {
    const log = openSync(this.#logFile, 'r');
    try {
      const { size } = fstatSync(log);
      const bytes = Buffer.alloc(Math.min(size, TAIL_BYTES_MAX));
      const read = readSync(log, bytes, 0, bytes.length, size - bytes.length);
      const lines = bytes.toString('utf8', 0, read).trim().split('\n');
      return lines
        .filter((line) => !STACK_FRAME.test(line))
        .slice(-TAIL_LINES_MAX)
        .join('\n');
    } finally {
      closeSync(log);
    }
  }

  #send(signal: NodeJS.Signals): void {
    if (this.#running) this.#child.kill(signal);
  }
}
